package fastrpc_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc"
)

// What a call can be refused for, each for itself, and what to do about it.
func TestCallErrors(t *testing.T) {
	everywhere(t, func(t *testing.T, w world) {
		nothingLeft(t)
		s := echoServer(fastrpc.WithMaxMessage(100_000))
		var ran atomic.Int32
		s.HandleInline("much", func(w *fastrpc.Response, r *fastrpc.Request) error {
			ran.Add(1)
			w.Extend(100_001)
			return nil
		})
		s.Handle("own", func(*fastrpc.Response, *fastrpc.Request) error {
			return fastrpc.Errorf(fastrpc.NotFound, "no key %q", "k")
		})
		s.Handle("plain", func(*fastrpc.Response, *fastrpc.Request) error { return errors.New("disk on fire") })
		s.Handle("late", func(*fastrpc.Response, *fastrpc.Request) error { return context.DeadlineExceeded })
		c := w.dial(t, w.serve(t, s))
		fails := func(method string, body []byte, code fastrpc.Code, outcome fastrpc.Outcome, says string) {
			t.Helper()
			_, err := c.Method(method).Call(t.Context(), body, fastrpc.Timeout(patience))
			checkError(t, err, code, outcome, says)
		}
		fails("none", nil, fastrpc.Unimplemented, fastrpc.NotExecuted, `no method "none"`)
		fails("echo", make([]byte, 100_001), fastrpc.ResourceExhausted, fastrpc.NotExecuted, "MaxMessage")
		fails("much", nil, fastrpc.ResourceExhausted, fastrpc.Executed, "MaxMessage")
		if n := ran.Load(); n != 1 {
			t.Errorf("the handler ran %d times", n)
		}
		fails("own", nil, fastrpc.NotFound, fastrpc.Executed, `no key "k"`)
		fails("plain", nil, fastrpc.Unknown, fastrpc.Executed, "disk on fire")
		fails("late", nil, fastrpc.DeadlineExceeded, fastrpc.Executed, "deadline")
		checkEcho(t, c, "echo", pattern(100_000)) // the largest, after all that

		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := c.Method("echo").Call(canceled, nil)
		checkError(t, err, fastrpc.Canceled, fastrpc.NotExecuted, "context canceled")
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v is not context.Canceled", err)
		}
		expired, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
		defer cancel()
		_, err = c.Method("echo").Call(expired, nil)
		checkError(t, err, fastrpc.DeadlineExceeded, fastrpc.NotExecuted, "deadline")
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v is not context.DeadlineExceeded", err)
		}
	})
}

// What Dial can be refused for before it sends anything.
func TestDialErrors(t *testing.T) {
	nothingLeft(t)
	for target, want := range map[string]struct {
		code fastrpc.Code
		says string
	}{
		"127.0.0.1:9000":                  {fastrpc.InvalidArgument, "scheme://host:port"},
		"udp://127.0.0.1:9000/path":       {fastrpc.InvalidArgument, "scheme://host:port"},
		"udp://127.0.0.1:99999":           {fastrpc.InvalidArgument, "65535"},
		"udp://[::1":                      {fastrpc.InvalidArgument, "[::1"},
		"udp://127.0.0.1":                 {fastrpc.InvalidArgument, "no port"},
		"udp://:9000":                     {fastrpc.InvalidArgument, "no host"},
		"rdma://192.0.2.1:9000":           {fastrpc.InvalidArgument, `import its package, such as _ "github.com/fastrpc/fastrpc/transport/rdma"`},
		"udp://[ff02::1]:9000":            {fastrpc.InvalidArgument, "multicast"},
		"udp://no..body:9000":             {fastrpc.NotFound, "no..body"},
		"udp://[fe80::1%25nowhere0]:9000": {fastrpc.NotFound, "ip -br link"},
		"udp://127.0.0.1:9000?speed=":     {fastrpc.InvalidArgument, "frames and busypoll"},
	} {
		t.Run(target, func(t *testing.T) {
			_, err := fastrpc.Dial(t.Context(), target, insecure)
			checkError(t, err, want.code, fastrpc.NotExecuted, want.says)
			if !strings.HasPrefix(err.Error(), "fastrpc: dial "+target+": ") || strings.Count(err.Error(), target) > 1 {
				t.Errorf("%v does not name the target once, at the beginning", err)
			}
		})
	}
	t.Run("no credentials", func(t *testing.T) {
		_, err := fastrpc.Dial(t.Context(), "udp://127.0.0.1:9000")
		checkError(t, err, fastrpc.Unauthenticated, fastrpc.NotExecuted, "fastrpc.WithInsecure()")
		_, err = fastrpc.NewServer().Listen(t.Context(), "udp://127.0.0.1:0")
		checkError(t, err, fastrpc.Unauthenticated, fastrpc.NotExecuted, "fastrpc.WithInsecure()")
		err = fastrpc.NewServer().ListenAndServe(t.Context(), "udp://127.0.0.1:0")
		checkError(t, err, fastrpc.Unauthenticated, fastrpc.NotExecuted, "fastrpc.WithInsecure()")
	})
}

