package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/afxdp"
	"github.com/fastrpc/fastrpc/bench/result"
	"github.com/fastrpc/fastrpc/internal/netpath"
)

// The flood is what the bare ring carries one way: the client sends as fast as it can, one kick a burst; the server counts what arrives and
// gives the chunks back to the kernel. The client asks for the count before and after, with packets in the same queue, which are told by
// their length.
//
//	question: number
//	answer:   number, packets counted, the server's clock in nanoseconds
//
// With workload rate a packet has the payload of a call, with workload bulk all that the interface takes; with workload flood the size is that
// of the IP packet.

// FloodBytes is the payload of a flood's packet over an interface of that MTU.
func FloodBytes(e *Endpoint, mtu int) int {
	switch e.Workload {
	case Bulk:
		return netpath.MaxPayload(mtu, false)
	case Flood:
		return netpath.MaxPayload(e.Size, false)
	}
	return e.Size
}

// floodHeader is what stands in front of a packet's payload.
const floodHeader = netpath.EthernetBytes + netpath.IPv4Bytes + netpath.UDPBytes

// QuestionBytes is the frame of a question, and of its answer, in a flood of packets with so much payload: not as long as theirs.
func QuestionBytes(payload int) int {
	if payload == 24 {
		return floodHeader + 32
	}
	return floodHeader + 24
}

// PutQuestion makes a frame with headers a question.
func PutQuestion(frame []byte, number uint64) {
	binary.LittleEndian.PutUint64(frame[floodHeader:], number)
}

// Answer makes the answer to a question of it, to be sent back as it is.
func Answer(frame []byte, packets uint64) {
	TurnAround(frame)
	binary.LittleEndian.PutUint64(frame[floodHeader+8:], packets)
	binary.LittleEndian.PutUint64(frame[floodHeader+16:], uint64(time.Since(processStart)))
}

// ReadAnswer reads the answer to question number; false if the frame, of QuestionBytes, is none.
func ReadAnswer(frame []byte, number uint64) (packets uint64, at time.Duration, ok bool) {
	if binary.LittleEndian.Uint64(frame[floodHeader:]) != number {
		return 0, 0, false
	}
	return binary.LittleEndian.Uint64(frame[floodHeader+8:]), time.Duration(binary.LittleEndian.Uint64(frame[floodHeader+16:])), true
}

// flooded is the server.
type flooded struct {
	*ringSocket
	question uint32 // length of a question's frame
	packets  uint64
	inside   bool     // a packet has more parts to come
	message  *message // that the packets are copied to; nil: they are not
}

func serveFlood(ctx context.Context, e Endpoint, m *message, ready func(Ready)) error {
	s, err := openRing(&e, RingServerPort, floodSize)
	if err != nil {
		return err
	}
	f := &flooded{ringSocket: s, question: uint32(QuestionBytes(s.payload)), message: m}
	return s.serve(ctx, e, ready, f.turn)
}

// turn counts what is there next.
func (f *flooded) turn(stop *atomic.Bool) error {
	n, err := f.receive(stop, 0)
	if err != nil {
		return err
	}
	back := 0 // chunks that go back at once
	for _, d := range f.descs[:n] {
		if f.take(d) {
			if err := f.answer(d, stop); err != nil {
				return err
			}
			continue
		}
		f.addrs[back] = d.Addr
		back++
	}
	f.sock.Fill(f.addrs[:back])
	return f.sock.WakeFill()
}

// take counts a packet with its last part, and copies what each part has of its payload; true: it is a question, which does neither.
func (f *flooded) take(d unix.XDPDesc) (question bool) {
	more := d.Options&unix.XDP_PKT_CONTD != 0
	header := floodHeader
	if f.inside {
		header = 0
	}
	if d.Len == f.question && !f.inside && !more {
		return true
	}
	if f.inside = more; !more {
		f.packets++
	}
	if f.message != nil {
		p := f.umem.Data(d)[header:]
		copy(f.message.next(len(p)), p)
	}
	return false
}

// answer sends a question back from where it lies, and its chunk to the kernel once it has left.
func (f *flooded) answer(d unix.XDPDesc, stop *atomic.Bool) error {
	Answer(f.umem.Data(d), f.packets)
	if f.sock.Transmit([]unix.XDPDesc{d}) != 1 {
		return errors.New("the TX ring has no room for an answer")
	}
	if err := f.kick(stop); err != nil {
		return err
	}
	var done [1]uint64
	for idle := (idler{stop: stop, limit: callLimit, every: 1}); f.sock.Complete(done[:]) == 0; {
		if err := idle.turn(); err != nil {
			return err
		}
	}
	f.sock.Fill(done[:])
	return nil
}

