//go:build rdma

package rdma_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"

	"github.com/fastrpc/fastrpc/rdma"
	"github.com/fastrpc/fastrpc/rdma/rxetest"
)

func addr(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(&b[0]))) }

// A burst is one call into C, to post as to poll, and allocates nothing: datagrams and messages of a connection, to receives of the queue pair
// and to shared ones. What is longer than a burst takes a call for each. TestBatchCost says the same of one-sided operations.
func TestOneCallEachBurst(t *testing.T) {
	for _, kind := range []rdma.QPType{rdma.UD, rdma.RC} {
		for _, shared := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v/shared=%v", kind, shared), func(t *testing.T) { oneCallEachBurst(t, kind, shared) })
		}
	}
}

func oneCallEachBurst(t *testing.T, kind rdma.QPType, shared bool) {
	w := newWorld(t)
	sends, recvs := w.cq(t, 256, false), w.cq(t, 256, false)
	config := rdma.QPConfig{Type: kind, Send: sends, Recv: recvs, SendWork: 64, RecvWork: 3 * rdma.Burst}
	var queue receiver
	if shared {
		config.SRQ = must(w.pd.CreateSRQ(3 * rdma.Burst))(t)
		w.list, queue = append(w.list, config.SRQ), config.SRQ
	}
	a, b := w.qp(t, config), w.qp(t, config)
	if !shared {
		queue = b
	}
	if kind == rdma.RC {
		w.connect(t, [2]*rdma.QP{a, b}, same, 7)
	} else if err := errors.Join(a.ReadyUD(1, key), b.ReadyUD(1, key)); err != nil {
		t.Fatal(err)
	}
	ws, rs, wcs := make([]rdma.SendWR, rdma.Burst), make([]rdma.RecvWR, rdma.Burst), make([]rdma.WC, rdma.Burst)
	for i := range ws {
		ws[i] = w.send(64*i, 64, b, 0)
		rs[i] = rdma.RecvWR{ID: uint64(i), NumSGE: 1, SGE: w.sge(65536+2048*i, 2048)}
	}
	ws[rdma.Burst-1].Flags = rdma.Signaled
	turn := func() {
		calls := runtime.NumCgoCall()
		_, err1 := queue.PostRecv(rs)
		_, err2 := a.PostSend(ws)
		if got := runtime.NumCgoCall() - calls; got != 2 || err1 != nil || err2 != nil {
			t.Fatalf("%d calls into C to post two bursts; %v, %v", got, err1, err2)
		}
		for _, q := range []*rdma.CQ{recvs, sends} {
			want := rdma.Burst
			if q == sends {
				want = 1
			}
			for polls := 0; want > 0; polls++ {
				calls := runtime.NumCgoCall()
				n, err := q.Poll(wcs)
				if got := runtime.NumCgoCall() - calls; got != 1 || err != nil || polls > 1_000_000 {
					t.Fatalf("%d calls into C to poll; %v", got, err)
				}
				for i := range wcs[:n] {
					if wcs[i].Status != rdma.StatusSuccess {
						t.Fatal(wcs[i].Err())
					}
				}
				if want -= n; n == 0 {
					runtime.Gosched()
				}
			}
		}
	}
	turn()
	if allocs := testing.AllocsPerRun(50, turn); allocs != 0 {
		t.Errorf("%v allocations a turn of %d messages", allocs, rdma.Burst)
	}
	calls := runtime.NumCgoCall()
	n, err := queue.PostRecv(slices.Concat(rs, rs, rs[:1]))
	if got := runtime.NumCgoCall() - calls; got != 3 || n != 2*rdma.Burst+1 || err != nil {
		t.Errorf("%d calls into C to post %d receives; %v", got, n, err)
	}
}

