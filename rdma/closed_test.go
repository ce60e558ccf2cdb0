//go:build rdma

package rdma_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/fastrpc/fastrpc/rdma"
	"github.com/fastrpc/fastrpc/rdma/rxetest"
)

// What is closed says so to whoever goes on using it, and the process lives on.
func TestUseAfterClose(t *testing.T) {
	c := must(rdma.Open(rxetest.Device))(t)
	pd := must(c.AllocPD())(t)
	cq := must(c.CreateCQ(16, true))(t)
	srq := must(pd.CreateSRQ(16))(t)
	qp := must(pd.CreateQP(rdma.QPConfig{Type: rdma.UD, Send: cq, Recv: cq, SendWork: 4, RecvWork: 4}))(t)
	if err := qp.ReadyUD(1, rdma.UDPQKey); err != nil {
		t.Fatal(err)
	}
	if n, err := qp.PostSend([]rdma.SendWR{{Op: rdma.OpSend}}); n != 0 || err == nil {
		t.Errorf("a datagram without an address handle: %d posted, %v", n, err)
	}
	for _, o := range []interface{ Close() error }{qp, srq, cq, pd} {
		if err := o.Close(); err != nil {
			t.Fatal(err)
		}
	}
	uses := map[string]func() error{
		"QP.Close": qp.Close, "QP.Reset": qp.Reset, "QP.Fail": qp.Fail, "QP.ReadyUD": func() error { return qp.ReadyUD(1, 0) },
		"QP.PostSend": func() error { _, err := qp.PostSend(make([]rdma.SendWR, 1)); return err },
		"QP.PostRecv": func() error { _, err := qp.PostRecv(make([]rdma.RecvWR, 1)); return err },
		"SRQ.Close":   srq.Close, "SRQ.Limit": func() error { return srq.Limit(1) },
		"SRQ.PostRecv": func() error { _, err := srq.PostRecv(make([]rdma.RecvWR, 1)); return err },
		"CQ.Close":     cq.Close, "CQ.Arm": cq.Arm, "CQ.ArmSolicited": cq.ArmSolicited,
		"CQ.Poll":  func() error { _, err := cq.Poll(make([]rdma.WC, 1)); return err },
		"PD.Close": pd.Close,
	}
	for what, use := range uses {
		if err := use(); !errors.Is(err, rdma.ErrClosed) {
			t.Errorf("%s: %v, want %v", what, err, rdma.ErrClosed)
		}
	}
	if cq.FD() != -1 || cq.Entries() != 0 || cq.Acknowledge() != nil {
		t.Errorf("a closed completion queue has descriptor %d, %d entries, %v", cq.FD(), cq.Entries(), cq.Acknowledge())
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// A device that completes nothing any more, because it is gone, holds nobody up who waits for a batch without a limit of his own.
func TestBatchWithoutCompletions(t *testing.T) {
	e := must(rdma.NewExporter(netip.MustParseAddrPort(rxetest.Addr+":0"), rdma.ExporterConfig{}))(t)
	closing(t, e)
	i := must(rdma.Dial(within(t), e.Addr()))(t)
	closing(t, i)
	b := must(i.NewBatch(1, 8))(t)
	b.Strand()
	if err := b.Wait(context.Background()); !errors.Is(err, rdma.ErrGone) {
		t.Errorf("it ended with %v, want %v", err, rdma.ErrGone)
	}
}

// A connection manager without events begins nothing that would wait for one.
func TestManagerWithoutEvents(t *testing.T) {
	cm := must(rdma.NewCM())(t)
	closing(t, cm)
	l := must(cm.Listen(rdma.RC, netip.MustParseAddrPort(rxetest.Addr+":0")))(t)
	why := errors.New("no more events")
	cm.Fail(why)
	if _, err := l.Next(context.Background()); !errors.Is(err, rdma.ErrClosed) {
		t.Errorf("the listener says %v", err)
	}
	if _, err := cm.Resolve(context.Background(), rdma.RC, netip.AddrPort{}, l.Addr()); !errors.Is(err, why) {
		t.Errorf("a lookup says %v", err)
	}
}
