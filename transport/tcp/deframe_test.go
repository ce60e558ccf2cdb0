package tcp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/transport"
)

func framed(packets ...string) (b []byte) {
	for _, p := range packets {
		b = append(binary.LittleEndian.AppendUint32(b, uint32(len(p))), p...)
	}
	return b
}

func TestDeframe(t *testing.T) {
	long := string(make([]byte, frameBytes))
	for name, c := range map[string]struct {
		in     []byte
		packet string
		size   int
		bad    bool
	}{
		"nothing":          {nil, "", 0, false},
		"half a length":    {[]byte{1, 0, 0}, "", 0, false},
		"a length":         {[]byte{1, 0, 0, 0}, "", 0, false},
		"a packet":         {framed("x"), "x", 5, false},
		"a part of one":    {framed("hello")[:8], "", 0, false},
		"one and a part":   {framed("hello", "you")[:12], "hello", 9, false},
		"the longest":      {framed(long), long, 4 + frameBytes, false},
		"a byte too long":  {framed(long + "x"), "", 0, true},
		"empty":            {framed(""), "", 0, true},
		"HTTP":             {[]byte("GET / HTTP/1.1\r\n\r\n"), "", 0, true},
		"TLS":              {[]byte{22, 3, 1, 2, 0, 1}, "", 0, true},
		"the longest ever": {[]byte{255, 255, 255, 255}, "", 0, true},
	} {
		packet, size, err := deframe(c.in)
		if string(packet) != c.packet || size != c.size || errors.Is(err, unix.EPROTO) != c.bad || (err != nil) != c.bad {
			t.Errorf("%s: deframe gave %d bytes of %d, %v; want %d of %d", name, len(packet), size, err, len(c.packet), c.size)
		}
	}
}

// FuzzDeframe compares what comes out of a stream in pieces with what comes out of all of it at once, by a reader that goes byte by byte.
func FuzzDeframe(f *testing.F) {
	f.Add(framed("a", "bc", "def"), byte(1))
	f.Add(append(framed("hello"), 0, 0, 0, 0), byte(3))
	f.Add(framed(string(make([]byte, 300)), "x"), byte(200))
	f.Fuzz(func(t *testing.T, stream []byte, piece byte) {
		var want []string
		bad := false
		for rest := stream; len(rest) >= 4 && !bad; {
			n := int(rest[0]) | int(rest[1])<<8 | int(rest[2])<<16 | int(rest[3])<<24
			if bad = n < 1 || n > frameBytes; bad || len(rest) < 4+n {
				break
			}
			want = append(want, string(rest[4:4+n]))
			rest = rest[4+n:]
		}
		var got []string
		var held []byte
		var err error
		for rest := stream; err == nil && len(rest) > 0; {
			n := min(len(rest), int(piece)+1)
			held, rest = append(held, rest[:n]...), rest[n:]
			for {
				var packet []byte
				var size int
				if packet, size, err = deframe(held); size == 0 {
					break
				}
				got = append(got, string(packet))
				held = held[size:]
			}
		}
		if (err != nil) != bad || len(got) != len(want) {
			t.Fatalf("%d packets, %v; want %d, bad: %v", len(got), err, len(want), bad)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("packet %d differs", i)
			}
		}
	})
}

// Packets of all sizes arrive whole and in order however the streams that they are in are cut, and whichever connection is read in between.
func TestStreamsCutAnywhere(t *testing.T) {
	for _, peers := range []int{1, 3, fewConns + 3} {
		server, addr := listen(t, "tcp://127.0.0.1:0?frames=64")
		const seed, packets = 11, 300
		streams, want := make([][]byte, peers), map[transport.Path][]string{}
		conns := make([]*net.TCPConn, peers)
		for i := range peers {
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			var sent []string
			for range packets {
				p := make([]byte, 1+rng.IntN(1<<rng.IntN(14))%frameBytes)
				for j := range p {
					p[j] = byte(rng.Uint32())
				}
				sent = append(sent, string(p))
			}
			streams[i] = framed(sent...)
			c, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(addr))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			conns[i] = c
			local := c.LocalAddr().(*net.TCPAddr).AddrPort()
			want[transport.Path{RemoteIP: local.Addr().As16(), RemotePort: local.Port(), LocalIP: addr.Addr().As16(), LocalPort: addr.Port(),
				MTU: frameBytes}] = sent
		}
		rng := rand.New(rand.NewPCG(seed, 99))
		fs := make([]transport.Frame, 8)
		left := peers * packets
		for left > 0 {
			for i, c := range conns {
				n := min(len(streams[i]), 1+rng.IntN(5000))
				if n > 0 {
					if _, err := c.Write(streams[i][:n]); err != nil {
						t.Fatal(err)
					}
					streams[i] = streams[i][n:]
				}
			}
			if err := server.Wait(transport.Now().Add(1e6)); err != nil {
				t.Fatal(err)
			}
			n, err := server.Recv(fs[:1+rng.IntN(len(fs))])
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range fs[:n] {
				next := want[f.Path]
				if len(next) == 0 || !bytes.Equal(f.Data, []byte(next[0])) {
					t.Fatalf("from %v came %d bytes that were not next", f.Path.Remote(), len(f.Data))
				}
				want[f.Path] = next[1:]
				left--
			}
			server.Free(fs[:n])
		}
	}
}