// A host that answers that nobody listens ends a dial at once; silence ends it at its deadline; no way there, before it began.
func TestDialToNobody(t *testing.T) {
	everywhere(t, func(t *testing.T, w world) {
		nothingLeft(t)
		dial := func(a netip.AddrPort, patience time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			return w.atClient(func() error {
				_, err := fastrpc.Dial(ctx, w.scheme+"://"+a.String(), insecure)
				return err
			})
		}
		ips := []netip.Addr{w.remote}
		if w.lab != nil {
			ips = append(ips, w.lab.Server().IPv6)
		}
		for _, ip := range ips {
			at := netip.AddrPortFrom(ip, closedPort(t, w, ip))
			began := time.Now()
			err := dial(at, patience)
			checkError(t, err, fastrpc.Unavailable, fastrpc.NotExecuted, "nobody listens there")
			if !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("%v is not ECONNREFUSED", err)
			}
			if took := time.Since(began); took > patience/2 {
				t.Errorf("the dial to %v took %v", at, took)
			}
		}
		began := time.Now()
		err := dial(silence(t, w), 200*time.Millisecond)
		checkError(t, err, fastrpc.DeadlineExceeded, fastrpc.NotExecuted, "deadline")
		if took := time.Since(began); took < 200*time.Millisecond {
			t.Errorf("the dial ended after %v, before its deadline", took)
		}
		if w.lab == nil {
			return
		}
		absent := netip.AddrPortFrom(w.remote.Next().Next().Next(), 9000) // of the lab's network, and nobody's
		began = time.Now()
		err = dial(absent, 300*time.Millisecond)
		checkError(t, err, fastrpc.DeadlineExceeded, fastrpc.NotExecuted, absent.Addr().String())
		if took := time.Since(began); took < 300*time.Millisecond {
			t.Errorf("the dial to nowhere ended after %v, before its deadline: %v", took, err)
		}
		err = dial(netip.MustParseAddrPort("203.0.113.1:9000"), patience)
		checkError(t, err, fastrpc.Unavailable, fastrpc.NotExecuted, "203.0.113.1")
		if !errors.Is(err, unix.ENETUNREACH) {
			t.Errorf("%v is not ENETUNREACH", err)
		}
	})
}

// A udp:// client meets the same, the network's answers included.
func TestDialToNobodyByKernel(t *testing.T) {
	nothingLeft(t)
	w := cabled(t, 1)
	dial := func(target string, patience time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		return w.atClient(func() error {
			_, err := fastrpc.Dial(ctx, target, insecure)
			return err
		})
	}
	err := dial("udp://203.0.113.1:9000", patience)
	checkError(t, err, fastrpc.Unavailable, fastrpc.NotExecuted, "203.0.113.1")
	if !errors.Is(err, unix.ENETUNREACH) {
		t.Errorf("%v is not ENETUNREACH", err)
	}
	absent := w.remote.Next().Next().Next()
	err = dial(fmt.Sprintf("udp://%v:9000", absent), 300*time.Millisecond)
	checkError(t, err, fastrpc.DeadlineExceeded, fastrpc.NotExecuted, absent.String())
}

// closedPort finds a port that nobody listens on.
func closedPort(t testing.TB, w world, ip netip.Addr) uint16 {
	t.Helper()
	c := kernelSocket(t, w, netip.AddrPortFrom(ip, 0))
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
}

// silence is a socket that answers nothing.
func silence(t testing.TB, w world) netip.AddrPort {
	t.Helper()
	local := netip.AddrPortFrom(w.remote, 0)
	if w.scheme == "tcp" { // the kernel takes connections, and nobody them from it
		var l *net.TCPListener
		must(t, w.atServer(func() (err error) {
			l, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(local))
			return err
		}))
		t.Cleanup(func() { l.Close() })
		return l.Addr().(*net.TCPAddr).AddrPort()
	}
	c := kernelSocket(t, w, local)
	t.Cleanup(func() { c.Close() })
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

// kernelSocket opens a UDP socket on the server's host.
func kernelSocket(t testing.TB, w world, local netip.AddrPort) (c *net.UDPConn) {
	t.Helper()
	must(t, w.atServer(func() (err error) {
		c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(local))
		return err
	}))
	return c
}
