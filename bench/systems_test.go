package bench

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/fastrpc/fastrpc/internal/lab"
	"github.com/fastrpc/fastrpc/internal/lab/labtest"
)

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
	for _, s := range []System{netTCP{}, spinTCP{}} {
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
	for _, s := range []System{netTCP{}, spinTCP{}} {
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
		server, err = openRing(&Endpoint{Interface: l.Server().Interface, Size: 64, Workload: Latency}, RingServerPort, echoSize)
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
	e := Endpoint{Interface: h.Interface, RemoteMAC: l.Server().MAC.String(), Size: 64, Workload: Latency, Outstanding: 1}
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
