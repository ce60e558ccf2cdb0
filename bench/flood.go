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
	"github.com/fastrpc/fastrpc/internal/netpath"
)

// The flood is what the bare ring carries one way: the client sends as fast as it can, one kick a burst; the server counts what arrives and
// gives the chunks back to the kernel. The client asks for the count before and after, with packets in the same queue, which are told by
// their length.
//
//	question: number
//	answer:   number, packets counted, the server's clock in nanoseconds
//
// With workload rate a packet has the payload of a call, with workload bulk all that the interface takes.

// floodBytes is the payload of a packet.
func (s *ringSocket) floodBytes(e *Endpoint) int {
	if e.Workload == Bulk {
		return min(netpath.MaxPayload(s.link.Attrs().MTU, false), netpath.MaxPayload(1500, false))
	}
	return e.Size
}

// questionBytes is the payload of a question, and of its answer: not that of the flood's packets.
func questionBytes(flood int) int {
	if flood == 24 {
		return 32
	}
	return 24
}

const floodHeader = netpath.EthernetBytes + netpath.IPv4Bytes + netpath.UDPBytes

// flooded is the server.
type flooded struct {
	*ringSocket
	question uint32 // length of a question's frame
	packets  uint64
	message  *message // that the packets are copied to; nil: they are not
}

func serveFlood(ctx context.Context, e Endpoint, m *message, ready func(Ready)) error {
	s, err := openRing(e.Interface, ringServerPort, floodSize)
	if err != nil {
		return err
	}
	f := &flooded{ringSocket: s, question: uint32(floodHeader + questionBytes(s.floodBytes(&e))), message: m}
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
		if d.Len == f.question {
			if err := f.answer(d, stop); err != nil {
				return err
			}
			continue
		}
		f.packets++
		if f.message != nil {
			p := f.umem.Data(d)[floodHeader:]
			copy(f.message.next(len(p)), p)
		}
		f.addrs[back] = d.Addr
		back++
	}
	f.sock.Fill(f.addrs[:back])
	return f.sock.WakeFill()
}

// answer sends a question back from where it lies, and its chunk to the kernel once it has left.
func (f *flooded) answer(d unix.XDPDesc, stop *atomic.Bool) error {
	p := f.umem.Data(d)
	turnAround(p)
	binary.LittleEndian.PutUint64(p[floodHeader+8:], f.packets)
	binary.LittleEndian.PutUint64(p[floodHeader+16:], uint64(time.Since(processStart)))
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

var processStart = time.Now()

// floodCaller is the client.
type floodCaller struct {
	*ringSocket
	free     []uint64 // chunks to send from, their headers in place
	ask      uint64   // the chunk of questions; never in free
	frame    uint32   // bytes of a packet of the flood
	question uint32   // bytes of a question's
	number   uint64   // of the last question
	bulk     bool
	message  *message    // that the packets are copied from; nil: they stay as they are
	stop     atomic.Bool // never set: time limits end what does not end
}

func connectFlood(e Endpoint) (*floodCaller, error) {
	s, err := openRing(e.Interface, ringClientPort, floodSize)
	if err != nil {
		return nil, err
	}
	header, err := s.header(e)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	flood := s.floodBytes(&e)
	question := questionBytes(flood)
	c := &floodCaller{ringSocket: s, frame: uint32(floodHeader + flood), question: uint32(floodHeader + question), bulk: e.Workload == Bulk}
	c.free = s.prepare(floodSize, &header, flood)
	c.ask, c.free = c.free[0], c.free[1:]
	header.Put(s.umem.Chunk(c.ask)[:floodHeader+question], 0)
	return c, nil
}

func (c *floodCaller) Call([]byte) error { return errors.New("a flood makes no calls") }

// flood sends for d. What counts is what the server received, by the server's clock.
func (c *floodCaller) flood(d time.Duration) (r Round, err error) {
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
	if c.bulk {
		r.setBits(r.Ops * int64(c.frame-floodHeader))
	}
	return r, nil
}

// burst sends as many packets as there are chunks for. What the kernel drops for want of room at the receiver is lost, as in any flood.
func (c *floodCaller) burst() error {
	c.takeBack()
	n := min(len(c.free), ringBurst)
	left := len(c.free) - n
	for i, addr := range c.free[left:] {
		c.descs[i] = unix.XDPDesc{Addr: addr, Len: c.frame}
		if c.message != nil {
			p := c.umem.Chunk(addr)[floodHeader:c.frame]
			copy(p, c.message.next(len(p)))
		}
	}
	sent := c.sock.Transmit(c.descs[:n])
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
			if addr != c.ask {
				c.free = append(c.free, addr)
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
		binary.LittleEndian.PutUint64(c.umem.Chunk(c.ask)[floodHeader:], c.number)
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
		if p := c.umem.Data(d); d.Len == c.question && binary.LittleEndian.Uint64(p[floodHeader:]) == c.number {
			packets, at, ok = binary.LittleEndian.Uint64(p[floodHeader+8:]), time.Duration(binary.LittleEndian.Uint64(p[floodHeader+16:])), true
		}
	}
	if n > 0 {
		c.sock.Fill(c.addrs[:n])
		_ = c.sock.WakeFill() // an error shows with the next packet sent
	}
	return packets, at, ok
}
