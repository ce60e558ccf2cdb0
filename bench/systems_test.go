package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/lab"
	"github.com/fastrpc/fastrpc/internal/lab/labtest"

	"github.com/fastrpc/fastrpc/bench/result"
)

func system(t *testing.T, name string) System {
	t.Helper()
	s, err := Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// kernelStreams are the systems over TCP that a false server of the test can answer.
func kernelStreams(t *testing.T) (all []System) {
	t.Helper()
	for _, name := range []string{"net-tcp", "spin-tcp", "spin-tcp-busy"} {
		if name != "spin-tcp-busy" || missingCapabilities() == "" {
			all = append(all, system(t, name))
		}
	}
	return all
}

// shortly are points at which a workload takes little time.
var shortly = map[string][]float64{
	Open: {2000}, Sweep: {0.5, 2}, Sizes: {64, 1 << 20}, Sessions: {20}, Incast: {4}, Loss: {0.01}, Idle: {1},
}

// Every system carries every workload that it says it has, between two namespaces, without a wrong byte.
func TestEverySystem(t *testing.T) {
	if why := missingCapabilities(); why != "" {
		t.Skip(why)
	}
	for _, workload := range Workloads() {
		c := Config{Workload: workload, Along: shortly[workload], Duration: 50 * time.Millisecond, Rounds: 1, Child: childCommand(t)}
		switch workload {
		case Anatomy:
			c.Requests, c.Duration = 100, 0
		case Open, Sweep: // a machine that does something else for that long leaves no call in time
			c.Duration = 300 * time.Millisecond
		}
		for _, name := range Names() {
			if has(system(t, name), workload) && !strings.HasPrefix(name, "test-") {
				c.Systems = append(c.Systems, name)
			}
		}
		r, err := Compare(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		for _, res := range r.Results {
			if res.Error != "" || len(res.Rounds) != 1 || res.Rounds[0].Ops <= 0 {
				t.Errorf("%s of %s: %+v", workload, res.System, res)
			}
		}
		busy := slices.Contains(c.Systems, "spin-tcp-busy")
		if len(r.Notes) > 1 || busy != (len(r.Notes) == 1 && strings.HasPrefix(r.Notes[0], "spin-tcp-busy: SO_BUSY_POLL")) {
			t.Errorf("%s: notes %q, want one on whether busy polling does anything", workload, r.Notes)
		}
	}
	noLab(t)
	noSockets(t)
}

// noSockets checks that no server of this process's children left its Unix socket behind.
func noSockets(t *testing.T) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(os.TempDir(), unixPrefix+"*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range left {
		number, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), unixPrefix), "-")
		if pid, err := strconv.Atoi(number); err == nil && errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			t.Errorf("left behind: %s", dir)
		}
	}
}

// The socket of a server that was killed is removed by the next one; that of a living one is not.
func TestUnixSocketOfTheDead(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	short := exec.Command("true")
	if err := short.Run(); err != nil {
		t.Fatal(err)
	}
	dead := filepath.Join(os.TempDir(), fmt.Sprintf("%s%d-1", unixPrefix, short.Process.Pid))
	alive := filepath.Join(os.TempDir(), fmt.Sprintf("%s%d-1", unixPrefix, os.Getppid()))
	for _, dir := range []string{dead, alive} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	l, r, err := listenUnix(nil)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Dir(r.Path)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the socket's folder: %v, %v, want one that nobody else enters", info, err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	left, err := os.ReadDir(os.TempDir())
	if err != nil || len(left) != 1 || left[0].Name() != filepath.Base(alive) {
		t.Errorf("left are %v, %v, want %s", left, err, alive)
	}
	if _, err := system(t, "unix").Connect(t.Context(), Endpoint{Path: r.Path, Workload: Latency, Point: result.Point{Size: 64, Outstanding: 1}}); err == nil || !strings.Contains(err.Error(), "one machine") {
		t.Errorf("a socket that is not there: %v", err)
	}
}

