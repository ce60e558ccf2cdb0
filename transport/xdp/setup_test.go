package xdp_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/internal/lab"
	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/xdp"
)

// patience bounds every wait for something that must happen.
const patience = 30 * time.Second

// childTarget makes the test binary a process that listens on a target until its standard input ends.
const childTarget = "FASTRPC_TEST_XDP_LISTEN"

func TestMain(m *testing.M) {
	if target := os.Getenv(childTarget); target != "" {
		os.Exit(child(target))
	}
	os.Exit(m.Run())
}

func child(target string) int {
	t, err := transport.ParseTarget(target)
	if err == nil {
		var d transport.Driver
		if d, err = transport.Open("xdp"); err == nil {
			_, err = d.Listen(context.Background(), t)
		}
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// startChild runs a listener in a process of its own and returns the first line it prints.
func startChild(t *testing.T, h lab.Host, target string) (cmd *exec.Cmd, says string) {
	t.Helper()
	cmd = exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childTarget+"="+target)
	stdin, err := cmd.StdinPipe()
	must(t, err)
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	must(t, h.Start(cmd))
	t.Cleanup(func() {
		stdin.Close()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	must(t, err)
	return cmd, line[:len(line)-1]
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func driver(t testing.TB) transport.Driver {
	t.Helper()
	d, err := transport.Open("xdp")
	must(t, err)
	return d
}

// tryListen listens on a host of a lab.
func tryListen(t testing.TB, h lab.Host, target string) (port transport.Port, err error) {
	t.Helper()
	parsed, err := transport.ParseTarget(target)
	must(t, err)
	err = h.Do(func() (err error) {
		port, err = driver(t).Listen(context.Background(), parsed)
		return err
	})
	return port, err
}

func tryDial(t testing.TB, h lab.Host, remote netip.AddrPort, query string) (port transport.Port, err error) {
	t.Helper()
	parsed, err := transport.ParseTarget("xdp://" + remote.String() + query)
	must(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err = h.Do(func() (err error) {
		port, err = driver(t).Dial(ctx, parsed, remote)
		return err
	})
	return port, err
}

func listen(t testing.TB, h lab.Host, target string) transport.Port {
	t.Helper()
	p, err := tryListen(t, h, target)
	must(t, err)
	t.Cleanup(func() { closePort(t, p) })
	return p
}

func dial(t testing.TB, h lab.Host, remote netip.AddrPort, query string) transport.Port {
	t.Helper()
	p, err := tryDial(t, h, remote, query)
	must(t, err)
	t.Cleanup(func() { closePort(t, p) })
	return p
}

func closePort(t testing.TB, p transport.Port) {
	t.Helper()
	links := p.Links()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	for _, l := range links {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

// listenKernel opens a kernel socket on a host of a lab.
func listenKernel(t testing.TB, h lab.Host, local netip.AddrPort) *net.UDPConn {
	t.Helper()
	var c *net.UDPConn
	must(t, h.Do(func() (err error) {
		c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(local))
		return err
	}))
	t.Cleanup(func() { c.Close() })
	return c
}

func resolve(t testing.TB, l transport.Link, local, remote netip.AddrPort) transport.Path {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	p, err := l.Resolve(ctx, local, remote)
	must(t, err)
	return p
}

// send sends data and frees the frame once it is out.
func send(t testing.TB, l transport.Link, path transport.Path, data []byte) {
	t.Helper()
	sendECN(t, l, path, data, 0)
}

func sendECN(t testing.TB, l transport.Link, path transport.Path, data []byte, ecn uint8) {
	t.Helper()
	var f transport.Frame
	ok := l.Alloc(&f)
	if !ok {
		t.Fatalf("no free frame: %+v", l.Counts())
	}
	f.Data = f.Data[:copy(f.Data, data)]
	f.Path, f.ECN = path, ecn
	fs := []transport.Frame{f}
	if n, err := l.Send(fs); n != 1 || err != nil {
		t.Fatalf("Send = %d, %v", n, err)
	}
	must(t, l.Flush())
	reap(l)
}

func reap(l transport.Link) {
	var fs [64]transport.Frame
	l.Free(fs[:l.Completed(fs[:])])
}

// receive waits for one packet and returns a copy of it.
func receive(t testing.TB, l transport.Link) (transport.Frame, []byte) {
	t.Helper()
	until := transport.Now().Add(patience)
	var fs [1]transport.Frame
	for transport.Now() < until {
		n, err := l.Recv(fs[:])
		must(t, err)
		if n == 1 {
			data := append([]byte(nil), fs[0].Data...)
			l.Free(fs[:])
			return fs[0], data
		}
		must(t, l.Wait(until))
	}
	t.Fatalf("%s: no packet came: %+v", l.Caps().Name, stats(l))
	panic("unreachable")
}

// event waits for an event of a kind.
func event(t testing.TB, l transport.Link, kind transport.EventKind) transport.Event {
	t.Helper()
	until := transport.Now().Add(patience)
	var es [1]transport.Event
	for transport.Now() < until {
		if l.Events(es[:]) == 1 {
			if es[0].Kind == kind {
				return es[0]
			}
			continue
		}
		var fs [8]transport.Frame
		if n, err := l.Recv(fs[:]); err == nil { // reads the kernel's sockets too
			l.Free(fs[:n])
		}
		must(t, l.Wait(until))
	}
	t.Fatalf("%s: no event of kind %d came: %+v", l.Caps().Name, kind, stats(l))
	panic("unreachable")
}

func stats(l transport.Link) xdp.Stats { return l.(interface{ Stats() xdp.Stats }).Stats() }

func addrPort(a netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a, port) }

// families are the lab's addresses of either family.
func families(l *lab.Lab) map[string]struct{ client, server netip.Addr } {
	return map[string]struct{ client, server netip.Addr }{
		"IPv4": {l.Client().IPv4, l.Server().IPv4},
		"IPv6": {l.Client().IPv6, l.Server().IPv6},
	}
}

func deadline(ms int) time.Time { return time.Now().Add(time.Duration(ms) * time.Millisecond) }
