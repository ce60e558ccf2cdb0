//go:build rdma

package rdma_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/rdma"
	"github.com/fastrpc/fastrpc/rdma/rxetest"
)

// Of a burst, only what asks for a completion makes one, and it tells of those before it.
func TestSelectiveSignalling(t *testing.T) {
	w := newWorld(t)
	sends, recvs := w.cq(t, 128, false), w.cq(t, 128, false)
	a := w.qp(t, rdma.QPConfig{Type: rdma.UD, Send: sends, Recv: recvs, SendWork: 64, RecvWork: 64})
	if err := a.ReadyUD(1, key); err != nil {
		t.Fatal(err)
	}
	burst := make([]rdma.SendWR, 32)
	for i := range burst {
		w.receive(t, a, 65536+4096*i, 2048)
		burst[i] = w.send(64*i, 64, a, 0)
		burst[i].ID = uint64(i)
		copy(w.mr.Bytes()[64*i:], bytes.Repeat([]byte{byte(i + 1)}, 64))
	}
	burst[31].Flags = rdma.Signaled
	must(a.PostSend(burst))(t)
	for range completions(t, recvs, 32) {
	}
	for i := range 32 {
		if got := w.mr.Bytes()[65536+4096*i+rdma.GRHBytes:][:64]; !bytes.Equal(got, bytes.Repeat([]byte{byte(i + 1)}, 64)) {
			t.Errorf("datagram %d is %x", i, got)
		}
	}
	if c := one(t, sends, rdma.StatusSuccess); c.ID != 31 {
		t.Errorf("%+v", c)
	}
	if n := must(sends.Poll(make([]rdma.WC, 8)))(t); n != 0 {
		t.Errorf("%d more completions", n)
	}
}

// Inline takes the payload at once, from any memory; immediate data arrives beside it, in the order of its bytes.
func TestInlineAndImmediate(t *testing.T) {
	w := newWorld(t)
	cq := w.cq(t, 64, false)
	qps := w.pair(t, cq, same, 7)
	w.receive(t, qps[1], 0, 64)
	w.receive(t, qps[1], 64, 64)
	own := memory(t, 4096) // not registered
	text := own[:copy(own, "straight from the work request")]
	at := rdma.SGE{Addr: addr(text), Length: uint32(len(text))}
	must(qps[0].PostSend([]rdma.SendWR{
		{ID: 5, Op: rdma.OpSendImm, Imm: 0x01020304, Flags: rdma.Inline, NumSGE: 1, SGE: [2]rdma.SGE{at}},
		{ID: 6, Op: rdma.OpWriteImm, Imm: 0xa0b0c0d0, Flags: rdma.Inline | rdma.Signaled, NumSGE: 1, SGE: [2]rdma.SGE{at}, RemoteAddr: w.mr.Addr() + 4096, RemoteKey: w.mr.RKey()},
	}))(t)
	clear(own)
	var imms []uint32
	for _, c := range completions(t, cq, 3) {
		if c.Err() != nil {
			t.Fatal(c.Err())
		}
		if c.Op >= rdma.WCRecv && c.Flags&rdma.WithImm != 0 { // soft-RoCE sets the flag for a sender, too
			imms = append(imms, c.Imm)
		}
	}
	if len(imms) != 2 || imms[0] != 0x01020304 || imms[1] != 0xa0b0c0d0 {
		t.Errorf("%x", imms)
	}
	for _, off := range []int{0, 4096} {
		if got := string(w.mr.Bytes()[off:][:30]); got != "straight from the work request" {
			t.Errorf("%q", got)
		}
	}
}

func readable(t *testing.T, fd, millis int) bool {
	t.Helper()
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(p, millis)
		if err == unix.EINTR {
			continue
		}
		return must(n, err)(t) == 1
	}
}

