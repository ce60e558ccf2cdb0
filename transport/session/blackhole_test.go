package session_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/sim"
)

// TestBlackHole: a path that swallows large packets in silence is found out and gone on with in shorter ones, whatever kind of message it is
// that does not get through, and with nothing else under way. Messages on either side that have arrived are not run or read twice.
func TestBlackHole(t *testing.T) {
	const mtu = 1300
	for _, x := range []struct {
		name           string
		request, reply int
	}{{"small request", 1900, 10}, {"long request", 100_000, 10}, {"small reply", 10, 1900}, {"long reply", 10, 100_000}, {"both", 1900, 1900}} {
		for _, side := range []string{"out", "back", "both ways"} {
			for _, from := range []string{"always", "later"} {
				t.Run(x.name+"/"+side+"/"+from, func(t *testing.T) {
					w := newWorld(t, 1, lan, session.Config{})
					w.establish()
					w.serve = func(k *session.Call) {
						k.ReplyBytes(w.net.Now(), session.OK, session.Executed, pattern(x.reply, 3))
					}
					narrow := func() {
						f := lan
						f.MTU = mtu
						if side != "back" {
							w.net.SetFaults(clientAddr, serverAddr, f)
						}
						if side != "out" {
							w.net.SetFaults(serverAddr, clientAddr, f)
						}
					}
					if from == "later" {
						w.in(30*time.Microsecond, narrow)
					} else {
						narrow()
					}
					body := pattern(x.request, 1)
					for i := range 5 {
						w.call(i, 1, body, 0)
						k := w.wait(i, 3*time.Second)
						if k.Err() != nil || !bytes.Equal(k.Body(), pattern(x.reply, 3)) {
							t.Errorf("call %d: %s", i, describe(k))
						}
						k.Release()
					}
					if n := w.executions[string(body)]; n != 5 {
						t.Errorf("%d executions of 5 calls", n)
					}
					blocked := x.request > mtu && side != "back" || x.reply > mtu && side != "out"
					if n := w.client.core.Stats().PathsNarrowed + w.server.core.Stats().PathsNarrowed; blocked && n == 0 || n > 6 || n > 0 && w.conn.PacketBytes() < 1232 {
						t.Errorf("narrowed %d times", n)
					}
					w.settle()
				})
			}
		}
	}
}

// TestBlackHoleStream: messages of a stream, both ways, over a path that becomes narrow in the middle.
func TestBlackHoleStream(t *testing.T) {
	for seed := range uint64(30) {
		s := newStreams(t, seed, rough, session.Config{}, session.Config{}, sim.LinkOptions{})
		var server *party
		s.opened = func(p *party) {
			server = p
			p.send(messages(100, 1900, 100, 7000)...)
			p.reply(session.OK, nil)
		}
		p := s.open("a", 1, 0)
		p.send(messages(100, 1900, 7000, 50)...)
		p.end()
		s.in(time.Duration(seed+1)*200*time.Microsecond, func() {
			f := rough
			f.MTU = 1300
			s.net.SetAllFaults(f)
		})
		k := s.wait("a", 20*time.Second)
		if k.Err() != nil {
			t.Errorf("seed %d: %s", seed, describe(k))
		} else {
			p.wantMessages("to the client", server.out)
			server.wantMessages("to the server", p.out)
		}
		k.Release()
		s.settle()
	}
}

// TestLossIsNoBlackHole: a path that loses packets of every size keeps its MTU.
func TestLossIsNoBlackHole(t *testing.T) {
	narrowed, lost := uint64(0), uint64(0)
	for seed := range uint64(100) {
		w := newWorld(t, seed, sim.Faults{Delay: 10 * time.Microsecond, Loss: 0.1}, session.Config{})
		for i := range 60 {
			w.call(i, 1, pattern([]int{1900, 20_000, 30}[i%3], byte(i)), 0)
			w.wait(i, 10*time.Second).Release()
		}
		for _, n := range []*node{w.client, w.server} {
			narrowed += n.core.Stats().PathsNarrowed
			lost += n.core.Stats().Lost
		}
		w.settle()
	}
	if narrowed != 0 || lost < 5000 {
		t.Errorf("narrowed %d times, with %d packets lost", narrowed, lost)
	}
}

// TestNarrowAfterArrival: a message has arrived in one packet, its acknowledgement is lost, and the path becomes narrower: it is sent again in
// parts, which the receiver lets come, and the call goes on for as long as its handler takes.
func TestNarrowAfterArrival(t *testing.T) {
	for _, streams := range []bool{false, true} {
		s := newStreams(t, 1, lan, session.Config{}, session.Config{}, sim.LinkOptions{})
		s.establish()
		var server *party
		s.opened = func(p *party) { server = p }
		s.serve = func(k *session.Call) { s.in(8*time.Second, func() { s.echo(k) }) }
		body := pattern(1900, 1)
		cut := func(on bool) { s.net.Partition(serverAddr, clientAddr, on) }
		if streams {
			p := s.open("a", 1, 0)
			s.run(50*time.Millisecond, nil)
			cut(true)
			p.send(body)
		} else {
			cut(true)
			s.call("a", 1, body, 0)
		}
		s.run(200*time.Microsecond, nil)
		path := s.conn.Path()
		path.MTU = 1000
		s.client.core.HandleMTU(&path)
		s.in(20*time.Millisecond, func() { cut(false) })
		if streams {
			s.run(8*time.Second, nil)
			server.wantMessages("to the server", [][]byte{body})
			server.early = true
			server.reply(session.OK, nil)
		}
		k := s.wait("a", 9*time.Second)
		if k.Err() != nil {
			t.Errorf("streams %v: %s", streams, describe(k))
		}
		if n := s.executions[string(body)]; n != 1 && !streams {
			t.Errorf("it was run %d times", n)
		}
		k.Release()
		s.settle()
	}
}
