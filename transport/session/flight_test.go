package session_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/sim"
)

// watched is a link that looks whether frames in flight are left alone, as a device that reads them later needs it.
type watched struct {
	transport.Link
	transport.Fetcher
	t      testing.TB
	flying map[uint32]flight
	sent   []uint32 // the frames, in order
	recent [16][]byte
	refuse func(f *transport.Frame) error // or nil
}

type flight struct{ data, was []byte }

func watch(t testing.TB, l transport.Link) *watched {
	fetcher, _ := l.(transport.Fetcher)
	return &watched{Link: l, Fetcher: fetcher, t: t, flying: map[uint32]flight{}}
}

func (l *watched) Send(fs []transport.Frame) (int, error) {
	var refused error
	for i := range fs {
		if l.refuse != nil && refused == nil {
			if refused = l.refuse(&fs[i]); refused != nil {
				fs = fs[:i]
				break
			}
		}
	}
	n, err := l.Link.Send(fs)
	if err == nil && n == len(fs) {
		err = refused
	}
	for _, f := range fs[:n] {
		was := bytes.Clone(f.Data)
		l.flying[f.ID] = flight{f.Data, was}
		l.recent[len(l.sent)%len(l.recent)] = was
		l.sent = append(l.sent, f.ID)
	}
	return n, err
}

func (l *watched) Completed(fs []transport.Frame) int {
	n := l.Link.Completed(fs)
	for _, f := range fs[:n] {
		if was := l.flying[f.ID]; !bytes.Equal(was.data, was.was) {
			l.t.Errorf("frame %d was changed in flight:\n was %x\n is  %x", f.ID, was.was, was.data)
		}
		delete(l.flying, f.ID)
	}
	return n
}

// TestRetransmissionInFlight: the device holds completions back for longer than the probe timeout. What is sent again goes out in other frames,
// and all of them come home.
func TestRetransmissionInFlight(t *testing.T) {
	for _, size := range []int{100, 5000} {
		w := newWorldOn(t, 1, lan, session.Config{}, session.Config{}, sim.LinkOptions{CompleteAfter: time.Second})
		w.establish()
		link := w.client.link.(*watched)
		w.net.Partition(clientAddr, serverAddr, true)
		before := len(link.sent)
		w.call("a", 1, pattern(size, 1), 0)
		w.in(20*time.Millisecond, func() { w.net.Partition(clientAddr, serverAddr, false) })
		w.wait("a", time.Second).Release()
		used := map[uint32]bool{}
		for _, id := range link.sent[before:] {
			if used[id] {
				t.Errorf("%d bytes: frame %d was sent again before its flight had ended", size, id)
			}
			used[id] = true
		}
		if w.client.core.Stats().Retransmitted < 2 {
			t.Errorf("%d bytes: %d retransmissions, too few to tell", size, w.client.core.Stats().Retransmitted)
		}
		w.settle()
	}
}