// floodCaller is the client.
type floodCaller struct {
	*ringSocket
	free     []uint64 // chunks to send from, their headers in place
	ask      uint64   // the chunk of questions; never in free
	frame    uint32   // bytes of a packet of the flood
	question uint32   // bytes of a question's
	number   uint64   // of the last question
	workload string
	message  *message    // that the packets are copied from; nil: they stay as they are
	stop     atomic.Bool // never set: time limits end what does not end
}

func connectFlood(e Endpoint) (*floodCaller, error) {
	s, err := openRing(&e, RingClientPort, floodSize)
	if err != nil {
		return nil, err
	}
	header, err := HeaderOf(&e, s.link.Attrs().HardwareAddr)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	question := QuestionBytes(s.payload)
	c := &floodCaller{ringSocket: s, frame: uint32(floodHeader + s.payload), question: uint32(question), workload: e.Workload}
	c.free = s.prepare(&header)
	c.ask, c.free = c.free[0], c.free[1:]
	header.Put(s.umem.Chunk(c.ask)[:question], 0)
	return c, nil
}

func (c *floodCaller) Call([]byte) error { return errors.New("a flood makes no calls") }

// Measure sends for d. What counts is what the server received, by the server's clock.
func (c *floodCaller) Measure(_ int, d time.Duration, _ *Recorder) (r result.Round, err error) {
	packets, at, err := c.count()
	if err != nil {
		return r, err
	}
	for begin := time.Now(); time.Since(begin) < d; {
		if err := c.burst(); err != nil {
			return r, err
		}
	}
	after, end, err := c.count()
	if err != nil {
		return r, err
	}
	r.Ops, r.Seconds = int64(after-packets), (end - at).Seconds()
	r.PerSec = perSecond(r.Ops, end-at)
	switch c.workload {
	case Bulk:
		r.SetBits(r.Ops * int64(c.payload))
	case Flood:
		r.SetBits(r.Ops * int64(c.frame-netpath.EthernetBytes))
	}
	return r, nil
}

// burst sends as many packets as there are chunks for. What the kernel drops for want of room at the receiver is lost, as in any flood.
func (c *floodCaller) burst() error {
	c.takeBack()
	n := min(len(c.free), ringBurst/c.parts)
	left := len(c.free) - n
	descs := c.descs[:0]
	for _, addr := range c.free[left:] {
		descs = c.describe(descs, addr, c.frame)
		if c.message != nil {
			p := c.umem.Bytes()[addr+floodHeader : addr+uint64(c.frame)]
			copy(p, c.message.next(len(p)))
		}
	}
	sent := c.sock.Transmit(descs) / c.parts // all or none of a packet
	c.free = append(c.free[:left], c.free[left+sent:]...)
	if err := c.sock.Kick(); err != nil && !errors.Is(err, afxdp.ErrRetry) {
		return err
	}
	return nil
}

// takeBack takes the chunks of packets that have left.
func (c *floodCaller) takeBack() {
	for n := ringBurst; n == ringBurst; {
		n = c.sock.Complete(c.addrs[:])
		for _, addr := range c.addrs[:n] {
			if addr != c.ask && c.isLast(addr) {
				c.free = append(c.free, c.packetOf(addr))
			}
		}
	}
}

// askAgain is when a question counts as lost: the flood may have filled the receiver's queue.
const askAgain = 5 * time.Millisecond

// count asks the server for its count.
func (c *floodCaller) count() (packets uint64, at time.Duration, err error) {
	for begin := time.Now(); time.Since(begin) < callLimit; {
		c.number++
		PutQuestion(c.umem.Chunk(c.ask), c.number)
		if c.sock.Transmit([]unix.XDPDesc{{Addr: c.ask, Len: c.question}}) == 1 {
			if err := c.kick(&c.stop); err != nil {
				return 0, 0, err
			}
		}
		for asked := time.Now(); time.Since(asked) < askAgain; {
			c.takeBack()
			if packets, at, ok := c.answered(); ok {
				return packets, at, nil
			}
		}
	}
	return 0, 0, fmt.Errorf("the server does not answer for its count within %v", callLimit)
}

// answered looks for the answer to the last question.
func (c *floodCaller) answered() (packets uint64, at time.Duration, ok bool) {
	n := c.sock.Receive(c.descs[:])
	for i, d := range c.descs[:n] {
		c.addrs[i] = d.Addr
		if d.Len == c.question && !ok {
			packets, at, ok = ReadAnswer(c.umem.Data(d), c.number)
		}
	}
	if n > 0 {
		c.sock.Fill(c.addrs[:n])
		_ = c.sock.WakeFill() // an error shows with the next packet sent
	}
	return packets, at, ok
}
