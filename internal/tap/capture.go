package tap

import (
	"encoding/json"
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Options say what to capture.
type Options struct {
	Snap  int // bytes of a packet to keep; 0: all
	Bytes int // of the buffer of a queue; rounded up to a power of two, at least 64 KiB, at most MaxBytes
}

// MaxBytes is the size of the largest buffer of a queue.
const MaxBytes = 64 << 20

// Packet is one packet as it was on a queue's ring.
type Packet struct {
	Time      int64 // ns since 1970, when its burst was received or sent
	Queue     int   // index into Capture.Queues
	Direction Direction
	Length    int    // bytes, as it was
	Data      []byte // what was kept of it; until the next packet is read
}

// Capture reads a process's packets. It belongs to one goroutine.
type Capture struct {
	Queues  []Queue // without their Points
	process *Process
	memory  memory
	readers []reader
	snap    int
}

// Capture begins a capture, after which the Process is good for nothing else. The Process's Close does not end it, but the Capture's does both.
func (p *Process) Capture(o Options) (*Capture, error) {
	r, fds, err := p.ask(request{Version: version, Op: opCapture, Snap: o.Snap, Bytes: o.Bytes})
	if err != nil {
		return nil, err
	}
	m, err := mapMemory(len(r.Queues), r.RingBytes, fds)
	if err = errors.Join(err, closeAll(fds)); err != nil {
		return nil, fmt.Errorf("%v: %w", p, err)
	}
	c := &Capture{Queues: r.Queues, process: p, memory: m, readers: make([]reader, len(r.Queues)), snap: maxFrame}
	if o.Snap > 0 {
		c.snap = o.Snap
	}
	for i := range c.readers {
		c.readers[i] = reader{queue: i, data: m.data(i), control: m.control(i), position: m.position(i)}
	}
	return c, nil
}

// Ended tells whether the process has ended or closed the interface. What it wrote before can still be read.
func (c *Capture) Ended() bool { return c.process.conn.gone() }

// Stop ends the writing, in an orderly way: when it returns, all that was written can be read, and Dropped is final. A process that does not
// answer is waited for some seconds.
func (c *Capture) Stop() {
	_ = unix.Shutdown(c.process.conn.fd, unix.SHUT_WR)
	var nothing json.RawMessage
	fds, _ := c.process.conn.receive(&nothing) // the end, or the answer to something that was not asked
	_ = closeAll(fds)
}

// Dropped is how many packets of a queue found its buffer full.
func (c *Capture) Dropped(queue int) uint64 { return c.memory.control(queue).dropped.Load() }

// Close ends the capture and the connection.
func (c *Capture) Close() error { return errors.Join(c.memory.unmap(), c.process.Close()) }

// ErrCorrupt is what Next returns when a ring holds what no Server writes.
var ErrCorrupt = errors.New("tap: the memory of the capture is corrupt; restart the process that is captured")

// Look takes notice of what was written until now, which is what Next and Stamp then tell of: there is an end to that, however fast the process
// writes.
func (c *Capture) Look() error {
	for i := range c.readers {
		if err := c.readers[i].update(); err != nil {
			return err
		}
	}
	return nil
}

// Next reads the packet with the earliest stamp, if that is before until; false when there is none. A burst that is being written is not
// seen, so an until somewhat before now keeps the order over the queues. The packets of a queue come in its own order, always.
func (c *Capture) Next(p *Packet, until int64) (bool, error) {
	for {
		first, err := c.first()
		if err != nil || first == nil || first.next.stamp >= until {
			return false, err
		}
		whole, err := first.read(p)
		if whole || err != nil {
			p.Data = p.Data[:min(len(p.Data), c.snap)] // of several frames, each may have been cut to it
			return whole, err
		}
	}
}

// Stamp is that of the packet that Next would read; false when there is none.
func (c *Capture) Stamp() (int64, bool, error) {
	first, err := c.first()
	if err != nil || first == nil {
		return 0, false, err
	}
	return first.next.stamp, true, nil
}

// first is the reader whose next record is the earliest.
func (c *Capture) first() (first *reader, err error) {
	for i := range c.readers {
		r := &c.readers[i]
		if err := r.look(); err != nil {
			return nil, err
		}
		if r.ready && (first == nil || r.next.stamp < first.next.stamp) {
			first = r
		}
	}
	return first, nil
}

// reader is the reading end of a ring.
type reader struct {
	queue    int
	data     []byte
	control  *control
	position *position

	head, tail uint64 // head: the writer's position at the last update
	ready      bool   // next is there
	next       record
	partial    [2]partial // by direction: packets of several frames, of which more is to come
}

// partial is what there is of a packet.
type partial struct {
	any    bool
	cut    bool // something was left out, so that what follows does not fit on
	length int
	data   []byte
}

// update asks for the writer's position, which only grows.
func (r *reader) update() error {
	head := r.control.head.Load()
	if head-r.tail > uint64(len(r.data)) || head-r.tail < r.head-r.tail || head%recordBytes != 0 {
		return ErrCorrupt
	}
	r.head = head
	return nil
}

// look finds the next record. It is copied before it is checked, because the writer's memory can change at any time.
func (r *reader) look() error {
	if r.ready || r.head == r.tail {
		return nil
	}
	r.next = *(*record)(unsafe.Pointer(&r.data[r.tail&(uint64(len(r.data))-1)]))
	if r.next.bytes() > r.head-r.tail || r.next.flags&^flagsUsed != 0 || uint32(r.next.kept) > r.next.length || r.next.length > maxFrame {
		return ErrCorrupt
	}
	r.ready = true
	return nil
}

const maxFrame = 1 << 24 // bytes; what is longer is no frame

// bytes is what the record takes in the ring.
func (rec *record) bytes() uint64 {
	return recordBytes + (uint64(rec.kept)+recordBytes-1)&^(recordBytes-1)
}

// read takes the next record; true when a packet is whole with it.
func (r *reader) read(p *Packet) (whole bool, err error) {
	rec, size := r.next, uint64(len(r.data))
	d := Direction(rec.flags & flagOut)
	part := &r.partial[d]
	if first := rec.flags&flagRest == 0; first {
		*part = partial{any: true, data: part.data[:0]} // the rest of the one before it, if there is any, was lost
	}
	if part.any {
		if part.length += int(rec.length); part.length > maxFrame {
			return false, ErrCorrupt
		}
		if !part.cut {
			at, kept := (r.tail+recordBytes)&(size-1), uint64(rec.kept)
			part.data = append(part.data, r.data[at:min(at+kept, size)]...)
			if over := at + kept; over > size {
				part.data = append(part.data, r.data[:over-size]...)
			}
		}
		part.cut = part.cut || uint32(rec.kept) < rec.length
	}
	r.tail += rec.bytes()
	r.ready = false
	r.position.tail.Store(r.tail)
	if !part.any || rec.flags&flagMore != 0 {
		return false, nil
	}
	part.any = false
	*p = Packet{Time: rec.stamp, Queue: r.queue, Direction: d, Length: part.length, Data: part.data}
	return true, nil
}
