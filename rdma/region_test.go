//go:build rdma

package rdma_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/rdma"
	"github.com/fastrpc/fastrpc/rdma/rxetest"
)

const anyRight = rdma.RemoteRead | rdma.RemoteWrite | rdma.RemoteAtomic

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func closing(t *testing.T, c interface{ Close() error }) {
	t.Helper()
	t.Cleanup(func() {
		if err := c.Close(); err != nil && !errors.Is(err, rdma.ErrClosed) {
			t.Error(err)
		}
	})
}

func newExporter(t *testing.T) *rdma.Exporter {
	t.Helper()
	e := must(rdma.NewExporter(netip.MustParseAddrPort(rxetest.Addr+":0"), rdma.ExporterConfig{}))(t)
	closing(t, e)
	return e
}

func dial(t *testing.T, e *rdma.Exporter) *rdma.Importer {
	t.Helper()
	i := must(rdma.Dial(within(t), e.Addr()))(t)
	closing(t, i)
	return i
}

// exported is a region, its memory, and a client that has it open.
func exported(t *testing.T, rights rdma.Access) (e *rdma.Exporter, reg *rdma.Region, mem []byte, i *rdma.Importer, r *rdma.Remote) {
	t.Helper()
	e, mem = newExporter(t), memory(t, 1<<16)
	reg = must(e.Export("table", mem, rights, time.Hour))(t)
	i = dial(t, e)
	return e, reg, mem, i, must(i.Open(within(t), "table"))(t)
}

func refused(t *testing.T, what string, err error, want ...error) {
	t.Helper()
	for _, w := range want {
		if !errors.Is(err, w) {
			t.Errorf("%s: %v, want %v", what, err, w)
			return
		}
	}
	t.Logf("%s: %v", what, err)
}

// Operations of all kinds in one batch do to the other side's memory what their names say.
func TestBatch(t *testing.T) {
	_, _, mem, i, r := exported(t, anyRight)
	if r.Len() != len(mem) || r.Rights() != anyRight || r.Name() != "table" {
		t.Errorf("%d bytes with rights %v of %q", r.Len(), r.Rights(), r.Name())
	}
	copy(mem[1000:], "read by the other side")
	long := bytes.Repeat([]byte("a write that is too long to go along with its work request. "), 100)
	le := binary.LittleEndian
	le.PutUint64(mem[2048:], 40)
	le.PutUint64(mem[2056:], 7)
	b := must(i.NewBatch(8, 1<<14))(t)
	for turn := range 3 {
		if err := b.Reset(); err != nil {
			t.Fatal(err)
		}
		read := must(b.Read(r, 1000, 22))(t)
		if err := errors.Join(b.Write(r, 60000, []byte("short")), b.Write(r, 4096, long)); err != nil {
			t.Fatal(err)
		}
		was := must(b.FetchAdd(r, 2048, 2))(t)
		swapped := must(b.CompareAndSwap(r, 2056, uint64(7+turn), uint64(8+turn)))(t)
		kept := must(b.CompareAndSwap(r, 2056, 1, 99))(t)
		b.Fence()
		after := must(b.Read(r, 2048, 16))(t)
		last := must(b.Read(r, len(mem)-1, 1))(t)
		mem[len(mem)-1] = byte(turn)
		if err := b.Do(within(t)); err != nil {
			t.Fatal(err)
		}
		if string(read) != "read by the other side" || last[0] != byte(turn) {
			t.Errorf("turn %d: read %q and %d", turn, read, last)
		}
		if string(mem[60000:60005]) != "short" || !bytes.Equal(mem[4096:4096+len(long)], long) {
			t.Errorf("turn %d: wrote %q and %q", turn, mem[60000:60005], mem[4096:4096+len(long)])
		}
		if *was != uint64(40+2*turn) || *swapped != uint64(7+turn) || *kept != uint64(8+turn) {
			t.Errorf("turn %d: former values %d, %d, %d", turn, *was, *swapped, *kept)
		}
		if le.Uint64(after) != uint64(42+2*turn) || le.Uint64(after[8:]) != uint64(8+turn) {
			t.Errorf("turn %d: after the fence %d, %d", turn, le.Uint64(after), le.Uint64(after[8:]))
		}
		clear(mem[4096:8192])
	}
}

