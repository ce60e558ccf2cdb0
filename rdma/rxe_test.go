//go:build rdma

package rdma_test

import (
	"fmt"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/rdma"
	"github.com/fastrpc/fastrpc/rdma/rxetest"
)

func TestMain(m *testing.M) {
	if name := os.Getenv(role); name != "" {
		fmt.Println(roles[name](os.Args[1:]))
		os.Exit(1)
	}
	rxetest.Main(m)
}

// open opens the device.
func open(t *testing.T) (*rdma.Context, rdma.Port, rdma.GIDEntry) {
	t.Helper()
	c := must(rdma.Open(rxetest.Device))(t)
	p := must(c.Port(1))(t)
	gid, _ := rdma.ChooseGID(p.GIDs, netip.MustParseAddr(rxetest.Addr))
	return c, p, gid
}

func memory(t *testing.T, n int) []byte {
	t.Helper()
	mem := must(pages(n))(t)
	t.Cleanup(func() { unix.Munmap(mem) })
	return mem
}

func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// A datagram from one queue pair to another of the same device arrives whole, behind its header, and is answered by the way that it came.
func TestDatagram(t *testing.T) {
	w := newWorld(t)
	t.Logf("%+v %+v %+v", w.c.Limits(), w.port, w.gid)
	sends, recvs := w.cq(t, 64, false), w.cq(t, 64, false)
	var qps [2]*rdma.QP
	for i := range qps {
		qps[i] = w.qp(t, rdma.QPConfig{Type: rdma.UD, Send: sends, Recv: recvs, SendWork: 16, RecvWork: 16})
		if err := qps[i].ReadyUD(1, key); err != nil {
			t.Fatal(err)
		}
	}
	got := w.mr.Bytes()[4096:]
	exchange := func(from, to *rdma.QP, ah rdma.Handle, text string) rdma.WC {
		t.Helper()
		w.receive(t, to, 4096, 2048)
		send := w.send(0, copy(w.mr.Bytes(), text), to, rdma.Signaled)
		send.AH = ah
		must(from.PostSend([]rdma.SendWR{send}))(t)
		one(t, sends, rdma.StatusSuccess)
		c := one(t, recvs, rdma.StatusSuccess)
		if n := len(text); int(c.Bytes) != rdma.GRHBytes+n || string(got[rdma.GRHBytes:][:n]) != text || c.Source != from.Number() || c.QPN != to.Number() {
			t.Errorf("%+v %q", c, got[:64])
		}
		return c
	}
	c := exchange(qps[0], qps[1], w.ah.Handle(), "hello over UD")
	back := must(c.Reply(&w.port, got[:rdma.GRHBytes]))(t)
	if !back.Global || back.GID != w.gid.GID || back.FromIndex != w.gid.Index || back.Port != 1 || back.Hops == 0 {
		t.Errorf("the way back is %+v", back)
	}
	ah := must(w.pd.CreateAH(back))(t)
	w.list = append(w.list, ah)
	exchange(qps[1], qps[0], ah.Handle(), "hello back")
}