// A datagram that is lost fails its call, and one that is false is seen, by a lone call and among many.
func TestUDPVerifies(t *testing.T) {
	l, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := l.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			if buf[n-1] != 0 { // asks for a lie
				buf[n-2] ^= 1
			}
			for range max(1, int(buf[n-2]>>1)) { // and for so many echoes
				_, _ = l.WriteToUDPAddrPort(buf[:n], from)
			}
		}
	}()
	for _, workload := range []string{Latency, Rate} {
		e := *loopback()
		e.Remote, e.Workload = l.LocalAddr().(*net.UDPAddr).AddrPort(), workload
		if e.Piped() {
			e.Outstanding = 4
		}
		c, err := system(t, "net-udp").Connect(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		call, ended := c.Call, make([]int, e.Outstanding)
		if p, ok := c.(Pipeline); ok {
			slot := -1
			call = func(payload []byte) error {
				slot++
				if err := p.Begin(slot, payload); err != nil {
					return err
				}
				n, err := p.Wait(ended)
				if err == nil && (n != 1 || ended[0] != slot) {
					t.Errorf("slots %v ended, want %d", ended[:n], slot)
				}
				return err
			}
		}
		payload := make([]byte, 64)
		if err := call(payload); err != nil {
			t.Errorf("%s: a true echo: %v", workload, err)
		}
		payload[62] = 4 // two echoes: the second one is no other call's
		if err := call(payload); err != nil {
			t.Errorf("%s: the first of two echoes: %v", workload, err)
		}
		payload[62], payload[0] = 0, 1
		if err := call(payload); !errors.Is(err, ErrEcho) {
			t.Errorf("%s: another call's echo: %v, want ErrEcho", workload, err)
		}
		payload[63] = 1
		if err := call(payload); err != nil && !errors.Is(err, ErrEcho) {
			t.Errorf("%s: %v", workload, err)
		}
		if err := call(payload); !errors.Is(err, ErrEcho) {
			t.Errorf("%s: a false echo: %v, want ErrEcho", workload, err)
		}
	}
	l.Close()
	e := *loopback()
	e.Remote, e.Workload = l.LocalAddr().(*net.UDPAddr).AddrPort(), Latency
	c, err := system(t, "net-udp").Connect(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Call(make([]byte, 64)); err == nil {
		t.Error("an echo of nobody")
	}
}

// An echo with one wrong bit is no echo.
func TestTCPSystemsVerify(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				buf := make([]byte, 64)
				for lie := byte(0); ; lie = 0x80 { // the first echo is true
					if _, err := io.ReadFull(c, buf); err != nil {
						return
					}
					buf[63] ^= lie
					if _, err := c.Write(buf); err != nil {
						return
					}
				}
			}()
		}
	}()
	for _, s := range kernelStreams(t) {
		e := *loopback()
		e.Remote = l.Addr().(*net.TCPAddr).AddrPort()
		c, err := s.Connect(t.Context(), e)
		if err != nil {
			t.Fatalf("%s: %v", s.Name(), err)
		}
		payload := make([]byte, 64)
		if err := c.Call(payload); err != nil {
			t.Errorf("%s: a true echo: %v", s.Name(), err)
		}
		if err := c.Call(payload); !errors.Is(err, ErrEcho) {
			t.Errorf("%s: a false echo: %v, want ErrEcho", s.Name(), err)
		}
		if err := c.Close(); err != nil {
			t.Errorf("%s: %v", s.Name(), err)
		}
	}
}

// A server that is gone is an error, not a hang.
func TestTCPSystemsSeeTheEnd(t *testing.T) {
	for _, s := range kernelStreams(t) {
		ctx, cancel := context.WithCancel(t.Context())
		e := *loopback()
		ready := make(chan Ready, 1)
		ended := make(chan error, 1)
		go func() { ended <- s.Serve(ctx, e, func(r Ready) { ready <- r }) }()
		e.Remote = (<-ready).Addr
		c, err := s.Connect(t.Context(), e)
		if err != nil {
			t.Fatalf("%s: %v", s.Name(), err)
		}
		if err := c.Call(make([]byte, 64)); err != nil {
			t.Errorf("%s: %v", s.Name(), err)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("%s: Serve: %v", s.Name(), err)
		}
		for err = nil; err == nil; { // net-tcp closes its connections beside Serve's end
			err = c.Call(make([]byte, 64))
		}
		c.Close()
		if c, err := s.Connect(t.Context(), e); err == nil {
			c.Close()
			t.Errorf("%s: connected to a server that is gone", s.Name())
		}
	}
}

func TestRingVerifies(t *testing.T) {
	l := labtest.New(t, lab.Config{})
	var server *ringSocket
	if err := l.Server().Do(func() (err error) {
		server, err = openRing(&Endpoint{Interface: l.Server().Interface, Point: result.Point{Size: 64}, Workload: Latency}, RingServerPort, echoSize)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	var stop atomic.Bool
	go func() {
		ended <- serveLies(server, &stop)
	}()
	defer func() {
		stop.Store(true)
		if err := <-ended; !errors.Is(err, errStopped) {
			t.Error(err)
		}
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	}()
	h := l.Client()
	e := Endpoint{Interface: h.Interface, RemoteMAC: l.Server().MAC.String(), Point: result.Point{Size: 64, Outstanding: 1}, Workload: Latency}
	e.Local, e.Remote = addrOf(h, 0), addrOf(l.Server(), RingServerPort)
	var c Caller
	if err := h.Do(func() (err error) {
		c, err = ring{}.Connect(t.Context(), e)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	payload := make([]byte, 64)
	for range 3 * echoSize.chunks { // every chunk comes up
		if err := c.Call(payload); err != nil {
			t.Fatalf("a true echo: %v", err)
		}
		payload[5]++
	}
	payload[63] = 1 // asks for a lie
	if err := c.Call(payload); !errors.Is(err, ErrEcho) {
		t.Errorf("a false echo: %v, want ErrEcho", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func addrOf(h lab.Host, port uint16) netip.AddrPort { return netip.AddrPortFrom(h.IPv4, port) }

// serveLies changes a bit of the echo when the payload's last byte is not 0.
func serveLies(s *ringSocket, stop *atomic.Bool) error {
	for {
		n, err := s.receive(stop, 0)
		if err != nil {
			return err
		}
		for _, d := range s.descs[:n] {
			p := s.umem.Data(d)
			TurnAround(p)
			if p[len(p)-1] != 0 {
				p[len(p)-2] ^= 1
			}
		}
		if err := s.send(n, stop); err != nil {
			return err
		}
		s.sock.Fill(s.addrs[:s.sock.Complete(s.addrs[:])])
		if err := s.sock.WakeFill(); err != nil {
			return err
		}
	}
}

func TestTurnAround(t *testing.T) {
	packet := make([]byte, 60)
	for i := range packet {
		packet[i] = byte(i)
	}
	TurnAround(packet)
	for i, want := range map[int]byte{0: 6, 6: 0, 11: 5, 26: 30, 30: 26, 34: 36, 36: 34, 12: 12, 25: 25, 38: 38, 59: 59} {
		if packet[i] != want {
			t.Errorf("byte %d is %d, want %d", i, packet[i], want)
		}
	}
	for n := range 42 {
		TurnAround(make([]byte, n)) // must not panic
	}
}
