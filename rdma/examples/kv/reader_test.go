//go:build rdma

package kv

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc"
	"github.com/fastrpc/fastrpc/rdma"
	"github.com/fastrpc/fastrpc/rdma/rxetest"
	_ "github.com/fastrpc/fastrpc/transport/rdma"
)

func TestMain(m *testing.M) { rxetest.Main(m) }

func must[T any](v T, err error) func(t testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// exported is a table in memory that is exported as "users".
func exported(t testing.TB, l Layout) (*Table, *rdma.Exporter) {
	t.Helper()
	mem := must(unix.Mmap(-1, 0, l.Bytes(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS))(t)
	t.Cleanup(func() { unix.Munmap(mem) })
	table := must(NewTable(mem, l))(t)
	e := must(rdma.NewExporter(netip.MustParseAddrPort(rxetest.Addr+":0"), rdma.ExporterConfig{}))(t)
	must(e.Export("users", mem, rdma.RemoteRead, time.Hour))(t)
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return table, e
}

func opened(t testing.TB, e *rdma.Exporter) *Reader {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	i := must(rdma.Dial(ctx, e.Addr()))(t)
	t.Cleanup(func() {
		if err := i.Close(); err != nil {
			t.Error(err)
		}
	})
	return must(Open(ctx, i, "users"))(t)
}

// Clients find what the server put, and do not find what it deleted, without an allocation.
func TestGet(t *testing.T) {
	table, e := exported(t, Layout{Slots: 8192, Key: 32, Value: 200})
	r := opened(t, e)
	for n := range 300 {
		if err := table.Put(fmt.Append(nil, "user ", n), bytes.Repeat([]byte{byte(n)}, n%201)); err != nil {
			t.Fatal(err)
		}
	}
	table.Delete([]byte("user 7"))
	if err := table.Put([]byte("user 8"), []byte("another")); err != nil {
		t.Fatal(err)
	}
	for n := range 320 {
		value, version, err := r.Get(t.Context(), fmt.Append(nil, "user ", n))
		switch {
		case n == 7 || n >= 300:
			if !errors.Is(err, ErrNotFound) {
				t.Errorf("user %d is %q, %v", n, value, err)
			}
		case n == 8:
			if string(value) != "another" || version < 2 || err != nil {
				t.Errorf("user 8 is %q of version %d, %v", value, version, err)
			}
		default:
			if !bytes.Equal(value, bytes.Repeat([]byte{byte(n)}, n%201)) || err != nil {
				t.Errorf("user %d is %q, %v", n, value, err)
			}
		}
	}
	if _, _, err := r.Get(t.Context(), make([]byte, 33)); !errors.Is(err, ErrNotFound) {
		t.Errorf("a key longer than the table's: %v", err)
	}
	key := []byte("user 42")
	if n := testing.AllocsPerRun(100, func() {
		if _, _, err := r.Get(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for a look-up", n)
	}
	if r.Torn() != 0 {
		t.Errorf("%d torn reads of a table that nobody writes", r.Torn())
	}
}

// untilTorn is over when a read was torn.
type untilTorn struct {
	context.Context
	r *Reader
}

func (u untilTorn) Err() error {
	if u.r.Torn() > 0 {
		return context.Canceled
	}
	return nil
}

// A slot that is half written is read again until it is whole, or the context ends.
func TestGetHalfWritten(t *testing.T) {
	table, e := exported(t, Layout{Slots: 8, Key: 8, Value: 200})
	r, key := opened(t, e), []byte("key")
	if err := errors.Join(table.Put(key, bytes.Repeat([]byte("a"), 200)), table.Put([]byte("other"), []byte("whole"))); err != nil {
		t.Fatal(err)
	}
	at := table.slot(key, key)
	old := bytes.Clone(at)
	slot{version: 2, key: key, value: bytes.Repeat([]byte("b"), 200)}.encode(at)
	whole := bytes.Clone(at)
	copy(at[128:], old[128:])
	if value, _, err := r.Get(untilTorn{t.Context(), r}, key); !errors.Is(err, errTorn) || !errors.Is(err, context.Canceled) || r.Torn() != 1 {
		t.Errorf("half a write is %q, %v, after %d torn reads", value, err, r.Torn())
	}
	done := make(chan error)
	go func() {
		value, version, err := r.Get(t.Context(), key)
		if version != 2 || !bytes.Equal(value, bytes.Repeat([]byte("b"), 200)) {
			err = errors.Join(err, fmt.Errorf("%q of version %d", value, version))
		}
		done <- err
	}()
	copy(at[128:], whole[128:])
	if err := <-done; err != nil {
		t.Error(err)
	}
	if value, _, err := r.Get(t.Context(), []byte("other")); string(value) != "whole" || err != nil {
		t.Errorf("another key is %q, %v", value, err)
	}
}

// A look-up whose context ends while it is under way does not disturb the next.
func TestGetGivenUp(t *testing.T) {
	table, e := exported(t, Layout{Slots: 8, Key: 8, Value: 30_000})
	r, key := opened(t, e), []byte("key")
	if err := table.Put(key, bytes.Repeat([]byte("a"), 30_000)); err != nil {
		t.Fatal(err)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for range 20 {
		if _, _, err := r.Get(over, key); err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if value, _, err := r.Get(t.Context(), key); len(value) != 30_000 || err != nil {
			t.Fatalf("after one that was given up: %d bytes, %v", len(value), err)
		}
	}
}

// While the server writes at full speed, clients see whole values only, and never one that is older than what they saw.
func TestGetWhileWritten(t *testing.T) {
	const length, gets = 8000, 300
	table, e := exported(t, Layout{Slots: 8, Key: 8, Value: length})
	key := []byte("counter")
	put := func(n uint64) {
		if err := table.Put(key, bytes.Repeat(binary.LittleEndian.AppendUint64(nil, n), length/8)); err != nil {
			t.Error(err)
		}
	}
	put(1)
	readers := []*Reader{opened(t, e), opened(t, e)}
	ctx, stop := context.WithCancel(t.Context())
	var writer, reading sync.WaitGroup
	writer.Go(func() {
		for n := uint64(2); ctx.Err() == nil; n++ {
			put(n)
		}
	})
	for _, r := range readers {
		reading.Go(func() {
			var last, seen uint64
			for n := 0; n < gets; n++ {
				value, version, err := r.Get(t.Context(), key)
				if err != nil || len(value) != length {
					t.Errorf("%d bytes, %v", len(value), err)
					return
				}
				first := binary.LittleEndian.Uint64(value)
				if !bytes.Equal(value, bytes.Repeat(value[:8], length/8)) || version != first || version < last {
					t.Errorf("version %d of value %d after version %d", version, first, last)
					return
				}
				if version != last {
					seen++
				}
				last = version
			}
			t.Logf("%d versions seen, up to %d; %d reads were torn", seen, last, r.Torn())
		})
	}
	reading.Wait()
	stop()
	writer.Wait()
}

// BenchmarkGet looks up by one-sided reads and by calls over the same card, in turns, and reports how long each takes, and the ratio.
func BenchmarkGet(b *testing.B) {
	table, e := exported(b, Layout{Slots: 1024, Key: 32, Value: 64})
	key := []byte("user 42")
	if err := table.Put(key, bytes.Repeat([]byte("v"), 64)); err != nil {
		b.Fatal(err)
	}
	srv := fastrpc.NewServer(fastrpc.WithInsecure())
	srv.HandleInline("get", func(w *fastrpc.Response, r *fastrpc.Request) error {
		var buf [64]byte
		value, err := table.Get(buf[:0], r.Body())
		if err == nil {
			_, err = w.Write(value)
		}
		return err
	})
	addr := must(srv.Listen(b.Context(), "rdma://"+rxetest.Addr+":0"))(b)
	defer srv.Shutdown(context.Background())
	c := must(fastrpc.Dial(b.Context(), "rdma://"+addr.String(), fastrpc.WithInsecure()))(b)
	defer c.Close()
	r, m, ctx := opened(b, e), c.Method("get"), b.Context()
	read := func() {
		if value, _, err := r.Get(ctx, key); err != nil || len(value) != 64 {
			b.Fatal(len(value), err)
		}
	}
	call := func() {
		reply, err := m.Call(ctx, key, fastrpc.Timeout(time.Minute))
		if err != nil || len(reply.Body()) != 64 {
			b.Fatal(err)
		}
		reply.Release()
	}
	timed := func(f func()) time.Duration {
		start := time.Now()
		f()
		return time.Since(start)
	}
	var reads, calls []time.Duration
	for b.Loop() {
		reads, calls = append(reads, timed(read)), append(calls, timed(call))
	}
	slices.Sort(reads)
	slices.Sort(calls)
	p50, twin := reads[len(reads)/2], calls[len(calls)/2]
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(p50), "read-p50-ns")
	b.ReportMetric(float64(twin), "call-p50-ns")
	b.ReportMetric(float64(twin)/float64(p50), "call/read")
}
