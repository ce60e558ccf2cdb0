package fastrpc_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc"
	"github.com/fastrpc/fastrpc/internal/lab"
	"github.com/fastrpc/fastrpc/internal/lab/labtest"
)

// patience bounds every wait for something that must happen.
const patience = 30 * time.Second

var insecure = fastrpc.WithInsecure()

// world is where a test's server and client live: on this host's loopback, or on the two hosts of a lab.
type world struct {
	lab    *lab.Lab // nil: the loopback
	scheme string
	listen string // target without port, such as xdp://veth0
	remote netip.Addr
	query  string // of listen targets and dial targets alike
}

// loopback needs no privileges.
func loopback() world {
	return world{scheme: "udp", listen: "udp://127.0.0.1", remote: netip.MustParseAddr("127.0.0.1")}
}

// cabled is a lab whose server listens on its whole interface.
func cabled(t testing.TB, queues int) world {
	t.Helper()
	l := labtest.New(t, lab.Config{Queues: queues})
	return world{lab: l, scheme: "xdp", listen: "xdp://" + l.Server().Interface, remote: l.Server().IPv4}
}

// loopbackTCP is loopback over connections.
func loopbackTCP() world {
	return world{scheme: "tcp", listen: "tcp://127.0.0.1", remote: netip.MustParseAddr("127.0.0.1")}
}

// worlds are those of the transports that this tree tests with.
var worlds = map[string]func(testing.TB) world{
	"udp": func(testing.TB) world { return loopback() },
	"tcp": func(testing.TB) world { return loopbackTCP() },
	"xdp": func(t testing.TB) world { return cabled(t, 1) },
}

// everywhere runs a story in each of the worlds.
func everywhere(t *testing.T, story func(t *testing.T, w world)) {
	for _, name := range slices.Sorted(maps.Keys(worlds)) {
		t.Run(name, func(t *testing.T) { story(t, worlds[name](t)) })
	}
}

func (w world) atServer(f func() error) error {
	if w.lab == nil {
		return f()
	}
	return w.lab.Server().Do(f)
}

func (w world) atClient(f func() error) error {
	if w.lab == nil {
		return f()
	}
	return w.lab.Client().Do(f)
}

// with is the world's query with one more setting.
func (w world) with(setting string) string {
	if w.query == "" {
		return "?" + setting
	}
	return w.query + "&" + setting
}

func (w world) listenTarget(port uint16) string {
	return fmt.Sprintf("%s:%d%s", w.listen, port, w.query)
}

func (w world) dialTarget(port uint16) string {
	return fmt.Sprintf("%s://%v%s", w.scheme, netip.AddrPortFrom(w.remote, port), w.query)
}

// serve lets s listen on a free port, until the test ends, and returns it.
func (w world) serve(t testing.TB, s *fastrpc.Server) uint16 {
	t.Helper()
	var a netip.AddrPort
	must(t, w.atServer(func() (err error) {
		a, err = s.Listen(context.Background(), w.listenTarget(0))
		return err
	}))
	t.Cleanup(func() { shutDown(t, s) })
	return a.Port()
}

// dial connects, until the test ends.
func (w world) dial(t testing.TB, port uint16, opts ...fastrpc.Option) *fastrpc.Client {
	t.Helper()
	c, err := w.tryDial(t, w.dialTarget(port), opts...)
	must(t, err)
	t.Cleanup(func() { hangUp(t, c) })
	return c
}

func (w world) tryDial(t testing.TB, target string, opts ...fastrpc.Option) (c *fastrpc.Client, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err = w.atClient(func() (err error) {
		c, err = fastrpc.Dial(ctx, target, append([]fastrpc.Option{insecure}, opts...)...)
		return err
	})
	return c, err
}

func shutDown(t testing.TB, s *fastrpc.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

func hangUp(t testing.TB, c *fastrpc.Client) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// serving waits until s serves.
func serving(t testing.TB, s *fastrpc.Server) {
	t.Helper()
	eventually(t, func() string {
		if len(s.Transports()) == 0 {
			return "it does not serve"
		}
		return ""
	})
}

// echoServer answers "echo" inline and "worker" by its pool.
func echoServer(opts ...fastrpc.Option) *fastrpc.Server {
	s := fastrpc.NewServer(append([]fastrpc.Option{insecure}, opts...)...)
	s.HandleInline("echo", echo)
	s.Handle("worker", echo)
	return s
}

func echo(w *fastrpc.Response, r *fastrpc.Request) error {
	_, err := w.Write(r.Body())
	return err
}

// checkEcho makes one call, whose reply must be its request.
func checkEcho(t testing.TB, c *fastrpc.Client, method string, body []byte) {
	t.Helper()
	rep, err := c.Method(method).Call(context.Background(), body, fastrpc.Timeout(patience))
	if err != nil {
		t.Fatalf("%s of %d bytes: %v", method, len(body), err)
	}
	defer rep.Release()
	if !bytes.Equal(rep.Body(), body) {
		t.Fatalf("%s of %d bytes came back as other %d bytes", method, len(body), len(rep.Body()))
	}
}

// checkError compares a failure with what it has to be.
func checkError(t testing.TB, err error, code fastrpc.Code, outcome fastrpc.Outcome, says string) {
	t.Helper()
	var e *fastrpc.Error
	if !errors.As(err, &e) || e.Code != code || e.Outcome != outcome || e.Op == "" || !bytes.Contains([]byte(err.Error()), []byte(says)) {
		t.Errorf("got  %v (outcome %v)\nwant %v, %v, that says %q", err, fastrpc.OutcomeOf(err), code, outcome, says)
	}
}

// nothingLeft checks, when all of the test's own cleaning up is done, that goroutines and descriptors are as before.
func nothingLeft(t testing.TB) {
	t.Helper()
	if c, err := net.ListenPacket("udp", "127.0.0.1:0"); err == nil { // the runtime's own poller comes with the first
		c.Close()
	}
	goroutines, fds := runtime.NumGoroutine(), descriptors(t)
	t.Cleanup(func() {
		eventually(t, func() string {
			if g := runtime.NumGoroutine(); g > goroutines {
				buf := make([]byte, 1<<20)
				return fmt.Sprintf("%d goroutines, %d before:\n%s", g, goroutines, buf[:runtime.Stack(buf, true)])
			}
			if now := descriptors(t); len(now) > len(fds) {
				return fmt.Sprintf("descriptors %v, before %v", now, fds)
			}
			return ""
		})
	})
}

func descriptors(t testing.TB) (links []string) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	for _, e := range entries {
		link, _ := os.Readlink("/proc/self/fd/" + e.Name())
		links = append(links, link)
	}
	return links
}

// eventually waits until nothing is wrong any more: for what tells nobody that it has happened.
func eventually(t testing.TB, wrong func() string) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		w := wrong()
		if w == "" {
			return
		}
		if time.Now().After(end) {
			t.Error(w)
			return
		}
	}
}

// receive takes from a channel what must come.
func receive[T any](t testing.TB, ch <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(patience):
		t.Fatalf("%s did not come", what)
	}
	return v
}
