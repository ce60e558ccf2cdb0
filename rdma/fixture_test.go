//go:build rdma

package rdma_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/rdma"
)

const key = 0x1234

// world is a device with what most tests need of it.
type world struct {
	c    *rdma.Context
	port rdma.Port
	gid  rdma.GIDEntry
	pd   *rdma.PD
	mr   *rdma.MR
	ah   *rdma.AH
	list []interface{ Close() error }
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{}
	w.c, w.port, w.gid = open(t)
	w.pd = must(w.c.AllocPD())(t)
	w.mr = must(w.pd.Register(memory(t, 1<<18), everything))(t)
	w.ah = must(w.pd.CreateAH(w.gid.To(1, w.gid.GID, 0)))(t)
	w.list = []interface{ Close() error }{w.c, w.pd, w.mr, w.ah}
	t.Cleanup(func() {
		for i := len(w.list) - 1; i >= 0; i-- {
			if err := w.list[i].Close(); err != nil && !errors.Is(err, rdma.ErrClosed) {
				t.Error(err)
			}
		}
	})
	return w
}

func (w *world) cq(t *testing.T, entries int, events bool) *rdma.CQ {
	t.Helper()
	cq := must(w.c.CreateCQ(entries, events))(t)
	w.list = append(w.list, cq)
	return cq
}

func (w *world) qp(t *testing.T, c rdma.QPConfig) *rdma.QP {
	t.Helper()
	qp := must(w.pd.CreateQP(c))(t)
	w.list = append(w.list, qp)
	return qp
}

// datagrams makes a queue pair of datagrams that is ready.
func (w *world) datagrams(t *testing.T, cq *rdma.CQ, srq *rdma.SRQ, depth int) *rdma.QP {
	t.Helper()
	qp := w.qp(t, rdma.QPConfig{Type: rdma.UD, Send: cq, Recv: cq, SRQ: srq, SendWork: depth, RecvWork: depth, InlineMax: 64})
	if err := qp.ReadyUD(1, key); err != nil {
		t.Fatal(err)
	}
	return qp
}

// pair makes two reliable queue pairs that are connected with each other, with an MTU each.
func (w *world) pair(t *testing.T, cq *rdma.CQ, mtu [2]int, rnr uint8) (qps [2]*rdma.QP) {
	t.Helper()
	for i := range qps {
		qps[i] = w.qp(t, rdma.QPConfig{Type: rdma.RC, Send: cq, Recv: cq, SendWork: 64, RecvWork: 64, InlineMax: 64})
	}
	w.connect(t, qps, mtu, rnr)
	return qps
}

func (w *world) connect(t *testing.T, qps [2]*rdma.QP, mtu [2]int, rnr uint8) {
	t.Helper()
	for i, qp := range qps {
		c := ready(w.gid)
		c.MTU, c.PSN, c.RNR = mtu[i], uint32(100*i), rnr
		if err := qp.ReadyRC(c, rdma.Peer{GID: w.gid.GID, QPN: qps[1-i].Number(), PSN: uint32(100 * (1 - i)), Reads: 4}); err != nil {
			t.Fatal(err)
		}
	}
}

// ready is how tests connect queue pairs by hand.
func ready(from rdma.GIDEntry) rdma.RCConfig {
	return rdma.RCConfig{Port: 1, From: from, MTU: 1024, Reads: 4, Access: everything, Timeout: 8, Retries: 2, RNR: 7}
}

// sge is a part of the world's memory.
func (w *world) sge(off, n int) [2]rdma.SGE {
	return [2]rdma.SGE{{Addr: w.mr.Addr() + uint64(off), Length: uint32(n), Key: w.mr.LKey()}}
}

func (w *world) send(off, n int, to *rdma.QP, flags rdma.SendFlags) rdma.SendWR {
	return rdma.SendWR{ID: 1, Op: rdma.OpSend, Flags: flags, NumSGE: 1, SGE: w.sge(off, n), AH: w.ah.Handle(), RemoteQPN: to.Number(), QKey: key}
}

func (w *world) receive(t *testing.T, q interface {
	PostRecv([]rdma.RecvWR) (int, error)
}, off, n int) {
	t.Helper()
	must(q.PostRecv([]rdma.RecvWR{{ID: 2, NumSGE: 1, SGE: w.sge(off, n)}}))(t)
}

// completions polls until n have come.
func completions(t *testing.T, cq *rdma.CQ, n int) []rdma.WC {
	t.Helper()
	var all []rdma.WC
	wcs := make([]rdma.WC, rdma.Burst)
	for end := time.Now().Add(time.Minute); len(all) < n; {
		got := must(cq.Poll(wcs))(t)
		all = append(all, wcs[:got]...)
		if time.Now().After(end) {
			t.Fatalf("%d of %d completions: %+v", len(all), n, all)
		}
		if got == 0 {
			time.Sleep(100 * time.Microsecond) // the kernel wants the processor
		}
	}
	return all
}

// one expects a single completion, with a status.
func one(t *testing.T, cq *rdma.CQ, want rdma.Status) rdma.WC {
	t.Helper()
	w := completions(t, cq, 1)[0]
	if w.Status != want {
		t.Errorf("%+v: %v, want %v", w, w.Status, want)
	}
	return w
}

// event waits for an asynchronous event of a type; others may come before it.
func event(t *testing.T, c *rdma.Context, want rdma.EventType) rdma.AsyncEvent {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		e := must(c.Event(ctx))(t)
		t.Log(e)
		if e.Type == want {
			return e
		}
	}
}
