//go:build linux

package conform

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// flow is a stream on its way from one end to another.
type flow struct {
	from, to *end
	socket   int      // which of both ends' sockets
	sent     []packet // what goes into the TX ring
	want     []packet // what must arrive, in this order
	batch    int      // packets put into the ring at a time

	pollTx, pollRx bool                                      // go by poll(2) alone: it tells when, and drives the sending
	check          func(p packet, first unix.XDPDesc) string // of each packet received, beside its bytes; "": well

	out, in int // packets of sent and want that are done
	sharing int // flows that this one shares the receiver with, itself included
	scratch []byte

	helper string // of the receiver's program; that it is not supported ends the row
}

// run moves the flows until all that must arrive has, and all that was sent is completed; then nothing more may come.
func run(t *testing.T, flows ...*flow) {
	t.Helper()
	for _, f := range flows {
		f.sharing = 0
		for _, other := range flows {
			if other.to == f.to {
				f.sharing++
			}
		}
	}
	last := time.Now()
	for {
		moved, done := 0, true
		for _, f := range flows {
			moved += f.send() + f.receive() + f.from.complete()
			done = done && f.done()
		}
		switch {
		case done:
			for _, f := range flows {
				f.end()
			}
			return
		case moved > 0:
			last = time.Now()
		case time.Since(last) > patience:
			for _, f := range flows {
				t.Errorf("nothing moves: %s", f)
			}
			t.FailNow()
		default:
			for _, f := range flows {
				f.askHelper()
			}
			breathe()
		}
	}
}

func (f *flow) done() bool {
	return f.out == len(f.sent) && f.in == len(f.want) && len(f.from.inFlight) == 0
}

func (f *flow) String() string {
	return fmt.Sprintf("%d of %d packets sent, %d of %d received, %d descriptors not completed; sender %+v, receiver %+v", f.out, len(f.sent),
		f.in, len(f.want), len(f.from.inFlight), f.from.stats(), f.to.stats())
}

// end checks what must be so after a flow.
func (f *flow) end() {
	f.to.t.Helper()
	f.to.wake()
	for i := range f.to.sockets {
		if n := f.to.receive(i, func([]byte, unix.XDPDesc) {}); n != 0 {
			f.to.t.Fatalf("socket %d received %d descriptors that nothing was sent for", i, n)
		}
	}
	if got := f.from.stats(); got.TxInvalid != f.from.invalid || got.RingViolations != 0 {
		f.to.t.Fatalf("the sender's counters are %+v; %d descriptors were invalid", got, f.from.invalid)
	}
}

// send puts a batch of packets into the ring, as far as the receiver has chunks for them, and kicks.
func (f *flow) send() (moved int) {
	f.from.t.Helper()
	var descs []unix.XDPDesc
	var chunks []uint64
	for n := 0; n < f.batch && f.out < len(f.sent); n++ {
		p := f.sent[f.out]
		if !f.pace(p) {
			break
		}
		need := max(len(p.descs), (p.bytes+f.from.chunkBytes-1)/f.from.chunkBytes)
		if len(descs)+len(f.from.inFlight)+need > int(f.from.txEntries) || p.descs == nil && need > len(f.from.free) {
			break
		}
		d, c := f.place(p)
		descs, chunks = append(descs, d...), append(chunks, c...)
		f.out++
	}
	if len(descs) == 0 && len(f.from.inFlight) == 0 {
		return 0
	}
	if len(descs) > 0 {
		if n := f.from.put(f.socket, descs, chunks); n != len(descs) {
			f.from.t.Fatalf("the TX ring took %d of %d descriptors, and has room: %s", n, len(descs), f)
		}
	}
	if f.pollTx {
		if f.from.poll(unix.POLLOUT, patience)&unix.POLLOUT == 0 {
			f.from.t.Fatalf("poll does not say that there is room to send: %s", f)
		}
		return len(descs)
	}
	f.from.kick(f.socket)
	return len(descs)
}

