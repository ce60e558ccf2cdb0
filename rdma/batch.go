//go:build rdma

package rdma

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Batch is operations on the other side's regions that are posted by one call into C, and whose end makes one completion. They are carried
// out in order, with one exception: what follows a read or an atomic may overtake it, unless Fence stands between them.
//
// A batch is used again and again: Reset, add operations, Post, Wait. None of these allocates.
type Batch struct {
	i       *Importer
	mem     []byte
	mr      *MR
	own     bool // mem is the batch's
	used    int  // bytes of mem
	fence   SendFlags
	work    []SendWR
	remotes []*Remote
	state   batchState
	failed  int   // which operation failed first; the number of operations: none
	err     error // of that one
}

type batchState int

const (
	batchFilling batchState = iota
	batchUnderWay
	batchEnded
)

// NewBatch makes a batch for up to ops operations, at most Burst, with memory for data: what is read, what is to be written, and 8 bytes for
// each atomic, all of it rounded up to 8.
func (i *Importer) NewBatch(ops, bytes int) (*Batch, error) {
	mem, err := mapMemory(max(bytes, 8))
	if err != nil {
		return nil, err
	}
	b, err := i.NewBatchIn(ops, mem)
	if err != nil {
		_ = unix.Munmap(mem)
		return nil, err
	}
	b.own = true
	return b, nil
}

// NewBatchIn makes a batch whose data lies in mem: mapped memory, as for PD.Register, aligned to 8, that must stay mapped until the batch, or the
// importer, was closed. What is read is written to it in the order of the operations.
func (i *Importer) NewBatchIn(ops int, mem []byte) (*Batch, error) {
	if ops < 1 || ops > Burst {
		return nil, fmt.Errorf("rdma: a batch has 1 to %d operations, not %d", Burst, ops)
	}
	if len(mem) == 0 || uintptr(unsafe.Pointer(&mem[0]))%8 != 0 {
		return nil, errors.New("rdma: the memory of a batch begins at a multiple of 8")
	}
	if i.made == nil {
		return nil, ErrClosed
	}
	mr, err := i.pd.Register(mem, LocalWrite)
	if err != nil {
		return nil, err
	}
	b := &Batch{i: i, mem: mem, mr: mr, work: make([]SendWR, 0, ops), remotes: make([]*Remote, 0, ops)}
	i.batches = append(i.batches, b)
	return b, nil
}

// Reset empties the batch, so that it takes operations again; what was read into it is overwritten by theirs. It must not be under way.
func (b *Batch) Reset() error {
	if b.state == batchUnderWay {
		return ErrUnderWay
	}
	b.work, b.remotes, b.used, b.fence, b.state, b.err, b.failed = b.work[:0], b.remotes[:0], 0, 0, batchFilling, nil, 0
	return nil
}

// Len is how many operations it has.
func (b *Batch) Len() int { return len(b.work) }

// Read adds a read of n bytes. What it returns has them when Wait has returned, until Reset.
func (b *Batch) Read(r *Remote, offset, n int) ([]byte, error) {
	return b.add(r, SendWR{Op: OpRead}, RemoteRead, offset, n)
}

// Write adds a write of data, which is copied.
func (b *Batch) Write(r *Remote, offset int, data []byte) error {
	w := SendWR{Op: OpWrite}
	if len(data) <= inlineBytes {
		w.Flags = Inline
	}
	to, err := b.add(r, w, RemoteWrite, offset, len(data))
	copy(to, data)
	return err
}

// CompareAndSwap adds an operation that replaces the 8 bytes at offset, which is a multiple of 8, by swap if they are equal to compare. What it
// returns points to their former value when Wait has returned, until Reset. Numbers are in the byte order of this machine.
//
// Only operations of connections are atomic to each other, on all devices; whether they are to the other side's processor depends on its card.
func (b *Batch) CompareAndSwap(r *Remote, offset int, compare, swap uint64) (*uint64, error) {
	return b.atomic(r, SendWR{Op: OpCompareAndSwap, CompareAdd: compare, Swap: swap}, offset)
}