// An armed completion queue makes its descriptor readable once; ArmSolicited only for those who ask.
func TestCompletionEvents(t *testing.T) {
	w := newWorld(t)
	sends, recvs := w.cq(t, 64, false), w.cq(t, 64, true)
	if sends.FD() != -1 || sends.Acknowledge() != nil {
		t.Error("a queue without events has some")
	}
	a := w.qp(t, rdma.QPConfig{Type: rdma.UD, Send: sends, Recv: recvs, SendWork: 16, RecvWork: 16})
	if err := a.ReadyUD(1, key); err != nil {
		t.Fatal(err)
	}
	send := func(flags rdma.SendFlags) {
		t.Helper()
		w.receive(t, a, 4096, 2048)
		must(a.PostSend([]rdma.SendWR{w.send(0, 64, a, flags|rdma.Signaled)}))(t)
		one(t, sends, rdma.StatusSuccess)
	}
	check := func(arm func() error, flags rdma.SendFlags, want bool) {
		t.Helper()
		if err := arm(); err != nil {
			t.Fatal(err)
		}
		send(flags)
		millis := 60_000
		if !want {
			millis = 0 // the receive's completion is there, so an event would be
			one(t, recvs, rdma.StatusSuccess)
		}
		if got := readable(t, recvs.FD(), millis); got != want {
			t.Fatalf("readable %v, want %v", got, want)
		}
		if want {
			one(t, recvs, rdma.StatusSuccess)
		}
		if err := recvs.Acknowledge(); err != nil {
			t.Fatal(err)
		}
		if readable(t, recvs.FD(), 0) {
			t.Fatal("readable after Acknowledge")
		}
	}
	check(recvs.Arm, 0, true)
	check(func() error { return nil }, 0, false) // one event each Arm
	check(recvs.ArmSolicited, 0, false)
	check(func() error { return nil }, rdma.Solicited, true) // still armed
}

// A shared receive queue serves several queue pairs, and says when it runs low.
func TestSharedReceives(t *testing.T) {
	w := newWorld(t)
	cq := w.cq(t, 64, false)
	srq := must(w.pd.CreateSRQ(8))(t)
	w.list = append(w.list, srq)
	a, b, from := w.datagrams(t, cq, srq, 16), w.datagrams(t, cq, srq, 16), w.datagrams(t, cq, nil, 16)
	for i := range 8 {
		w.receive(t, srq, 65536+4096*i, 2048)
	}
	if err := srq.Limit(6); err != nil {
		t.Fatal(err)
	}
	for _, to := range []*rdma.QP{a, b, a} {
		must(from.PostSend([]rdma.SendWR{w.send(0, 64, to, 0)}))(t)
		if c := one(t, cq, rdma.StatusSuccess); c.QPN != to.Number() || c.Source != from.Number() {
			t.Errorf("%+v", c)
		}
	}
	if e := event(t, w.c, rdma.EventSRQLimit); e.Queue != srq.ID() {
		t.Errorf("%+v", e)
	}
	if err := srq.Limit(1 << 20); err == nil {
		t.Error("a limit above the queue's length was taken")
	}
	if _, err := w.pd.CreateSRQ(1 << 30); !errors.Is(err, rdma.ErrLimit) {
		t.Error(err)
	}
}

