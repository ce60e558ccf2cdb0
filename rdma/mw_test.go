//go:build rdma

package rdma_test

import (
	"bytes"
	"testing"

	"github.com/fastrpc/fastrpc/rdma"
)

// A window lets the other side of its connection read the bytes that it was bound to, and nobody else: not over another connection, not once it
// is invalidated, and not by the key of an earlier bind. Whether it is read beyond those bytes is not tested: soft-RoCE looks at the region's
// range there (kernel 7.2: such a read succeeds).
func TestWindows(t *testing.T) {
	w := newWorld(t)
	if w.c.Limits().MaxWindows == 0 {
		t.Fatal("soft-RoCE has memory windows of type 2B (kernel, drivers/infiniband/sw/rxe/rxe_param.h), and this device says that it has none")
	}
	cq := w.cq(t, 256, false)
	const offset, length = 4096, 8192
	mr := must(w.pd.Register(memory(t, 1<<16), rdma.WindowBind))(t)
	w.list = append(w.list, mr)
	for i := range mr.Bytes() {
		mr.Bytes()[i] = byte(i * 7 >> 3)
	}
	mw := must(w.pd.AllocMW())(t)
	w.list = append(w.list, mw)

	bind := func(q *rdma.QP) uint32 {
		t.Helper()
		key := must(mw.Bind(q, 1, mr, offset, length, rdma.RemoteRead, rdma.Signaled))(t)
		one(t, cq, rdma.StatusSuccess)
		return key
	}
	invalidate := func(q *rdma.QP) {
		t.Helper()
		if err := mw.Invalidate(q, 2, rdma.Signaled); err != nil {
			t.Fatal(err)
		}
		one(t, cq, rdma.StatusSuccess)
	}
	read := func(q *rdma.QP, key uint32, at, n int, want rdma.Status) {
		t.Helper()
		clear(w.mr.Bytes()[:n])
		wr := rdma.SendWR{ID: 3, Op: rdma.OpRead, Flags: rdma.Signaled, NumSGE: 1, SGE: w.sge(0, n), RemoteAddr: mr.Addr() + uint64(at), RemoteKey: key}
		must(q.PostSend([]rdma.SendWR{wr}))(t)
		one(t, cq, want)
		if want == rdma.StatusSuccess && !bytes.Equal(w.mr.Bytes()[:n], mr.Bytes()[at:at+n]) {
			t.Error("other bytes were read than lie there")
		}
	}
	reader := func() (owner, other *rdma.QP) {
		qps := w.pair(t, cq, same, 7)
		return qps[0], qps[1]
	}

	owner, other := reader()
	first := bind(owner)
	read(other, first, offset, length, rdma.StatusSuccess)
	read(other, first, offset+1000, 5000, rdma.StatusSuccess)
	invalidate(owner)
	second := bind(owner)
	if first == second {
		t.Errorf("the key is %#x again", first)
	}
	read(other, second, offset, length, rdma.StatusSuccess)

	// Each refusal ends the connection of whoever reads.
	_, stranger := reader()
	read(stranger, second, offset, 64, rdma.StatusRemoteAccess)
	invalidate(owner)
	for _, stale := range []string{"invalidated", "of an earlier bind", "of the region itself"} {
		owner, other := reader()
		key := bind(owner)
		read(other, key, offset, 64, rdma.StatusSuccess)
		invalidate(owner)
		switch stale {
		case "of an earlier bind":
			bind(owner)
		case "of the region itself":
			key = mr.RKey()
		}
		read(other, key, offset, 64, rdma.StatusRemoteAccess)
		if t.Failed() {
			t.Fatalf("with a key that is %s", stale)
		}
		if stale == "of an earlier bind" { // the refusal has ended the owner's queue pair as well, which must not end before its window
			if err := mw.Close(); err != nil {
				t.Fatal(err)
			}
			mw = must(w.pd.AllocMW())(t)
			w.list = append(w.list, mw)
		}
	}
}
