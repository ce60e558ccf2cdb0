//go:build rdma

package rdma_test

import (
	"encoding/binary"
	"testing"

	"github.com/fastrpc/fastrpc/rdma"
)

// receiver is a queue for receives: a queue pair's own, or a shared one.
type receiver interface {
	PostRecv([]rdma.RecvWR) (int, error)
}

// Datagrams that meet no receive are dropped, in silence, and those after them arrive; the messages of a connection wait for a receive.
func TestReceiveQueueOverrun(t *testing.T) {
	const room, sent = 4, 10
	for _, shared := range []bool{false, true} {
		w := newWorld(t)
		sends, recvs := w.cq(t, 64, false), w.cq(t, 64, false)
		config := rdma.QPConfig{Type: rdma.RC, Send: sends, Recv: recvs, SendWork: 64, RecvWork: 16}
		if shared {
			config.SRQ = must(w.pd.CreateSRQ(16))(t)
			w.list = append(w.list, config.SRQ)
		}
		rc := [2]*rdma.QP{w.qp(t, config), w.qp(t, config)}
		w.connect(t, rc, same, 7)
		config.Type = rdma.UD
		ud := [2]*rdma.QP{w.qp(t, config), w.qp(t, config)}
		for _, qp := range ud {
			if err := qp.ReadyUD(1, key); err != nil {
				t.Fatal(err)
			}
		}
		queue := func(qp *rdma.QP) receiver {
			if shared {
				return config.SRQ
			}
			return qp
		}
		send := func(qps [2]*rdma.QP, number int) {
			t.Helper()
			wr := w.send(8*number, 8, qps[1], rdma.Signaled)
			binary.LittleEndian.PutUint64(w.mr.Bytes()[8*number:], uint64(number))
			must(qps[0].PostSend([]rdma.SendWR{wr}))(t)
		}
		const at = 1 << 16 // where receives are
		received := func(qps [2]*rdma.QP, wcs []rdma.WC) (numbers []int) {
			t.Helper()
			for _, c := range wcs {
				header := 0
				if qps == ud {
					header = rdma.GRHBytes
				}
				if c.Err() != nil || int(c.Bytes) != header+8 || c.QPN != qps[1].Number() {
					t.Errorf("%+v: %v", c, c.Err())
				}
				numbers = append(numbers, int(binary.LittleEndian.Uint64(w.mr.Bytes()[at+256*int(c.ID)+header:])))
			}
			return numbers
		}
		next := 0
		receive := func(qps [2]*rdma.QP) {
			t.Helper()
			must(queue(qps[1]).PostRecv([]rdma.RecvWR{{ID: uint64(next), NumSGE: 1, SGE: w.sge(at+256*next, 256)}}))(t)
			next++
		}

		for range room {
			receive(ud)
		}
		for n := range sent {
			send(ud, n)
		}
		for _, c := range completions(t, sends, sent) {
			if c.Err() != nil {
				t.Error(c.Err())
			}
		}
		got := received(ud, completions(t, recvs, room))
		for n := sent; got[len(got)-1] < sent; n++ { // those that are dropped may meet the new receives yet
			receive(ud)
			send(ud, n)
			one(t, sends, rdma.StatusSuccess)
			got = append(got, received(ud, completions(t, recvs, 1))...)
		}
		for i := range got {
			if i < room && got[i] != i || i > 0 && got[i] <= got[i-1] {
				t.Errorf("shared %v: datagrams %v arrived of %d that were sent to %d receives, and some after", shared, got, sent, room)
			}
		}

		if n := must(recvs.Poll(make([]rdma.WC, 8)))(t); n != 0 {
			t.Fatalf("%d more datagrams", n)
		}
		next = 0
		for range room {
			receive(rc)
		}
		for n := range sent {
			send(rc, n)
		}
		got = received(rc, completions(t, recvs, room))
		for range sent - room {
			receive(rc)
		}
		got = append(got, received(rc, completions(t, recvs, sent-room))...)
		for i, n := range got {
			if i != n {
				t.Errorf("shared %v: messages %v", shared, got)
			}
		}
		for _, c := range completions(t, sends, sent) {
			if c.Err() != nil {
				t.Error(c.Err())
			}
		}
	}
}

// A completion queue that overflows says so by an event with its ID; what it has is there still, and another works.
func TestCompletionQueueOverflow(t *testing.T) {
	w := newWorld(t)
	small := w.cq(t, 1, false)
	room := small.Entries()
	a := w.datagrams(t, small, nil, 2*room+8)
	for range room + 4 {
		must(a.PostSend([]rdma.SendWR{w.send(0, 8, a, rdma.Signaled)}))(t)
	}
	if e := event(t, w.c, rdma.EventCQError); e.Queue != small.ID() {
		t.Errorf("%+v, want queue %d", e, small.ID())
	}
	for _, c := range completions(t, small, room) {
		if c.Err() != nil {
			t.Error(c.Err())
		}
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	large := w.cq(t, 64, false)
	b := w.datagrams(t, large, nil, 16)
	must(b.PostSend([]rdma.SendWR{w.send(0, 8, b, rdma.Signaled)}))(t)
	one(t, large, rdma.StatusSuccess)
}
