//go:build rdma

package rdma_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/rdma"
	"github.com/fastrpc/fastrpc/rdma/rxetest"
)

// A process that is killed leaves its peer with a connection that fails by itself, at the first work that is posted, and soon.
func TestPeerKilled(t *testing.T) {
	w := newWorld(t)
	cq := w.cq(t, 64, false)
	qp := w.qp(t, rdma.QPConfig{Type: rdma.RC, Send: cq, Recv: cq, SendWork: 16, RecvWork: 16})
	peer := start(t, "peer")
	var number, rkey uint32
	var at uint64
	if _, err := fmt.Sscan(peer.read(t), &number, &at, &rkey); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(peer.in, qp.Number())
	if got := peer.read(t); got != "ready" {
		t.Fatal(got)
	}
	if err := qp.ReadyRC(ready(w.gid), rdma.Peer{GID: w.gid.GID, QPN: number, Reads: 4}); err != nil {
		t.Fatal(err)
	}
	w.receive(t, qp, 0, 64)
	read := rdma.SendWR{ID: 7, Op: rdma.OpRead, Flags: rdma.Signaled, NumSGE: 1, SGE: w.sge(0, 64), RemoteAddr: at, RemoteKey: rkey}
	must(qp.PostSend([]rdma.SendWR{read}))(t)
	one(t, cq, rdma.StatusSuccess)
	peer.kill(t)
	must(qp.PostSend([]rdma.SendWR{read, read, read}))(t)
	for i, c := range completions(t, cq, 4) {
		want := rdma.StatusFlushed
		if i == 0 {
			want = rdma.StatusRetryExceeded
		}
		if c.Status != want {
			t.Errorf("completion %d of work %d: %v, want %v", i, c.ID, c.Err(), want)
		}
	}
	must(qp.PostSend([]rdma.SendWR{read}))(t)
	one(t, cq, rdma.StatusFlushed)
}

// A port that goes down and comes up says so. What is idle meanwhile works as before; what was used has failed, and works when it was made
// ready again; nothing hangs.
func TestPortDownAndUp(t *testing.T) {
	w := newWorld(t)
	cq := w.cq(t, 64, false)
	usedRC, idleRC := w.pair(t, cq, same, 7), w.pair(t, cq, same, 7)
	usedUD, idleUD := w.datagrams(t, cq, nil, 16), w.datagrams(t, cq, nil, 16)
	write := rdma.SendWR{ID: 3, Op: rdma.OpWrite, Flags: rdma.Signaled, NumSGE: 1, SGE: w.sge(0, 8), RemoteAddr: w.mr.Addr() + 8192, RemoteKey: w.mr.RKey()}
	use := func(what string, qp *rdma.QP, wr rdma.SendWR) rdma.Status {
		t.Helper()
		must(qp.PostSend([]rdma.SendWR{wr}))(t)
		c := completions(t, cq, 1)[0]
		t.Log(what, c.Err())
		return c.Status
	}
	if err := rxetest.SetPort(false); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := rxetest.SetPort(true); err != nil {
			t.Error(err)
		}
	})
	if e := event(t, w.c, rdma.EventPortError); e.Port != 1 {
		t.Errorf("%+v", e)
	}
	p := must(w.c.Port(1))(t)
	if err := p.Usable(); !errors.Is(err, rdma.ErrNoPort) {
		t.Errorf("%+v: %v", p, err)
	}
	if s := use("a write while it is down:", usedRC[0], write); s == rdma.StatusSuccess {
		t.Error("a write was acknowledged over a port that is down")
	}
	use("a datagram while it is down:", usedUD, w.send(0, 64, idleUD, rdma.Signaled))
	cm := must(rdma.NewCM())(t)
	closing(t, cm)
	_, err := cm.Resolve(within(t), rdma.RC, netip.AddrPort{}, netip.MustParseAddrPort("10.9.0.77:9000"))
	refused(t, "a way over a port that is down", err, syscall.ENETUNREACH)

	if err := rxetest.SetPort(true); err != nil {
		t.Fatal(err)
	}
	if e := event(t, w.c, rdma.EventPortActive); e.Port != 1 {
		t.Errorf("%+v", e)
	}
	if err := rxetest.Active(); err != nil {
		t.Fatal(err)
	}
	if s := use("what was used, without being made ready:", usedRC[0], write); s != rdma.StatusFlushed {
		t.Errorf("%v, want %v", s, rdma.StatusFlushed)
	}
	if err := errors.Join(usedRC[0].Reset(), usedRC[1].Reset(), usedUD.Reset(), usedUD.ReadyUD(1, key)); err != nil {
		t.Fatal(err)
	}
	w.connect(t, usedRC, same, 7)
	for what, qp := range map[string]*rdma.QP{"the one that was used:": usedRC[0], "the idle one:": idleRC[0]} {
		if s := use(what, qp, write); s != rdma.StatusSuccess {
			t.Error(what, s)
		}
	}
	for _, ends := range [][2]*rdma.QP{{usedUD, idleUD}, {idleUD, usedUD}} {
		w.receive(t, ends[1], 1<<16, 2048)
		must(ends[0].PostSend([]rdma.SendWR{w.send(0, 64, ends[1], 0)}))(t)
		if c := one(t, cq, rdma.StatusSuccess); c.Bytes != 64+rdma.GRHBytes {
			t.Errorf("%+v", c)
		}
	}
}

// Memory that may not be pinned is refused with the limit and what to do; as much as the limit allows, and memory on demand, is taken.
func TestMemlock(t *testing.T) {
	c := start(t, "memlock")
	got := c.read(t)
	t.Log(got)
	for _, says := range []string{"RLIMIT_MEMLOCK", "1048576 bytes", "65536", "ulimit -l", "CAP_IPC_LOCK"} {
		if !strings.Contains(got, says) {
			t.Errorf("%q does not say %q", got, says)
		}
	}
	if got := c.read(t); got != "<nil>" {
		t.Error(got)
	}
}

// Somebody who is not there, or does not answer, is an error in bounded time: nobody listens, no host has the address, no device leads there.
func TestNobodyThere(t *testing.T) {
	_, err := rdma.Dial(within(t), netip.MustParseAddrPort(rxetest.Addr+":9"))
	refused(t, "a port where nobody listens", err, syscall.ECONNREFUSED)
	_, err = rdma.Dial(within(t), netip.MustParseAddrPort("10.9.0.77:9000"))
	refused(t, "a host that is not there", err, syscall.ETIMEDOUT)
	_, err = rdma.Dial(within(t), netip.MustParseAddrPort("192.0.2.1:9000"))
	refused(t, "no way", err, syscall.ENETUNREACH)
	_, err = rdma.Dial(within(t), netip.MustParseAddrPort("127.0.0.1:9000"))
	refused(t, "this host, by an address of no device", err, rdma.ErrNoDevice)
	cm := must(rdma.NewCM())(t)
	closing(t, cm)
	_, err = cm.Listen(rdma.RC, netip.MustParseAddrPort("10.9.0.77:9000"))
	refused(t, "listening at another host's address", err, syscall.EADDRNOTAVAIL)
	over, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err = cm.Resolve(over, rdma.RC, netip.AddrPort{}, netip.MustParseAddrPort("10.9.0.78:9000"))
	refused(t, "a host that is not there, with a deadline", err, context.DeadlineExceeded)
}
