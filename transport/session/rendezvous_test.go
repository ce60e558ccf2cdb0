package session_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/sim"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// fetchLeast is from which length on messages are fetched in these tests.
const fetchLeast = 20_000

// newFetchingWorld is a reliable world on links that fetch, and that fail to with a probability.
func newFetchingWorld(t testing.TB, seed uint64, fails float64, cfg session.Config) *world {
	o := sim.LinkOptions{Frames: 2048, Reliable: true, FetchLeast: fetchLeast, FetchFails: fails}
	w := newWorldOn(t, seed, sim.Faults{Delay: 20 * time.Microsecond}, cfg, cfg, o)
	if !w.run(time.Second, w.conn.Established) {
		t.Fatal("no session")
	}
	return w
}

// Long requests and replies of all lengths around the threshold come out of their sender's memory, and are what was sent; shorter ones, and
// those for which there is no memory to fetch into, come in packets.
func TestRendezvous(t *testing.T) {
	for _, n := range []int{10, 3000, fetchLeast - 1, fetchLeast, fetchLeast + 1, 50_000, 100_000, 333_333, 900_000, 3 << 20} {
		t.Run(fmt.Sprintf("%d bytes", n), func(t *testing.T) {
			w := newFetchingWorld(t, 1, 0, session.Config{})
			for i := range 3 {
				w.call(i, 1, pattern(n, byte(i)), 0)
			}
			for i := range 3 {
				if k := w.wait(i, time.Second); k.Err() != nil || !bytes.Equal(k.Body(), pattern(n, byte(i))) {
					t.Errorf("call %d: %s", i, describe(k))
				} else {
					k.Release()
				}
			}
			w.settle()
			r, c, s := w.net.Reads(), w.client.core.Stats(), w.server.core.Stats()
			if c.Exposed != s.Fetched || s.Exposed != c.Fetched || r.Done != c.Fetched+s.Fetched {
				t.Errorf("the client exposed %d parts and fetched %d, the server %d and %d; of the reads %+v", c.Exposed, c.Fetched, s.Exposed, s.Fetched, r)
			}
			if long := n >= fetchLeast && n <= 1<<20; long != (c.Fetched > 0) || long != (s.Fetched > 0) {
				t.Errorf("%d and %d parts were fetched", c.Fetched, s.Fetched)
			}
			if r.Refused+r.Broken+c.Retransmitted+s.Retransmitted != 0 {
				t.Errorf("reads %+v; %d and %d parts were sent again", r, c.Retransmitted, s.Retransmitted)
			}
		})
	}
}

// Messages of streams are fetched as others are.
func TestRendezvousOnStreams(t *testing.T) {
	s := newStreams(t, 3, sim.Faults{Delay: 20 * time.Microsecond}, session.Config{}, session.Config{},
		sim.LinkOptions{Frames: 2048, Reliable: true, FetchLeast: fetchLeast})
	long := messages(20, 1000, 60_000, 200_000, 19_000)
	s.opened = func(p *party) {
		p.send(long...)
		p.reply(session.OK, pattern(70_000, 5))
		t.Cleanup(func() { p.wantMessages("the server", long) })
	}
	p := s.open("stream", 1, 0)
	p.send(long...)
	p.end()
	if k := s.wait("stream", time.Second); k.Err() != nil || !bytes.Equal(k.Body(), pattern(70_000, 5)) {
		t.Errorf("the stream: %s", describe(k))
	} else {
		k.Release()
	}
	p.wantMessages("the client", long)
	if c, v := s.client.core.Stats(), s.server.core.Stats(); c.Fetched == 0 || v.Fetched == 0 || s.net.Reads().Refused != 0 {
		t.Errorf("%d and %d parts were fetched; reads: %+v", c.Fetched, v.Fetched, s.net.Reads())
	}
	s.settle()
}

// Connections break at any moment, and reads fail for reasons of their own. Each call runs once and ends with its reply.
func TestRendezvousBreaks(t *testing.T) {
	fetched, broken := uint64(0), uint64(0)
	for seed := range uint64(100) {
		w := newFetchingWorld(t, seed, []float64{0, 0, 0.1, 1}[seed%4], session.Config{})
		w.watchInvariants()
		if !w.breakOften(seed) {
			t.Fatalf("seed %d", seed)
		}
		fetched += w.net.Reads().Done
		broken += w.net.Reads().Broken
		if r := w.net.Reads(); seed%4 < 2 && r.Refused > 0 {
			t.Fatalf("seed %d: %d reads were of what was not exposed any more", seed, r.Refused)
		}
	}
	if fetched < 1000 || broken == 0 {
		t.Errorf("%d parts were fetched, %d could not be because of a break: this test is for both", fetched, broken)
	}
}

// The worlds of TestChaos and TestStreamChaos, with links that fetch: packets are lost, doubled and damaged, and so are the words about pieces.
func TestRendezvousChaos(t *testing.T) {
	first, last := int64(1), int64(*seeds)/4
	if *oneSeed >= 0 {
		first, last = *oneSeed, *oneSeed
	}
	for seed := first; seed <= last; seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			items := append(draw(uint64(seed)), item{"links fetch", func(p *plan) {
				for end := range p.links {
					p.links[end].FetchLeast, p.links[end].FetchFails = chaosFetchLeast, 0.1*float64(seed%2)
				}
			}})
			if v := play(t, items, whole(items), uint64(seed), nil); v.Failed() {
				t.Error(v.all[0])
			}
			newRiver(t, uint64(seed), chaosFetchLeast).play()
		})
	}
}