// FetchAdd adds an operation that adds to the 8 bytes at offset; otherwise as CompareAndSwap.
func (b *Batch) FetchAdd(r *Remote, offset int, add uint64) (*uint64, error) {
	return b.atomic(r, SendWR{Op: OpFetchAdd, CompareAdd: add}, offset)
}

func (b *Batch) atomic(r *Remote, w SendWR, offset int) (*uint64, error) {
	if offset%8 != 0 {
		return nil, b.refuse(r, w.Op, offset, 8, fmt.Errorf("%w: atomics are for offsets that are multiples of 8", ErrRange))
	}
	to, err := b.add(r, w, RemoteAtomic, offset, 8)
	if err != nil {
		return nil, err
	}
	return (*uint64)(unsafe.Pointer(&to[0])), nil
}

// Fence lets the operation that is added next begin when reads and atomics before it have ended.
func (b *Batch) Fence() { b.fence = Fence }

var errPosted = errors.New("rdma: the batch was posted: Wait for its end, and Reset it")

// add adds an operation and returns its piece of the batch's memory.
func (b *Batch) add(r *Remote, w SendWR, right Access, offset, n int) ([]byte, error) {
	switch {
	case b.state != batchFilling:
		return nil, errPosted
	case r.i != b.i:
		return nil, b.refuse(r, w.Op, offset, n, ErrForeign)
	case r.rights&right == 0:
		return nil, b.refuse(r, w.Op, offset, n, ErrRights)
	case offset < 0 || n < 1 || n > r.length || offset > r.length-n:
		return nil, b.refuse(r, w.Op, offset, n, fmt.Errorf("%w: it has %d bytes", ErrRange, r.length))
	case len(b.work) == cap(b.work):
		return nil, b.refuse(r, w.Op, offset, n, fmt.Errorf("%w: it is for %d operations", ErrBatchFull, cap(b.work)))
	case n > len(b.mem)-b.used:
		return nil, b.refuse(r, w.Op, offset, n, fmt.Errorf("%w: %d of its %d bytes are in use", ErrBatchFull, b.used, len(b.mem)))
	}
	at := b.used
	b.used += (n + 7) &^ 7
	w.ID, w.NumSGE, w.RemoteAddr, w.RemoteKey = uint64(len(b.work)), 1, r.addr+uint64(offset), r.key
	w.Flags |= b.fence
	w.SGE[0] = b.mr.piece(at, n)
	b.fence = 0
	b.work, b.remotes = append(b.work, w), append(b.remotes, r)
	return b.mem[at : at+n : at+n], nil
}

func (b *Batch) refuse(r *Remote, op Opcode, offset, n int, err error) error {
	return &OpError{Op: op, Region: r.name, Offset: offset, Length: n, Index: len(b.work), Err: err}
}

// Post posts the operations, by one call into C. It refuses them when a lease is over, or is just about to.
func (b *Batch) Post() error {
	if err := b.ready(); err != nil {
		return err
	}
	if _, err := b.i.qp.PostSend(b.work); err != nil {
		b.i.fail(err) // some may be under way, without a completion to come
		return err
	}
	b.begin()
	return nil
}

// ready tells whether the operations can be posted now.
func (b *Batch) ready() error {
	switch {
	case b.i.broken != nil:
		return b.i.broken
	case b.i.batch != nil:
		return ErrUnderWay
	case b.state == batchEnded || len(b.work) == 0:
		return fmt.Errorf("rdma: the batch has nothing to post: Reset it, and add operations")
	}
	now := b.i.now()
	for k, r := range b.remotes {
		if !now.Before(r.until) {
			return b.explain(k, fmt.Errorf("%w: it was good until %v: open it again, or renew it", ErrStale, r.clock()))
		}
	}
	b.work[len(b.work)-1].Flags |= Signaled
	return nil
}