// To post and to wait for what comes of it is one call into C, too, and allocates nothing.
func TestPostSendSpin(t *testing.T) {
	w := newWorld(t)
	sends, recvs := w.cq(t, 8, false), w.cq(t, 8, false)
	a := w.qp(t, rdma.QPConfig{Type: rdma.UD, Send: sends, Recv: recvs, SendWork: 4, RecvWork: 4})
	if err := a.ReadyUD(1, key); err != nil {
		t.Fatal(err)
	}
	ws, rs, wcs := []rdma.SendWR{w.send(0, 64, a, 0)}, []rdma.RecvWR{{ID: 7, NumSGE: 1, SGE: w.sge(65536, 2048)}}, make([]rdma.WC, 8)
	ws[0].Flags = rdma.Signaled
	take := func(n int, err error) int {
		if err != nil || n > 0 && wcs[0].Status != rdma.StatusSuccess {
			t.Fatal(n, err, wcs[0].Err())
		}
		return n
	}
	turn := func() {
		if _, err := a.PostRecv(rs); err != nil {
			t.Fatal(err)
		}
		calls := runtime.NumCgoCall()
		came := take(a.PostSendSpin(ws, recvs, wcs, 1000))
		if got := runtime.NumCgoCall() - calls; got != 1 {
			t.Fatalf("%d calls into C", got)
		}
		for _, q := range []*rdma.CQ{recvs, sends} {
			for looks := 0; came == 0; looks++ {
				if came = take(q.Spin(wcs, 1000)); looks > 1_000_000 {
					t.Fatal("nothing came")
				}
				runtime.Gosched()
			}
			if q == recvs && (came != 1 || wcs[0].ID != 7) {
				t.Fatalf("%d completions, the first of %d", came, wcs[0].ID)
			}
			came = 0
		}
	}
	turn()
	if allocs := testing.AllocsPerRun(50, turn); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
	if _, err := a.PostSendSpin(make([]rdma.SendWR, rdma.Burst+1), recvs, wcs, 1); !errors.Is(err, rdma.ErrLimit) {
		t.Errorf("more than a burst: %v", err)
	}
	if n, err := a.PostSendSpin(nil, recvs, wcs, 1); n != 0 || err != nil {
		t.Errorf("nothing to post: %d, %v", n, err)
	}
}

// held counts what this process holds of descriptors, and what there is of the device's objects.
func held(t *testing.T) map[string]uint64 {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	n := map[string]uint64{"descriptors": uint64(len(fds))}
	for _, r := range must(netlink.RdmaResourceList())(t) {
		for what, count := range r.RdmaResourceSummaryEntries {
			n[what] += count
		}
	}
	return n
}

// Connections that come and go leave nothing behind.
func TestNoLeak(t *testing.T) {
	turns := 10_000
	if testing.Short() {
		turns = 500
	}
	c, _, _ := open(t)
	cm := must(rdma.NewCM())(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l := must(cm.Listen(rdma.RC, netip.MustParseAddrPort(rxetest.Addr+":0")))(t)
	served := make(chan error)
	mem := must(rdma.Map(1 << 20))(t)
	accept := func() error {
		r, err := l.Next(ctx)
		if err != nil {
			return err
		}
		s, err := newEnd(c, mem.Bytes())
		if err != nil {
			return err
		}
		conn, err := r.Accept(ctx, s.qp, rdma.Terms{Access: everything, Reads: 4, RNR: 7}, nil)
		if err != nil {
			return err
		}
		<-conn.Done()
		return errors.Join(conn.Close(), s.close())
	}
	go func() {
		for {
			err := accept()
			served <- err
			if err != nil {
				return
			}
		}
	}()
	connect := func() {
		r, err := cm.Resolve(ctx, rdma.RC, netip.AddrPort{}, l.Addr())
		if err != nil {
			t.Fatal(err)
		}
		s := must(newEnd(c, mem.Bytes()))(t)
		conn, err := r.Connect(ctx, s.qp, rdma.Terms{Access: everything, Reads: 4, RNR: 7}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(conn.Close(), s.close(), <-served); err != nil {
			t.Fatal(err)
		}
	}
	connect()
	before, start := held(t), time.Now()
	for range turns {
		connect()
	}
	t.Logf("%d connections in %v", turns, time.Since(start))
	noMore(t, before)
	cancel()
	<-served
	if err := errors.Join(l.Close(), cm.Close(), mem.Close(), c.Close()); err != nil {
		t.Error(err)
	}
}

// noMore waits until there is no more of anything than there was: the kernel takes apart what is closed from work queues.
func noMore(t *testing.T, before map[string]uint64) {
	t.Helper()
	more := func(after map[string]uint64) bool {
		for what, n := range after {
			if n > before[what] {
				return true
			}
		}
		return false
	}
	after := held(t)
	for end := time.Now().Add(time.Minute); more(after) && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		after = held(t)
	}
	if t.Logf("before: %v", before); more(after) || len(before) < 5 {
		t.Errorf("after: %v", after)
	}
}

// end is what a connection has of its own.
type end struct {
	pd *rdma.PD
	cq *rdma.CQ
	mr *rdma.MR
	qp *rdma.QP
}

func newEnd(c *rdma.Context, mem []byte) (e end, err error) {
	if e.pd, err = c.AllocPD(); err != nil {
		return e, err
	}
	if e.cq, err = c.CreateCQ(16, true); err != nil {
		return e, err
	}
	if e.mr, err = e.pd.Register(mem, everything); err != nil {
		return e, err
	}
	e.qp, err = e.pd.CreateQP(rdma.QPConfig{Type: rdma.RC, Send: e.cq, Recv: e.cq, SendWork: 8, RecvWork: 8})
	return e, err
}

func (e *end) close() error {
	return errors.Join(e.qp.Close(), e.mr.Close(), e.cq.Close(), e.pd.Close())
}
