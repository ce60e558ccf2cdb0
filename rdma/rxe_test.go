//go:build rdma

package rdma_test

import (
	"bytes"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/rdma"
	"github.com/fastrpc/fastrpc/rdma/rxetest"
)

func TestMain(m *testing.M) {
	if os.Getenv(exporting) != "" {
		exportUntilKilled()
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
	mem, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
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

// A datagram from one queue pair to another of the same device arrives whole, behind its header.
func TestDatagram(t *testing.T) {
	c, port, gid := open(t)
	pd := must(c.AllocPD())(t)
	cq := must(c.CreateCQ(64, true))(t)
	mem := memory(t, 1<<16)
	mr := must(pd.Register(mem, rdma.LocalWrite))(t)
	t.Logf("%+v %+v %+v", c.Limits(), port, gid)
	var qps [2]*rdma.QP
	for i := range qps {
		qps[i] = must(pd.CreateQP(rdma.QPConfig{Type: rdma.UD, Send: cq, Recv: cq, SendWork: 16, RecvWork: 16, InlineMax: 64}))(t)
		if err := qps[i].ReadyUD(1, 0x1234); err != nil {
			t.Fatal(err)
		}
	}
	ah := must(pd.CreateAH(1, gid, gid.GID))(t)
	must(qps[1].PostRecv([]rdma.RecvWR{{ID: 7, NumSGE: 1, SGE: [2]rdma.SGE{{Addr: mr.Addr() + 4096, Length: 2048, Key: mr.LKey()}}}}))(t)
	copy(mem, "hello over UD")
	must(qps[0].PostSend([]rdma.SendWR{{
		ID: 9, Op: rdma.OpSend, Flags: rdma.Signaled, NumSGE: 1, SGE: [2]rdma.SGE{{Addr: mr.Addr(), Length: 13, Key: mr.LKey()}},
		AH: ah.Handle(), RemoteQPN: qps[1].Number(), QKey: 0x1234,
	}}))(t)
	var wcs [8]rdma.WC
	seen := 0
	for deadline := time.Now().Add(20 * time.Second); seen < 2; {
		n := must(cq.Poll(wcs[:]))(t)
		for _, w := range wcs[:n] {
			if err := w.Err(); err != nil {
				t.Fatal(err)
			}
			seen++
			if w.ID == 7 && (w.Bytes != 13+rdma.GRHBytes || !bytes.Equal(mem[4096+rdma.GRHBytes:][:13], []byte("hello over UD")) || w.Source != qps[0].Number()) {
				t.Errorf("%+v %q", w, mem[4096:4096+64])
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d completions", seen)
		}
	}
	for _, c := range []interface{ Close() error }{ah, qps[0], qps[1], mr, cq, pd, c} {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}
