//go:build rdma

package rdma_test

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/rdma"
	"github.com/fastrpc/fastrpc/rdma/rxetest"
)

// side is one end of a reliable connection, with a region that the other may do anything to.
type side struct {
	pd   *rdma.PD
	cq   *rdma.CQ
	qp   *rdma.QP
	mr   *rdma.MR
	conn *rdma.Conn
}

const everything = rdma.LocalWrite | rdma.RemoteWrite | rdma.RemoteRead | rdma.RemoteAtomic

func newSide(t *testing.T, c *rdma.Context) *side {
	t.Helper()
	s := &side{pd: must(c.AllocPD())(t), cq: must(c.CreateCQ(128, false))(t)}
	s.mr = must(s.pd.Register(memory(t, 1<<16), everything))(t)
	s.qp = must(s.pd.CreateQP(rdma.QPConfig{Type: rdma.RC, Send: s.cq, Recv: s.cq, SendWork: 64, RecvWork: 64}))(t)
	return s
}

func (s *side) close(t *testing.T) {
	t.Helper()
	for _, c := range []interface{ Close() error }{s.conn, s.qp, s.mr, s.cq, s.pd} {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

// completions polls until n have come.
func (s *side) completions(t *testing.T, n int) []rdma.WC {
	t.Helper()
	var all []rdma.WC
	wcs := make([]rdma.WC, rdma.Burst)
	for deadline := time.Now().Add(time.Minute); len(all) < n; {
		got := must(s.cq.Poll(wcs))(t)
		all = append(all, wcs[:got]...)
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d completions", len(all), n)
		}
	}
	return all
}

func connect(t *testing.T, c *rdma.Context) (client, server *side) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cm := must(rdma.NewCM())(t)
	t.Cleanup(func() {
		if err := cm.Close(); err != nil {
			t.Error(err)
		}
	})
	l := must(cm.Listen(rdma.RC, netip.MustParseAddrPort(rxetest.Addr+":0")))(t)
	client, server = newSide(t, c), newSide(t, c)
	accepted := make(chan error, 1)
	go func() {
		r, err := l.Next(ctx)
		if err == nil {
			server.conn, err = r.Accept(ctx, server.qp, rdma.Terms{Access: everything, Reads: 8, RNR: 7, Data: []byte("hello client")}, nil)
		}
		accepted <- err
	}()
	r := must(cm.Resolve(ctx, rdma.RC, netip.AddrPort{}, l.Addr()))(t)
	if name, port := r.Device(); name != rxetest.Device || port != 1 {
		t.Errorf("device %q port %d", name, port)
	}
	client.conn = must(r.Connect(ctx, client.qp, rdma.Terms{Access: everything, Reads: 8, RNR: 7, Data: []byte("hello server")}, nil))(t)
	if err := <-accepted; err != nil {
		t.Fatal(err)
	}
	if got := string(server.conn.Data[:12]); got != "hello server" {
		t.Errorf("server got %q", got)
	}
	if got := string(client.conn.Data[:12]); got != "hello client" {
		t.Errorf("client got %q", got)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	return client, server
}

// Each operation of a reliable connection does to the other side's memory what its name says.
func TestReliableOperations(t *testing.T) {
	c, _, _ := open(t)
	client, server := connect(t, c)
	local := func(off, n int) (sge [2]rdma.SGE) {
		sge[0] = rdma.SGE{Addr: client.mr.Addr() + uint64(off), Length: uint32(n), Key: client.mr.LKey()}
		return sge
	}
	mine, theirs := client.mr.Bytes(), server.mr.Bytes()
	copy(mine, "written without the other side's processor")
	copy(theirs[1024:], "read without the other side's processor")
	binary.LittleEndian.PutUint64(theirs[2048:], 40)
	binary.LittleEndian.PutUint64(theirs[2056:], 7)
	at := func(off int) uint64 { return server.mr.Addr() + uint64(off) }
	key := server.mr.RKey()
	work := []rdma.SendWR{
		{ID: 1, Op: rdma.OpWrite, Flags: rdma.Signaled, NumSGE: 1, SGE: local(0, 42), RemoteAddr: at(0), RemoteKey: key},
		{ID: 2, Op: rdma.OpRead, Flags: rdma.Signaled, NumSGE: 1, SGE: local(4096, 39), RemoteAddr: at(1024), RemoteKey: key},
		{ID: 3, Op: rdma.OpFetchAdd, Flags: rdma.Signaled, NumSGE: 1, SGE: local(8192, 8), RemoteAddr: at(2048), RemoteKey: key, CompareAdd: 2},
		{ID: 4, Op: rdma.OpCompareAndSwap, Flags: rdma.Signaled, NumSGE: 1, SGE: local(8200, 8), RemoteAddr: at(2056), RemoteKey: key, CompareAdd: 7, Swap: 9},
		{ID: 5, Op: rdma.OpCompareAndSwap, Flags: rdma.Signaled, NumSGE: 1, SGE: local(8208, 8), RemoteAddr: at(2056), RemoteKey: key, CompareAdd: 7, Swap: 11},
	}
	must(client.qp.PostSend(work))(t)
	for _, w := range client.completions(t, len(work)) {
		if err := w.Err(); err != nil {
			t.Fatal(err)
		}
	}
	if string(theirs[:42]) != string(mine[:42]) {
		t.Errorf("written %q", theirs[:42])
	}
	if got := string(mine[4096 : 4096+39]); got != "read without the other side's processor" {
		t.Errorf("read %q", got)
	}
	for _, c := range []struct {
		what      string
		got, want uint64
	}{
		{"former value of the counter", binary.LittleEndian.Uint64(mine[8192:]), 40},
		{"counter", binary.LittleEndian.Uint64(theirs[2048:]), 42},
		{"former value that compared equal", binary.LittleEndian.Uint64(mine[8200:]), 7},
		{"former value that did not", binary.LittleEndian.Uint64(mine[8208:]), 9},
		{"swapped value", binary.LittleEndian.Uint64(theirs[2056:]), 9},
	} {
		if c.got != c.want {
			t.Errorf("%s is %d, want %d", c.what, c.got, c.want)
		}
	}

	// A key that names nothing is refused by the remote side, with its name.
	must(client.qp.PostSend([]rdma.SendWR{{ID: 6, Op: rdma.OpRead, Flags: rdma.Signaled, NumSGE: 1, SGE: local(0, 8), RemoteAddr: at(0), RemoteKey: key ^ 0xff00}}))(t)
	if err := client.completions(t, 1)[0].Err(); !errors.Is(err, rdma.StatusRemoteAccess) {
		t.Errorf("a wrong key: %v", err)
	}
	server.close(t)
	<-client.conn.Done()
	client.close(t)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// A client of datagrams learns the listener's queue pair, its key, and the way there.
func TestLookUp(t *testing.T) {
	c, _, gid := open(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	pd, cq := must(c.AllocPD())(t), must(c.CreateCQ(64, false))(t)
	qp := must(pd.CreateQP(rdma.QPConfig{Type: rdma.UD, Send: cq, Recv: cq, SendWork: 16, RecvWork: 16}))(t)
	cm := must(rdma.NewCM())(t)
	l := must(cm.Listen(rdma.UD, netip.MustParseAddrPort(rxetest.Addr+":7070")))(t)
	go func() {
		if r, err := l.Next(ctx); err == nil {
			_ = r.Answer(qp, []byte("ring 3"))
		}
	}()
	r := must(cm.Resolve(ctx, rdma.UD, netip.AddrPort{}, netip.MustParseAddrPort(rxetest.Addr+":7070")))(t)
	d := must(r.LookUp(ctx, []byte("hello")))(t)
	if d.QPN != qp.Number() || d.GID.IP().String() != rxetest.Addr || string(d.Data[:6]) != "ring 3" || d.QKey == 0 {
		t.Errorf("%+v", d)
	}
	if !d.Global || d.Port != 1 || d.FromIndex != gid.Index || d.LID != 0 || d.Hops == 0 {
		t.Errorf("the way is %+v from GID index %d", d.AddressVector, gid.Index)
	}
	ah := must(pd.CreateAH(d.AddressVector))(t)
	if err := ah.Close(); err != nil {
		t.Error(err)
	}
	// Nobody listens at another port.
	r2 := must(cm.Resolve(ctx, rdma.UD, netip.AddrPort{}, netip.MustParseAddrPort(rxetest.Addr+":7071")))(t)
	if _, err := r2.LookUp(ctx, nil); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a lookup where nobody listens: %v", err)
	}
	r3 := must(cm.Resolve(ctx, rdma.RC, netip.AddrPort{}, netip.MustParseAddrPort(rxetest.Addr+":7071")))(t)
	rc := must(pd.CreateQP(rdma.QPConfig{Type: rdma.RC, Send: cq, Recv: cq, SendWork: 16, RecvWork: 16}))(t)
	if _, err := r3.Connect(ctx, rc, rdma.Terms{}, nil); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a connection to nobody: %v", err)
	}
	for _, c := range []interface{ Close() error }{r, r2, r3, l, cm, rc, qp, cq, pd, c} {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}
