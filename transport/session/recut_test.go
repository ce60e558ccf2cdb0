package session_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/sim"
)

// TestRecutMessageArrived: a message of one packet arrives, all that tells so is lost, and the path becomes narrower before it is sent again. The
// receiver has it and grants nothing; its parts arrive as duplicates all the same, and the stream goes on.
func TestRecutMessageArrived(t *testing.T) {
	s := newStreams(t, 1, lan, session.Config{}, session.Config{}, sim.LinkOptions{MTU: 1472})
	s.opened = func(p *party) { p.reply(session.OK, nil) }
	p := s.open("a", 1, 0)
	s.run(10*time.Millisecond, nil)
	s.net.Partition(serverAddr, clientAddr, true)
	p.send(pattern(1400, 1))
	s.run(100*time.Microsecond, nil)
	narrow := s.conn.Path()
	narrow.MTU = 1000
	s.client.core.HandleMTU(&narrow)
	s.net.Partition(serverAddr, clientAddr, false)
	s.run(50*time.Millisecond, nil)
	p.send(pattern(10, 2))
	p.end()
	k := s.wait("a", 3*time.Second)
	if k.Err() != nil || !k.Drained() {
		t.Errorf("%s, drained %v", describe(k), k.Drained())
	}
	k.Release()
	s.settle()
}

// TestLateNewsOfAPacket: packets count as lost and were only late, when what they carried stands elsewhere already: long messages' parts and
// small messages take each other's places in the log.
func TestLateNewsOfAPacket(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(t, seed, sim.Faults{Delay: 30 * time.Microsecond, Loss: 0.15, Reorder: 0.2, ReorderDelay: 400 * time.Microsecond}, session.Config{})
		w.establish()
		w.each = func() {
			if !w.conn.SmallItems() {
				t.Fatal("a small message is remembered with another's offset")
			}
		}
		bodies := map[int][]byte{}
		for i := range 120 {
			bodies[i] = pattern([]int{10, 1900, 30_000, 1500, 5000}[i%5], byte(i))
			w.call(i, 1, bodies[i], 0)
		}
		for i := range 120 {
			k := w.wait(i, 10*time.Second)
			if k.Err() != nil || !bytes.Equal(k.Body(), bodies[i]) {
				t.Errorf("seed %d, call %d: %s", seed, i, describe(k))
			}
			k.Release()
		}
		w.settle()
	}
}
