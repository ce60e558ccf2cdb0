package fastrpc_test

import (
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"testing"

	"github.com/fastrpc/fastrpc/transport/wire"
)

// Strangers flood the server's port with noise, with damaged packets, and with handshakes that they never finish, while clients call: no call
// fails, no new client is turned away, and the memory that it takes is bounded.
func TestFlood(t *testing.T) {
	everywhere(t, func(t *testing.T, w world) {
		nothingLeft(t)
		const bursts, burst = 200, 100
		port := w.serve(t, echoServer())
		c := w.dial(t, port)
		flooder := stranger(t, w, port)
		stop := callBusily(t, c, 2)
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		rng := rand.New(rand.NewPCG(seed, 0))
		var before, after runtime.MemStats
		packet := make([]byte, 1400)
		for i := range bursts {
			if i == bursts/10 { // what is taken lazily has been taken
				runtime.GC()
				runtime.ReadMemStats(&before)
			}
			for range burst {
				_, _ = flooder.Write(strange(rng, packet)) // a full queue may refuse it
			}
			checkEcho(t, c, "echo", pattern(100))
			if i%20 == 0 {
				fresh, err := w.tryDial(t, w.dialTarget(port))
				must(t, err)
				hangUp(t, fresh)
			}
		}
		stop()
		runtime.GC()
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 4<<20 {
			t.Errorf("the heap grew by %d KiB", grown>>10)
		}
		checkEcho(t, c, "worker", pattern(1<<20))
	})
}

// stranger is a socket on the client's host that sends to the server's port.
func stranger(t testing.TB, w world, port uint16) io.Writer {
	t.Helper()
	at := netip.AddrPortFrom(w.remote, port)
	if w.scheme == "tcp" {
		s := &persistent{at: net.TCPAddrFromAddrPort(at)}
		t.Cleanup(s.hangUp)
		return s
	}
	var c *net.UDPConn
	must(t, w.atClient(func() (err error) {
		c, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(at))
		return err
	}))
	t.Cleanup(func() { c.Close() })
	return c
}

// persistent is a stranger with a connection, and with another when that was closed. Every thirty-second packet is no packet at all.
type persistent struct {
	at *net.TCPAddr
	c  *net.TCPConn
	n  int
}

func (s *persistent) Write(packet []byte) (int, error) {
	if s.c == nil {
		c, err := net.DialTCP("tcp", nil, s.at)
		if err != nil {
			return 0, err
		}
		s.c = c
		_ = c.SetLinger(0)
	}
	frame := binary.LittleEndian.AppendUint32(nil, uint32(len(packet)))
	if s.n++; s.n%32 == 0 {
		frame = nil
	}
	n, err := s.c.Write(append(frame, packet...))
	if err != nil {
		s.hangUp()
	}
	return n, err
}

func (s *persistent) hangUp() {
	if s.c != nil {
		s.c.Close()
		s.c = nil
	}
}

// strange draws a packet: noise, noise that starts as one of ours does, or a handshake of a client that there is not.
func strange(rng *rand.Rand, b []byte) []byte {
	switch rng.IntN(4) {
	case 0:
		return noise(rng, b[:rng.IntN(len(b))])
	case 1: // of a kind, with a checksum that is right
		b = noise(rng, b[:wire.HandshakeBytes+rng.IntN(300)])
		b[0] = wire.Version<<4 | byte(rng.IntN(8))
		wire.Sum(b)
		return b
	}
	h := wire.Handshake{
		Kind: wire.Hello, Source: rng.Uint64(), Incarnation: rng.Uint64(), Calls: rng.Uint32(), MaxMessage: rng.Uint32(),
		MaxPacket: uint16(rng.Uint32()), IdleSeconds: uint16(rng.Uint32()),
	}
	if rng.IntN(2) == 0 { // as a client of ours says it
		h.Calls, h.MaxMessage, h.MaxPacket = 1024, 16<<20, 1472
	}
	return b[:h.Put(b)]
}

func noise(rng *rand.Rand, b []byte) []byte {
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}
