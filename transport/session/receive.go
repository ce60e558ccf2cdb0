package session

import (
	"time"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// handleData takes a data packet of this session.
func (c *Conn) handleData(now transport.Time, f *transport.Frame) {
	e := c.e
	var h wire.DataHeader
	if !h.Parse(f.Data) || c.state == connecting {
		e.stats.Malformed++
		return
	}
	elsewhere := f.Path.RemotePort != c.path.RemotePort || f.Path.RemoteIP != c.path.RemoteIP
	if elsewhere && c.client {
		e.stats.WrongPath++
		return
	}
	if !e.sound(f.Data) {
		e.stats.Corrupt++
		return
	}
	body := f.Data[:len(f.Data)-wire.ChecksumBytes]
	number := wire.Expand(h.Number, c.window.expected())
	if c.window.seen(number) {
		e.stats.Duplicates++
		c.ackNow = true // the peer may have lost the acknowledgement
		c.enqueue()
		return
	}
	if elsewhere && !c.moved(now, f, body[wire.DataHeaderBytes:]) {
		return
	}
	acks := h.Flags&wire.FlagAck != 0
	if acks && wire.Expand(h.AckLargest, c.sent.next) >= c.sent.next { // of a packet that was never sent
		e.stats.Malformed++
		return
	}
	c.heard(now)
	if f.ECN == congestionExperienced {
		c.marked = true
	}
	if !c.client {
		c.owd.sample(now, f.Stamp, h.Stamp) // for the deadlines of requests
	}
	urgent, elicits, ok := c.handleFrames(now, f, body[wire.DataHeaderBytes:], h.Stamp)
	if c.state == closed {
		return
	}
	if acks { // after the frames: a reply has settled its request
		c.handleAck(now, &h)
	}
	if ok {
		c.window.record(number, f.Stamp)
		if h.Flags&wire.FlagAckNow != 0 {
			c.ackNow = true
		} else {
			c.scheduleAck(now, urgent, elicits)
		}
	}
	if !c.inReady && c.waits() && c.more(now) {
		c.enqueue()
	}
	c.rest()
}

// sound tells whether a data packet arrived as it was sent. A reliable link sees to that itself: both ends leave the checksum out.
func (e *Endpoint) sound(packet []byte) bool {
	if e.caps.Reliable {
		return true
	}
	_, ok := wire.Verify(packet)
	return ok
}

// Codepoints of RFC 3168, section 5.
const (
	ecnCapable            = 2 // the sender understands marks
	congestionExperienced = 3
)

// heard notes a sign of life. It comes before the packet's frames, so that the owner learns of a session before its first request.
func (c *Conn) heard(now transport.Time) {
	c.heardAt = now
	c.peer.heard(c.e, now)
	if c.away {
		c.reconnected()
	}
	if c.halfOpen {
		c.e.opened(c)
		c.e.wheel.remove(&c.idle) // a second later it would only find that the session is open
		c.e.wheel.arm(&c.idle, now.Add(c.lifetime()))
		c.closePredecessors(now)
		c.e.emit(SessionOpened, c, nil, nil)
	}
}

// So many packets at most go unacknowledged, of those whose sender waits and of the others: the acknowledgement's bitmap can tell of 64.
const (
	ackEvery     = 8
	lazyAckEvery = 32
)

// armAcks gives the acknowledgements that were put off, and that no answer has carried meanwhile, their timers.
func (e *Endpoint) armAcks() {
	for i, c := range e.acking {
		c.acking, e.acking[i] = false, nil
		if c.ackAt != 0 && c.state == established {
			e.wheel.arm(&c.timer, c.ackAt)
		}
	}
	e.acking = e.acking[:0]
}

func (c *Conn) scheduleAck(now transport.Time, urgent, elicits bool) {
	if !elicits {
		return
	}
	delay, every := c.e.cfg.LazyAckDelay, lazyAckEvery
	if urgent && !c.e.caps.Reliable { // there nobody repeats what is not acknowledged
		delay, every = c.e.cfg.AckDelay, ackEvery
	}
	c.unacked++
	if c.unacked >= every {
		c.ackNow = true
		c.enqueue()
		return
	}
	if at := now.Add(delay); c.ackAt == 0 || at < c.ackAt {
		c.ackAt = at
		if !c.acking { // mostly the answer carries it, before this turn ends
			c.acking = true
			c.e.acking = append(c.e.acking, c)
		}
	}
}

// handleFrames takes the frames of a verified packet. urgent: the peer waits for the acknowledgement; ok false: the packet has to count as
// not received.
func (c *Conn) handleFrames(now transport.Time, f *transport.Frame, b []byte, stamp uint32) (urgent, elicits, ok bool) {
	var fr wire.Frame
	ok = true
	for len(b) > 0 {
		var whole bool
		if b, whole = fr.Next(b); !whole {
			c.e.stats.Malformed++
			return urgent, elicits, false
		}
		elicits = true
		took := true
		switch {
		case fr.Type == wire.Request && !c.client:
			urgent = true
			took = c.handleRequest(now, f, &fr, stamp)
		case fr.Type == wire.Reply && c.client:
			urgent = urgent || fr.Flags&wire.FlagMore != 0
			took = c.handleReply(now, f, &fr)
		case fr.Type == wire.Fragment && fr.Flags&wire.FlagRemote != 0:
			urgent = true
			took = c.handleRemote(f, &fr)
		case fr.Type == wire.Fragment && fr.Flags&wire.FlagStream != 0:
			urgent = true
			took = c.handleMessagePart(now, f, &fr)
		case fr.Type == wire.Fragment && c.client:
			urgent = true
			took = c.handleReplyPart(now, f, &fr)
		case fr.Type == wire.Fragment:
			urgent = true
			took = c.handleRequestPart(now, f, &fr)
		case fr.Type == wire.Probe && !c.client:
			urgent = true
			c.handleProbe(fr.Call)
		case fr.Type == wire.Cancel:
			c.handleCancel(fr.Call, Code(fr.A))
		case fr.Type == wire.Grant:
			c.handleGrant(&fr)
		case fr.Type == wire.Message:
			urgent = true
			took = c.handleMessage(now, f, &fr)
		case fr.Type == wire.End && !c.client:
			urgent = true
			took = c.handleEnd(&fr)
		case fr.Type == wire.Window:
			took = c.handleWindow(&fr)
		case fr.Type == wire.Challenge && c.client:
			c.handleChallenge(&fr)
		case fr.Type == wire.Response && !c.client: // it was looked at when it came from elsewhere
		case fr.Type == wire.Fetched:
			c.handleFetched(now, &fr)
		case fr.Type == wire.Ping:
			c.ackNow = true
			c.enqueue()
		case fr.Type == wire.Close:
			c.handleClose(now, &fr)
			return false, false, false
		default:
			c.e.stats.Malformed++
			took = false
		}
		ok = ok && took
		if c.state == closed {
			return false, false, false
		}
	}
	return urgent, elicits, ok
}

// receiveWindow remembers which packets were received: the largest number, and the 64 below it. What is older counts as received, so that
// nothing is taken twice.
type receiveWindow struct {
	any     bool
	largest uint64
	bits    uint64 // bit i: largest-1-i
	at      transport.Time
}

func (w *receiveWindow) expected() uint64 {
	if !w.any {
		return 0
	}
	return w.largest + 1
}

func (w *receiveWindow) seen(n uint64) bool {
	if !w.any || n > w.largest {
		return false
	}
	back := w.largest - n
	return back == 0 || back > 64 || w.bits&(1<<(back-1)) != 0
}

func (w *receiveWindow) record(n uint64, at transport.Time) {
	switch {
	case !w.any:
		w.any, w.largest, w.at = true, n, at
	case n > w.largest:
		shift := n - w.largest
		if shift <= 64 {
			w.bits = w.bits<<shift | 1<<(shift-1) // a shift of 64 leaves only the old largest
		} else {
			w.bits = 0
		}
		w.largest, w.at = n, at
	default:
		w.bits |= 1 << (w.largest - n - 1)
	}
}

// oneWay finds how long packets wait in queues: the difference between the two ends' clocks at receiving and sending, less the least seen
// lately. The least is taken over 10 to 20 s, because the clocks drift.
type oneWay struct {
	any       bool
	least     int32 // µs, of this and the last period
	lastLeast int32
	base      uint32 // a difference, so that the others are small numbers around it
	since     transport.Time
}

const owdPeriod = 10 * time.Second

func (o *oneWay) sample(now, received transport.Time, stamp uint32) {
	diff := micros(received) - stamp
	if !o.any {
		*o = oneWay{any: true, base: diff, since: now}
		return
	}
	d := int32(diff - o.base)
	if now.Sub(o.since) >= owdPeriod {
		o.lastLeast, o.least, o.since = o.least, d, now
	}
	o.least = min(o.least, d)
}

// queued is how long a packet waited on its way.
func (o *oneWay) queued(received transport.Time, stamp uint32) time.Duration {
	if !o.any {
		return 0
	}
	d := int32(micros(received) - stamp - o.base)
	return time.Duration(max(d-min(o.least, o.lastLeast), 0)) * time.Microsecond
}
