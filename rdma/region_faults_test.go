//go:build rdma

package rdma_test

import (
	"errors"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/rdma"
	"github.com/fastrpc/fastrpc/rdma/rxetest"
)

// A server that is killed while clients read is an error of what is under way, of what comes after it, and of opening; nothing hangs.
func TestServerKilled(t *testing.T) {
	server := start(t, "exporter")
	addr := must(netip.ParseAddrPort(server.read(t)))(t)
	i := must(rdma.Dial(within(t), addr))(t)
	closing(t, i)
	r := must(i.Open(within(t), "table"))(t)
	b := must(i.NewBatch(1, 8))(t)
	var err error
	for turn := 0; err == nil; turn++ {
		if err := b.Reset(); err != nil {
			t.Fatal(err)
		}
		must(b.Read(r, 0, 8))(t)
		if err = b.Do(within(t)); err != nil {
			break
		}
		if turn == 50 {
			server.kill(t)
		}
	}
	// Which comes first is the kernel's affair: the goodbye that it says for the process, or the end of its memory.
	if !errors.Is(err, rdma.ErrGone) && !errors.Is(err, rdma.StatusRemoteAccess) && !errors.Is(err, rdma.StatusRemoteOperation) {
		t.Errorf("reading from a server that was killed: %v", err)
	}
	t.Log(err)
	<-i.Done()
	if err := errors.Join(b.Reset(), ignore(b.Read(r, 0, 8))); err != nil {
		t.Fatal(err)
	}
	if err := b.Do(within(t)); err == nil {
		t.Error("a server that was killed was read from")
	}
	if _, err := i.Open(within(t), "table"); err == nil {
		t.Error("a server that was killed opened a region")
	}
	if _, err := rdma.Dial(within(t), addr); err == nil {
		t.Error("a server that was killed was dialled")
	} else {
		t.Log(err)
	}
}

func ignore[T any](_ T, err error) error { return err }

// A client that is killed gives its place back, and a region that it had open is revoked without waiting for it.
func TestClientKilled(t *testing.T) {
	e := must(rdma.NewExporter(netip.MustParseAddrPort(rxetest.Addr+":0"), rdma.ExporterConfig{Clients: 1}))(t)
	closing(t, e)
	mem := memory(t, 4096)
	reg := must(e.Export("table", mem, anyRight, time.Hour))(t)
	for range 3 {
		client := start(t, "importer", e.Addr().String())
		if got := client.read(t); got != "table is open" {
			t.Fatal(got)
		}
		_, err := rdma.Dial(within(t), e.Addr())
		refused(t, "a second client", err, unix.ECONNREFUSED)
		client.kill(t)
		for ctx := within(t); e.Clients() > 0; runtime.Gosched() {
			if ctx.Err() != nil {
				t.Fatal("a client that was killed is connected still")
			}
		}
	}
	if err := reg.Close(); err != nil {
		t.Error(err)
	}
	<-reg.Done()
	must(e.Export("table", mem, anyRight, time.Hour))(t)
	must(dial(t, e).Open(within(t), "table"))(t)
}

// A server that closes while a client has work under way, and asks.
func TestExporterCloses(t *testing.T) {
	e, reg, _, i, r := exported(t, anyRight)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	<-reg.Done()
	<-i.Done()
	b := must(i.NewBatch(1, 8))(t)
	must(b.Read(r, 0, 8))(t)
	refused(t, "reading", b.Do(within(t)), rdma.ErrGone)
	_, err := i.Open(within(t), "table")
	refused(t, "opening", err, rdma.ErrGone)
	_, err = e.Export("another", memory(t, 4096), anyRight, time.Hour)
	refused(t, "exporting", err, rdma.ErrClosed)
	refused(t, "closing", e.Close(), rdma.ErrClosed)
	if err := i.Close(); err != nil {
		t.Error(err)
	}
	refused(t, "closing the client again", i.Close(), rdma.ErrClosed)
	_, err = i.NewBatch(1, 8)
	refused(t, "a batch of a closed client", err, rdma.ErrClosed)
}

// More clients than the exporter has places for are refused with a reason, and a place is free again when a client has gone.
func TestClients(t *testing.T) {
	e := must(rdma.NewExporter(netip.MustParseAddrPort(rxetest.Addr+":0"), rdma.ExporterConfig{Clients: 2}))(t)
	closing(t, e)
	first := dial(t, e)
	dial(t, e)
	_, err := rdma.Dial(within(t), e.Addr())
	refused(t, "a third client", err, unix.ECONNREFUSED)
	if err == nil || !strings.Contains(err.Error(), "no place for another client") {
		t.Error(err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	for ctx := within(t); e.Clients() > 1 && ctx.Err() == nil; {
		runtime.Gosched()
	}
	dial(t, e)
}

// A server that vanished without a goodbye does not acknowledge: what is under way fails when it was sent often enough.
func TestServerVanishes(t *testing.T) {
	e, _, _, i, r := exported(t, anyRight)
	if err := e.Vanish(); err != nil {
		t.Fatal(err)
	}
	b := must(i.NewBatch(2, 16))(t)
	must(b.Read(r, 0, 8))(t)
	must(b.Read(r, 8, 8))(t)
	refused(t, "reading", b.Do(within(t)), rdma.ErrGone, rdma.StatusRetryExceeded)
	refused(t, "what came after it", b.Err(1), rdma.StatusFlushed)
}

// A client that vanished without a goodbye is found out by a probe; one that is idle answers it.
func TestClientVanishes(t *testing.T) {
	e := newExporter(t)
	i := dial(t, e)
	e.Probe()
	for ctx := within(t); e.Probing() > 0 && ctx.Err() == nil; {
		runtime.Gosched()
	}
	if e.Clients() != 1 || e.Probing() != 0 {
		t.Errorf("of %d clients %d did not answer", e.Clients(), e.Probing())
	}
	if _, err := i.Open(within(t), "table"); !errors.Is(err, rdma.ErrNoRegion) {
		t.Errorf("after the probe: %v", err)
	}
	if err := i.Vanish(); err != nil {
		t.Fatal(err)
	}
	e.Probe()
	for ctx := within(t); e.Clients() > 0; time.Sleep(time.Millisecond) {
		if ctx.Err() != nil {
			t.Fatalf("%d clients, of whom %d did not answer", e.Clients(), e.Probing())
		}
	}
}

// Over many opens and closes no region, queue pair, descriptor or goroutine is left.
func TestRegionLeaks(t *testing.T) {
	e, mem := newExporter(t), memory(t, 4096)
	turn := func() {
		reg := must(e.Export("table", mem, anyRight, time.Hour))(t)
		i := must(rdma.Dial(within(t), e.Addr()))(t)
		r := must(i.Open(within(t), "table"))(t)
		b, other := must(i.NewBatch(4, 64))(t), must(i.NewBatch(4, 64))(t)
		must(b.Read(r, 0, 64))(t)
		if err := errors.Join(b.Do(within(t)), other.Close(), reg.Close(), i.Close()); err != nil {
			t.Fatal(err)
		}
		for ctx := within(t); e.Clients() > 0 && ctx.Err() == nil; {
			runtime.Gosched()
		}
	}
	turn()
	before, goroutines := held(t), runtime.NumGoroutine()
	for range 300 {
		turn()
	}
	noMore(t, before)
	for ctx := within(t); runtime.NumGoroutine() > goroutines; {
		if runtime.Gosched(); ctx.Err() != nil {
			t.Fatalf("%d goroutines, before %d", runtime.NumGoroutine(), goroutines)
		}
	}
}