// Memory on huge pages, and memory that is paged on demand, is read and written as other memory is.
func TestKindsOfMemory(t *testing.T) {
	w := newWorld(t)
	cq := w.cq(t, 64, false)
	m := must(rdma.Map(3 << 20))(t)
	if !m.Huge() || len(m.Bytes()) != 4<<20 {
		t.Errorf("huge %v, %d bytes: this guest has huge pages", m.Huge(), len(m.Bytes()))
	}
	much := must(rdma.Map(1 << 28))(t) // more than there are huge pages
	if much.Huge() || len(much.Bytes()) != 1<<28 {
		t.Errorf("huge %v, %d bytes", much.Huge(), len(much.Bytes()))
	}
	for _, c := range []struct {
		what   string
		mem    []byte
		access rdma.Access
	}{{"huge pages", m.Bytes(), everything}, {"on demand", much.Bytes()[:1<<26], everything | rdma.OnDemand}} {
		if c.access&rdma.OnDemand != 0 && !w.c.Limits().OnDemand {
			t.Errorf("this kernel's soft-RoCE has on-demand paging")
			continue
		}
		mr := must(w.pd.Register(c.mem, c.access))(t)
		qps := w.pair(t, cq, same, 7)
		copy(w.mr.Bytes(), c.what)
		far := mr.Addr() + uint64(len(c.mem)) - 4096
		must(qps[0].PostSend([]rdma.SendWR{
			{Op: rdma.OpWrite, NumSGE: 1, SGE: w.sge(0, len(c.what)), RemoteAddr: far, RemoteKey: mr.RKey()},
			{Op: rdma.OpRead, Flags: rdma.Signaled, NumSGE: 1, SGE: w.sge(4096, len(c.what)), RemoteAddr: far, RemoteKey: mr.RKey()},
		}))(t)
		one(t, cq, rdma.StatusSuccess)
		if got := string(w.mr.Bytes()[4096:][:len(c.what)]); got != c.what {
			t.Errorf("%s: read %q", c.what, got)
		}
		if got := string(c.mem[len(c.mem)-4096:][:len(c.what)]); got != c.what {
			t.Errorf("%s: wrote %q", c.what, got)
		}
		for _, q := range qps {
			q.Close()
		}
		if err := mr.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := errors.Join(m.Close(), much.Close()); err != nil {
		t.Error(err)
	}
	if err := m.Close(); !errors.Is(err, rdma.ErrClosed) {
		t.Error(err)
	}
}

// What is not there is named, with what there is.
func TestNotThere(t *testing.T) {
	w := newWorld(t)
	if _, err := rdma.Open("mlx5_9"); !errors.Is(err, rdma.ErrNoDevice) || !strings.Contains(err.Error(), rxetest.Device) {
		t.Error(err)
	}
	for _, n := range []int{0, 2, 257} {
		if _, err := w.c.Port(n); !errors.Is(err, rdma.ErrNoPort) {
			t.Errorf("port %d: %v", n, err)
		}
	}
	if _, err := w.port.GID(200, w.gid.GID.IP()); !errors.Is(err, rdma.ErrNoGID) {
		t.Error(err)
	}
	wrong := w.gid
	wrong.Index = 200
	if _, err := w.pd.CreateAH(wrong.To(1, w.gid.GID, 0)); err == nil {
		t.Error("an address handle was made from a GID that is not there")
	} else {
		t.Log(err)
	}
	if _, err := w.pd.CreateAH(w.gid.To(9, w.gid.GID, 0)); !errors.Is(err, rdma.ErrNoPort) {
		t.Errorf("an address handle of port 9: %v", err)
	}
	if _, err := w.pd.CreateAH(rdma.AddressVector{Port: 1, LID: 7}); err == nil || !strings.Contains(err.Error(), "has to be global") {
		t.Errorf("an address handle over Ethernet without a GID: %v", err)
	}
	cq := w.cq(t, 8, false)
	const xrc = rdma.QPType(9)
	if _, err := w.pd.CreateQP(rdma.QPConfig{Type: xrc, Send: cq, Recv: cq, SendWork: 1, RecvWork: 1}); !errors.Is(err, rdma.ErrUnsupported) {
		t.Errorf("%v queue pairs: %v", xrc, err)
	}
	if _, err := w.pd.CreateQP(rdma.QPConfig{Type: rdma.UD, Send: cq, Recv: cq, SendWork: 1 << 30, RecvWork: 1}); !errors.Is(err, rdma.ErrLimit) {
		t.Error(err)
	}
	if _, err := w.c.CreateCQ(1<<30, false); !errors.Is(err, rdma.ErrLimit) {
		t.Error(err)
	}
	if err := w.pd.Close(); err == nil {
		t.Error("a protection domain with regions was closed")
	}
}

// Waiting for events ends with its context, every time, and with the device.
func TestEventEnds(t *testing.T) {
	c, _, _ := open(t)
	for range 200 {
		ctx, cancel := context.WithCancel(t.Context())
		go cancel()
		if _, err := c.Event(ctx); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	ended := make(chan error)
	go func() {
		_, err := c.Event(context.Background())
		ended <- err
	}()
	time.Sleep(time.Millisecond) // so that it waits, mostly; the outcome is the same
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, rdma.ErrClosed) {
		t.Error(err)
	}
	if err := c.Close(); !errors.Is(err, rdma.ErrClosed) {
		t.Error(err)
	}
}