// A full batch is posted by one call into C and has one completion; nothing is allocated from Reset to its end.
func TestBatchCost(t *testing.T) {
	_, _, mem, i, r := exported(t, anyRight)
	ctx := within(t)
	b := must(i.NewBatch(rdma.Burst, 1<<14))(t)
	data := []byte("sixteen bytes  .")
	fill := func() {
		if err := b.Reset(); err != nil {
			t.Fatal(err)
		}
		for k := range rdma.Burst {
			var err error
			switch k % 4 {
			case 0:
				_, err = b.Read(r, k*64, 64)
			case 1:
				err = b.Write(r, k*64, data)
			case 2:
				_, err = b.FetchAdd(r, k*64, 1)
			case 3:
				_, err = b.CompareAndSwap(r, k*64, 0, 1)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	// Only the last operation has a completion, so the look that finds it ends the batch. The fewest calls of some batches count: those that the
	// exporter's goroutines make meanwhile are counted with ours.
	posted, polled := int64(math.MaxInt64), int64(math.MaxInt64)
	const batches = 8
	for range batches {
		fill()
		before := runtime.NumCgoCall()
		if err := b.Post(); err != nil {
			t.Fatal(err)
		}
		posted = min(posted, runtime.NumCgoCall()-before)
		for ended := false; !ended; {
			before = runtime.NumCgoCall()
			ended = must(b.Poll())(t)
			polled = min(polled, runtime.NumCgoCall()-before)
		}
		if err := b.Wait(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if posted != 1 || polled != 1 {
		t.Errorf("%d calls into C post a batch of %d, %d look for its end", posted, b.Len(), polled)
	}
	if n := testing.AllocsPerRun(50, func() {
		fill()
		if err := b.Do(ctx); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for a batch of %d", n, b.Len())
	}
	if n := binary.LittleEndian.Uint64(mem[2*64:]); n != batches+51 { // AllocsPerRun runs once more than it is told to
		t.Errorf("a counter is %d after %d batches", n, batches+51)
	}
}

// What can be known to fail is refused before it is posted, each with its reason, and the connection goes on.
func TestRefused(t *testing.T) {
	e, _, mem, i, r := exported(t, rdma.RemoteRead)
	other := dial(t, e)
	foreign := must(other.Open(within(t), "table"))(t)
	b := must(i.NewBatch(2, 64))(t)
	for _, c := range []struct{ offset, n int }{{len(mem) - 7, 8}, {-8, 8}, {len(mem), 1}, {0, len(mem) + 1}, {0, 0}, {1 << 62, 1 << 62}, {0, -1}} {
		_, err := b.Read(r, c.offset, c.n)
		refused(t, "out of range", err, rdma.ErrRange)
	}
	refused(t, "no right to write", b.Write(r, 0, []byte("x")), rdma.ErrRights)
	_, err := b.FetchAdd(r, 0, 1)
	refused(t, "no right to atomics", err, rdma.ErrRights)
	_, err = b.CompareAndSwap(r, 4, 0, 1)
	refused(t, "not aligned", err, rdma.ErrRange)
	_, err = b.Read(foreign, 0, 8)
	refused(t, "another connection's region", err, rdma.ErrForeign)
	_, err = b.Read(r, 0, 65)
	refused(t, "more than the batch's memory", err, rdma.ErrBatchFull)
	must(b.Read(r, 0, 8))(t)
	must(b.Read(r, 8, 8))(t)
	_, err = b.Read(r, 16, 8)
	refused(t, "a third operation", err, rdma.ErrBatchFull)
	var op *rdma.OpError
	if !errors.As(err, &op) || op.Op != rdma.OpRead || op.Region != "table" || op.Offset != 16 || op.Length != 8 || op.Index != 2 {
		t.Errorf("%+v", op)
	}
	if err := b.Do(within(t)); err != nil {
		t.Errorf("after all that: %v", err)
	}
	if _, err = b.Read(r, 0, 8); err == nil {
		t.Error("an operation was added to a batch that had ended")
	}
	_, err = i.Open(within(t), "chair")
	refused(t, "no such region", err, rdma.ErrNoRegion)
	for _, name := range []string{"", string(make([]byte, rdma.MaxRegionName+1))} {
		if _, err := i.Open(within(t), name); err == nil {
			t.Errorf("a name of %d bytes was asked for", len(name))
		}
	}
	if _, err := e.Export("table", mem, rdma.RemoteRead, time.Hour); err == nil {
		t.Error("a name was exported twice")
	}
	if _, err := e.Export("none", mem, 0, time.Hour); err == nil {
		t.Error("a region without rights was exported")
	}
}

// The card of the other side refuses a key of no region and a right that its region has not, whatever the client believes; the error says so,
// the connection ends, and a new one works.
func TestRefusedByCard(t *testing.T) {
	e, _, mem, _, _ := exported(t, rdma.RemoteRead)
	must(e.Export("elsewhere", memory(t, 4096), anyRight, time.Hour))(t)
	for what, change := range map[string]func(*rdma.Remote, *rdma.Remote){
		"a key of nothing":         func(r, _ *rdma.Remote) { r.UseKey(r.Key() ^ 0xff00) },
		"the key of other memory":  func(r, other *rdma.Remote) { r.UseKey(other.Key()) },
		"the key of fewer rights":  func(r, other *rdma.Remote) { *other = *r; other.AddRights(anyRight) },
		"a region larger than its": func(r, _ *rdma.Remote) { r.SetLen(r.Len() + 1<<20) },
	} {
		i := dial(t, e)
		r, other := must(i.Open(within(t), "table"))(t), must(i.Open(within(t), "elsewhere"))(t)
		change(r, other)
		b := must(i.NewBatch(3, 4096))(t)
		must(b.Read(must(i.Open(within(t), "table"))(t), 0, 8))(t)
		if other.Len() == r.Len() {
			if err := b.Write(other, 0, []byte("x")); err != nil {
				t.Fatal(err)
			}
		} else {
			must(b.Read(r, r.Len()-8, 8))(t)
		}
		must(b.Read(r, 0, 8))(t)
		err := b.Do(within(t))
		refused(t, what, err, rdma.StatusRemoteAccess, rdma.ErrStale)
		if b.Err(0) != nil || !errors.Is(b.Err(1), rdma.StatusRemoteAccess) || !errors.Is(b.Err(2), rdma.StatusFlushed) {
			t.Errorf("%s: %v, %v, %v", what, b.Err(0), b.Err(1), b.Err(2))
		}
		if err := b.Reset(); err != nil {
			t.Error(err)
		}
		must(b.Read(r, 0, 8))(t)
		refused(t, what+", afterwards", b.Post(), rdma.StatusRemoteAccess)
		_, err = i.Open(within(t), "table")
		refused(t, what+", opening afterwards", err, rdma.StatusRemoteAccess)
	}
	if mem[0] != 0 {
		t.Error("a region was written to that is exported for reading")
	}
}

// clock is one that a test moves.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// A lease ends at both sides, the client's a little earlier; it is renewed at the server and then at the client.
func TestLease(t *testing.T) {
	e, mem := newExporter(t), memory(t, 4096)
	server, here := &clock{at: time.Unix(1000, 0)}, &clock{at: time.Unix(5_000_000, 0)}
	e.SetNow(server.now)
	reg := must(e.Export("table", mem, rdma.RemoteRead, 80*time.Second))(t)
	i := dial(t, e)
	i.SetNow(here.now)
	server.add(30 * time.Second)
	r := must(i.Open(within(t), "table"))(t)
	if got, want := r.Expires(), here.now().Add(49*time.Second); !got.Equal(want) {
		t.Errorf("the client's lease ends at %v, want %v", got, want)
	}
	b := must(i.NewBatch(1, 8))(t)
	read := func() error {
		if err := b.Reset(); err != nil {
			t.Fatal(err)
		}
		must(b.Read(r, 0, 8))(t)
		return b.Do(within(t))
	}
	here.add(49*time.Second - 1)
	if err := read(); err != nil {
		t.Error(err)
	}
	here.add(1)
	refused(t, "after the client's lease", read(), rdma.ErrStale)
	// The server has not renewed: asking tells the same end.
	server.add(49 * time.Second)
	if err := r.Renew(within(t)); err != nil {
		t.Error(err)
	}
	if left := r.Expires().Sub(here.now()); left != 875*time.Millisecond { // of a second, an eighth is not used
		t.Errorf("%v are left", left)
	}
	if err := reg.Renew(100 * time.Second); err != nil {
		t.Error(err)
	}
	if err := reg.Renew(99 * time.Second); err == nil {
		t.Error("a lease was made shorter")
	}
	if err := r.Renew(within(t)); err != nil {
		t.Error(err)
	}
	here.add(98 * time.Second)
	if err := read(); err != nil {
		t.Error(err)
	}
	// The server's lease ends, and the client's clock stands still: the card refuses.
	server.add(100 * time.Second)
	e.SetNow(server.now) // wakes it
	<-reg.Done()
	refused(t, "after the server's lease", read(), rdma.ErrStale, rdma.StatusRemoteAccess)
	refused(t, "renewing what is over", reg.Renew(time.Hour), rdma.ErrStale)
	refused(t, "closing what is over", reg.Close(), rdma.ErrClosed)
	_, err := dial(t, e).Open(within(t), "table")
	refused(t, "opening what is over", err, rdma.ErrNoRegion)
	// The name is free again.
	reg = must(e.Export("table", mem, rdma.RemoteRead, time.Second))(t)
	must(dial(t, e).Open(within(t), "table"))(t)
	if err := reg.Close(); err != nil {
		t.Error(err)
	}
}

// A region that is closed before its lease is over is refused by the card. One that is exported anew under its name is another one, and has
// no key that a client may hold for the first.
func TestClosedRegion(t *testing.T) {
	e, reg, mem, i, r := exported(t, anyRight)
	if err := reg.Close(); err != nil {
		t.Fatal(err)
	}
	<-reg.Done()
	reg = must(e.Export("table", mem, anyRight, time.Hour))(t)
	refused(t, "renewing it as if it were the first", r.Renew(within(t)), rdma.ErrStale)
	b := must(i.NewBatch(1, 8))(t)
	if err := b.Write(r, 0, []byte("x")); err != nil {
		t.Fatal(err)
	}
	refused(t, "a region that was closed", b.Do(within(t)), rdma.ErrStale, rdma.StatusRemoteAccess)
	if mem[0] != 0 {
		t.Error("a region that was closed was written to")
	}
	// The next keys that the device gives out are as if a client held them.
	i = dial(t, e)
	first := must(i.Open(within(t), "table"))(t).Key()
	held := map[uint32]bool{}
	for k := uint32(0); k <= 16; k++ {
		for low := range uint32(256) { // soft-RoCE: an index that counts up, and a random byte
			key := (first>>8+k)<<8 | low // of what comes in between, too
			e.HoldKey(key, time.Now().Add(time.Hour))
			held[key] = true
		}
	}
	if err := reg.Close(); err != nil {
		t.Fatal(err)
	}
	must(e.Export("table", mem, anyRight, time.Hour))(t)
	if key := must(i.Open(within(t), "table"))(t).Key(); held[key] || key>>8 == first>>8 {
		t.Errorf("key %#x is given out within the lease of the region that had it", key)
	}
}

// Several clients at once add to one counter, none of whose additions is lost, and take one lock, which excludes the others from what is
// read and written under it.
func TestConcurrentAtomics(t *testing.T) {
	e, _, mem, _, _ := exported(t, anyRight)
	const clients, adds, locks = 4, 200, 20
	var wg sync.WaitGroup
	seen := make([]map[uint64]bool, clients)
	for c := range clients {
		i := dial(t, e)
		r := must(i.Open(within(t), "table"))(t)
		b := must(i.NewBatch(8, 64))(t)
		ctx := within(t)
		wg.Go(func() {
			do := func(add func()) {
				if err := b.Reset(); err != nil {
					t.Error(err)
				}
				add()
				if err := b.Do(ctx); err != nil {
					t.Error(err)
				}
			}
			seen[c] = map[uint64]bool{}
			var was [8]*uint64
			for range adds / len(was) {
				do(func() {
					for k := range was {
						was[k], _ = b.FetchAdd(r, 0, 1)
					}
				})
				for _, p := range was {
					seen[c][*p] = true
				}
			}
			for range locks {
				for taken := false; !taken && ctx.Err() == nil; {
					var free *uint64
					do(func() { free, _ = b.CompareAndSwap(r, 8, 0, uint64(c+1)) })
					taken = *free == 0
				}
				var count []byte
				do(func() { count, _ = b.Read(r, 16, 8) })
				next := binary.LittleEndian.AppendUint64(nil, binary.LittleEndian.Uint64(count)+1)
				var owner *uint64
				do(func() {
					if err := b.Write(r, 16, next); err != nil {
						t.Error(err)
					}
					owner, _ = b.CompareAndSwap(r, 8, uint64(c+1), 0)
				})
				if *owner != uint64(c+1) {
					t.Errorf("client %d held the lock with client %d", c+1, *owner)
				}
			}
		})
	}
	wg.Wait()
	if n := binary.LittleEndian.Uint64(mem); n != clients*adds {
		t.Errorf("the counter is %d after %d additions", n, clients*adds)
	}
	all := map[uint64]bool{}
	for _, s := range seen {
		for v := range s {
			all[v] = true
		}
	}
	if len(all) != clients*adds {
		t.Errorf("%d former values for %d additions", len(all), clients*adds)
	}
	if n := binary.LittleEndian.Uint64(mem[16:]); n != clients*locks {
		t.Errorf("what is counted under the lock is %d after %d times", n, clients*locks)
	}
}

// A batch whose context ends is under way still, and can be waited for.
func TestDeadline(t *testing.T) {
	_, _, mem, i, r := exported(t, anyRight)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	b, other := must(i.NewBatch(rdma.Burst, 1<<22))(t), must(i.NewBatch(1, 8))(t)
	var last []byte
	for range rdma.Burst {
		last = must(b.Read(r, 0, len(mem)))(t)
	}
	must(other.Read(r, 0, 8))(t)
	mem[7] = 7
	if err := b.Post(); err != nil {
		t.Fatal(err)
	}
	refused(t, "resetting what is under way", b.Reset(), rdma.ErrUnderWay)
	refused(t, "posting beside it", other.Post(), rdma.ErrUnderWay)
	refused(t, "closing it", b.Close(), rdma.ErrUnderWay)
	refused(t, "its outcome", b.Err(0), rdma.ErrUnderWay)
	if err := b.Wait(over); err != nil {
		refused(t, "a context that is over", err, context.Canceled)
	}
	if _, err := i.Open(within(t), "table"); err != nil {
		t.Errorf("opening beside it: %v", err)
	}
	if err := b.Wait(within(t)); err != nil || last[7] != 7 {
		t.Errorf("%v, %d", err, last[7])
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}