// push puts n packets of one descriptor into the ring and returns how many it took; there is no kick.
func (f *flow) push(n int) int {
	var descs []unix.XDPDesc
	var chunks []uint64
	for _, p := range f.sent[f.out : f.out+n] {
		d, c := f.place(p)
		descs, chunks = append(descs, d...), append(chunks, c...)
	}
	took := f.from.put(f.socket, descs, chunks)
	f.from.free = append(f.from.free, chunks[took:]...)
	f.out += took
	return took
}

// askHelper ends the row if the receiver's program reports that a helper is not supported.
func (f *flow) askHelper() {
	if f.helper == "" {
		return
	}
	switch err := f.to.port.answer(f.to.t); {
	case errors.Is(err, unix.EOPNOTSUPP):
		refuse(f.to.t, f.helper, err)
	case err != nil:
		f.to.t.Fatalf("%s: %v", f.helper, err)
	}
}

// window is how many buffers' worth of packets may be on the wire: devices queue 256 (veth's ring, and the least of many drivers), most of
// them in buffers of 2 KiB, and drop what is beyond.
const window = 192

// pace keeps the sender from overrunning the receiver: all packets between the last that came and p must find chunks and room in the RX ring.
func (f *flow) pace(p packet) bool {
	if f.in == len(f.want) {
		return true // nothing of the rest will come
	}
	ahead := p.position + 1
	if f.in > 0 {
		ahead -= f.want[f.in-1].position + 1
	}
	chunks := p.bytes/(f.to.chunkBytes-unix.XDP_PACKET_HEADROOM-f.to.headroom) + 1
	return ahead*chunks <= min(f.to.filled, int(f.to.rxEntries))/f.sharing && ahead*(p.bytes/2048+1) <= max(window/f.sharing, f.batch)
}

// place writes a packet into chunks, or where the row wants it, and returns its descriptors with the chunk of each.
func (f *flow) place(p packet) (descs []unix.XDPDesc, chunks []uint64) {
	f.from.t.Helper()
	descs = p.descs
	for range descs {
		chunks = append(chunks, noChunk)
	}
	for left := p.bytes; p.descs == nil && left > 0; {
		chunk := f.from.free[len(f.from.free)-1]
		f.from.free = f.from.free[:len(f.from.free)-1]
		n := min(left, f.from.chunkBytes)
		descs = append(descs, unix.XDPDesc{Addr: p.at(f.from.umem, chunk), Len: uint32(n), Options: unix.XDP_PKT_CONTD})
		chunks = append(chunks, chunk)
		if left -= n; left == 0 {
			descs[len(descs)-1].Options = 0
		}
	}
	if p.invalid {
		for i := range chunks {
			chunks[i] = refused
		}
		return descs, chunks
	}
	b := f.render(p.bytes, p)
	for _, d := range descs {
		b = b[copy(f.from.bytes(d), b):]
	}
	return descs, chunks
}

func (f *flow) render(size int, p packet) []byte {
	if cap(f.scratch) < size {
		f.scratch = make([]byte, 2*size)
	}
	b := f.scratch[:size]
	p.render(b, header(f.to.port.mac, byte(f.socket)))
	return b
}

// receive takes what is there and compares it with what must come next.
func (f *flow) receive() (moved int) {
	f.to.t.Helper()
	if f.pollRx && f.in < len(f.want) && f.out > f.want[f.in].position {
		if f.to.poll(unix.POLLIN, patience)&unix.POLLIN == 0 {
			f.to.t.Fatalf("poll does not say that a packet is there: %s", f)
		}
	}
	moved = f.to.receive(f.socket, func(b []byte, first unix.XDPDesc) {
		if f.in == len(f.want) {
			f.to.t.Fatalf("a packet too many, of %d bytes: %s", len(b), f)
		}
		p := f.want[f.in]
		want := f.render(p.bytes, p)
		what := compare(b, want)
		if what == "" && f.check != nil {
			what = f.check(p, first)
		}
		if what != "" {
			f.to.t.Fatalf("packet %d: %s\n got %d bytes: % x\nwant %d bytes: % x", f.in, what, len(b), b[:min(len(b), 64)], len(want), want[:min(len(want), 64)])
		}
		f.in++
	})
	f.to.wake()
	return moved
}