func (b *Batch) begin() {
	b.i.idle = 0
	b.i.batch, b.state, b.failed = b, batchUnderWay, len(b.work)
}

// Wait waits until the operations have ended. The error is an *OpError of the first that failed: those before it succeeded; of those after it,
// nobody knows whether they were carried out. When ctx ends before, the operations are under way still: Wait again, or Close the importer. So they are when the connection
// has ended and the device, which is gone, does not say how they have.
func (b *Batch) Wait(ctx context.Context) error {
	for b.state == batchUnderWay {
		if err := b.i.turn(ctx); err != nil {
			return fmt.Errorf("rdma: %d operations are under way still: %w", len(b.work), err)
		}
	}
	return b.err
}

// Poll takes completions, by one call into C, and tells whether the operations have ended; Wait, which does not block then, has the outcome.
func (b *Batch) Poll() (ended bool, err error) {
	if b.state == batchUnderWay {
		_, err = b.i.poll()
	}
	return b.state != batchUnderWay, err
}

// Do is Post and Wait. What ends soon takes one call into C, posting included.
func (b *Batch) Do(ctx context.Context) error {
	if err := b.ready(); err != nil {
		return err
	}
	n, err := b.i.qp.PostSendSpin(b.work, b.i.cq, b.i.wcs[:], doPolls)
	if err != nil {
		b.i.fail(err)
		return err
	}
	b.begin()
	b.i.took(n)
	return b.Wait(ctx)
}

// doPolls is for how many polls Do stays in C.
const doPolls = 256

// Err is how an operation ended, counted from 0 in the order in which they were added: nil, when it succeeded.
func (b *Batch) Err(index int) error {
	switch {
	case b.state == batchFilling:
		return errors.New("rdma: the batch was not posted")
	case b.state == batchUnderWay:
		return ErrUnderWay
	case index < b.failed:
		return nil
	case index == b.failed:
		return b.err
	}
	return b.explain(index, StatusFlushed)
}

// completed notes the completion of an operation: the last one of the batch, or one that failed.
func (b *Batch) completed(w *WC) {
	k := int(w.ID)
	if w.Status != StatusSuccess && b.err == nil {
		b.failed = k
		err := b.i.broken
		switch w.Status {
		case StatusRemoteAccess: // range and rights are known to be good
			err = fmt.Errorf("%w (it was to be good until %v): %w", ErrStale, b.remotes[k].clock(), err)
		case StatusFlushed:
			err = fmt.Errorf("%w: %w", StatusFlushed, err)
		}
		b.err = b.explain(k, err)
	}
	if k == len(b.work)-1 {
		b.state, b.i.batch = batchEnded, nil
	}
}

func (b *Batch) explain(k int, err error) error {
	w, r := &b.work[k], b.remotes[k]
	return &OpError{Op: w.Op, Region: r.name, Offset: int(w.RemoteAddr - r.addr), Length: int(w.SGE[0].Length), Index: k, Err: err}
}

// Close gives the batch's memory back. It must not be under way.
func (b *Batch) Close() error {
	if b.state == batchUnderWay {
		return ErrUnderWay
	}
	if at := slices.Index(b.i.batches, b); at >= 0 {
		b.i.batches = slices.Delete(b.i.batches, at, at+1)
	}
	return b.release()
}

func (b *Batch) release() error {
	if b.mr.mr == nil {
		return ErrClosed
	}
	err := b.mr.Close()
	if err == nil && b.own {
		err = unix.Munmap(b.mem)
	}
	return err
}

// closeBatches is for when no queue pair can write to their memory any more.
func (i *Importer) closeBatches() error {
	var c closers
	for _, b := range i.batches {
		c.add(b.release)
	}
	i.batches = nil
	return c.close()
}