const chaosFetchLeast = 3000

// Calls that are given up while their messages are fetched end at once. What is under way is read to its end, out of memory that is nobody
// else's meanwhile, and everything comes home.
func TestRendezvousGivenUp(t *testing.T) {
	for at := range 60 {
		w := newFetchingWorld(t, uint64(at), 0, session.Config{})
		w.watchInvariants()
		for i := range 3 {
			w.call(i, 1, pattern(200_000, byte(i)), 0)
		}
		given := w.call("given up", 1, pattern(150_000, 9), 0) // the shortest goes first
		w.in(time.Duration(at)*5*time.Microsecond, func() {
			if !given.Ended() {
				given.Cancel(w.net.Now())
			}
		})
		for i := range 3 {
			if k := w.wait(i, time.Second); k.Err() != nil || !bytes.Equal(k.Body(), pattern(200_000, byte(i))) {
				t.Fatalf("given up at %d: call %d: %s", at, i, describe(k))
			} else {
				k.Release()
			}
		}
		w.wait("given up", time.Second).Release()
		w.settle()
		if r := w.net.Reads(); r.Refused != 0 {
			t.Fatalf("given up at %d: %+v", at, r)
		}
	}
}

// An end that crashes while messages are fetched leaves nothing behind at the other.
func TestRendezvousCrash(t *testing.T) {
	for at := range 40 {
		for _, crash := range []string{"client", "server"} {
			w := newFetchingWorld(t, uint64(at), 0, session.Config{IdleTimeout: time.Second})
			w.watchInvariants()
			for i := range 3 {
				w.call(i, 1, pattern(300_000, byte(i)), 0)
			}
			w.in(time.Duration(at)*10*time.Microsecond, func() {
				if crash == "client" {
					w.crash(w.client)
					w.closedAt(w.server, clientAddr)
				} else {
					w.crash(w.server)
					w.closedAt(w.client, serverAddr)
				}
			})
			w.run(10*time.Second, nil)
			if crash == "client" {
				w.server.home(t, "server")
			} else {
				for i := range 3 {
					if w.ended[i] == nil {
						t.Fatalf("call %d has not ended", i)
					}
					w.ended[i].Release()
				}
				w.conn.Close(w.net.Now(), session.OK, "done")
				w.run(time.Second, nil)
				w.client.home(t, "client")
			}
			if t.Failed() {
				t.Fatalf("the %s crashed at %d", crash, at)
			}
		}
	}
}

// Words about pieces that contradict themselves, or what was agreed, are malformed, and nothing is read: not beyond what was granted, not of
// another length, not of a message for which nobody asked for it.
func TestRendezvousMalformed(t *testing.T) {
	const total = 300_000
	for name, edit := range map[string]func(fr *wire.Frame, r *wire.Remote){
		"nothing":                func(fr *wire.Frame, r *wire.Remote) { r.Length = 0 },
		"beyond the total":       func(fr *wire.Frame, r *wire.Remote) { fr.A, r.Length = total-10, 11 },
		"beyond the numbers":     func(fr *wire.Frame, r *wire.Remote) { r.Length = 1<<32 - 1 },
		"another total":          func(fr *wire.Frame, r *wire.Remote) { fr.B++ },
		"beyond what is granted": func(fr *wire.Frame, r *wire.Remote) { fr.A, r.Length = 1<<31, 1000 },
		"too short":              func(fr *wire.Frame, r *wire.Remote) { fr.Payload = fr.Payload[:wire.RemoteBytes-1] },
		"too long":               func(fr *wire.Frame, r *wire.Remote) { fr.Payload = append(fr.Payload, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newFetchingWorld(t, 1, 0, session.Config{})
			changed := 0
			w.client.link = tampering{w.client.link.(*watched), func(fr *wire.Frame) {
				if fr.Type == wire.Fragment && fr.Flags&wire.FlagRemote != 0 {
					changed++
					r, _ := fr.Remote()
					edit(fr, &r)
					if len(fr.Payload) == wire.RemoteBytes {
						r.Put(fr.Payload)
					}
				}
			}}
			w.call(0, 1, pattern(total, 0), 100*time.Millisecond)
			k := w.wait(0, time.Second)
			if k.Err() == nil {
				t.Errorf("the call succeeded: %s", describe(k))
			}
			k.Release()
			if s := w.server.core.Stats(); changed == 0 || s.Malformed == 0 || w.net.Reads() != (sim.Reads{}) {
				t.Errorf("%d frames were changed; %+v; reads %+v", changed, s, w.net.Reads())
			}
			w.settle()
		})
	}
}

// tampering is a link that changes frames of the packets that it sends.
type tampering struct {
	*watched
	edit func(fr *wire.Frame)
}

func (l tampering) Send(fs []transport.Frame) (int, error) {
	for i := range fs {
		b := fs[i].Data
		if wire.KindOf(b) != wire.Data {
			continue
		}
		rest := bytes.Clone(b[wire.DataHeaderBytes : len(b)-wire.ChecksumBytes])
		b = b[:wire.DataHeaderBytes]
		for len(rest) > 0 {
			var fr wire.Frame
			rest, _ = fr.Next(rest)
			l.edit(&fr)
			b = append(b, make([]byte, wire.FrameHeaderBytes)...)
			fr.Put(b[len(b)-wire.FrameHeaderBytes:], len(fr.Payload))
			b = append(b, fr.Payload...)
		}
		fs[i].Data = append(b, 0, 0, 0, 0) // a reliable link has no checksum
	}
	return l.watched.Send(fs)
}
