package session

import (
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/wire"
)

func TestRTT(t *testing.T) {
	const ms = time.Millisecond
	var r rtt
	for i, x := range []struct{ latest, ackDelay, smoothed, variance time.Duration }{
		{8 * ms, 5 * ms, 8 * ms, 4 * ms},                   // the first sample stands as it is (RFC 9002, section 5.3)
		{8 * ms, 0, 8 * ms, 3 * ms},                        // variance 3/4·4
		{16 * ms, 8 * ms, 8 * ms, 2250 * time.Microsecond}, // 16 less the peer's delay of 8 is 8
		{16 * ms, 9 * ms, 9 * ms, 3687500},                 // a delay that would go below the least is not believed
		{1 * ms, 1 * ms, 8 * ms, 4765625},                  // a new least
	} {
		r.sample(1, x.latest, x.ackDelay, false)
		if r.smoothed != x.smoothed || r.variance != x.variance {
			t.Errorf("sample %d: smoothed %v, variance %v; want %v, %v", i, r.smoothed, r.variance, x.smoothed, x.variance)
		}
	}
	if r.least[0].now != 1*ms {
		t.Errorf("least %v", r.least)
	}
}

func TestProbeTimeoutBounds(t *testing.T) {
	e := testEndpoint()
	c := &Conn{e: e, peerAckDelay: 200 * time.Microsecond}
	if got := c.rtt.pto(c); got != 3*initialRTT {
		t.Errorf("before any sample %v", got)
	}
	c.rtt.sample(1, 10*time.Microsecond, 0, false)
	if got := c.rtt.pto(c); got != e.cfg.MinPTO {
		t.Errorf("at 10 µs %v, want the least, %v", got, e.cfg.MinPTO)
	}
	c.rtt = rtt{}
	c.rtt.sample(1, 10*time.Millisecond, 0, false)
	if got, want := c.rtt.pto(c), 10*time.Millisecond+4*5*time.Millisecond+200*time.Microsecond; got != want {
		t.Errorf("at 10 ms %v, want %v", got, want)
	}
	if got, want := c.rtt.lossDelay(timeThreshold), 11250*time.Microsecond; got != want {
		t.Errorf("time threshold %v, want %v", got, want)
	}
}

// noFrames is a link without buffers.
type noFrames struct{}

func (noFrames) Caps() transport.Caps        { return transport.Caps{Frames: 1, FrameBytes: 2048, Burst: 1} }
func (noFrames) Alloc(*transport.Frame) bool { return false }
func (noFrames) Free([]transport.Frame)      {}

func testEndpoint() *Endpoint { return New(noFrames{}, Config{}) }

// sender is a session that has sent packets 0 to n-1, one a millisecond, all of which ask for an acknowledgement.
func sender(n int) (*Conn, transport.Time) {
	e := testEndpoint()
	c := e.newConn(transport.Path{}, true, 1)
	c.state = established
	now := transport.Time(time.Second)
	for range n {
		c.sent.push(c, now, 100, 0, true, true)
		now = now.Add(time.Millisecond)
	}
	return c, now
}

func (c *Conn) outstandingPackets() (ns []uint64) {
	for n := c.sent.base; n < c.sent.next; n++ {
		if c.sent.at(n).state == flying {
			ns = append(ns, n)
		}
	}
	return ns
}

func TestPacketThreshold(t *testing.T) {
	for lag := range uint64(5) {
		c, now := sender(10)
		c.rtt.sample(1, time.Hour, 0, false) // no time threshold
		c.handleAck(now, &wire.DataHeader{AckLargest: uint32(5 + lag), AckBits: 0})
		lost := true
		for _, n := range c.outstandingPackets() {
			lost = lost && n != 5
		}
		if want := lag == 0 || lag >= packetThreshold; lost != want {
			t.Errorf("packet 5 is settled after the acknowledgement of %d: %v", 5+lag, lost)
		}
	}
}

// TestStaleAckForgetsNoSuspicion: acknowledgements may arrive out of order. An older one must not disarm what a newer one made suspicious.
func TestStaleAckForgetsNoSuspicion(t *testing.T) {
	c, now := sender(3)
	c.rtt.sample(1, 50*time.Millisecond, 0, false)
	if !c.handleAck(now, &wire.DataHeader{AckLargest: 2}) || c.lossAt == 0 {
		t.Fatal("packets 0 and 1 are not suspected")
	}
	c.handleAck(now, &wire.DataHeader{AckLargest: 0})
	if c.lossAt == 0 {
		t.Error("packet 1 is no longer suspected")
	}
	c.detectLost(c.lossAt)
	if left := c.outstandingPackets(); len(left) != 0 {
		t.Errorf("packets %v wait for ever", left)
	}
}

func TestAckOfWhatWasNeverSent(t *testing.T) {
	c, now := sender(3)
	for _, n := range []uint32{3, 4, 1 << 30} {
		if c.handleAck(now, &wire.DataHeader{AckLargest: n, AckBits: 1<<64 - 1}) {
			t.Errorf("the acknowledgement of packet %d was taken", n)
		}
	}
	if n := c.sent.flying; n != 3 {
		t.Errorf("%d packets outstanding, want 3", n)
	}
}

// TestSentLogIsBounded: a peer that acknowledges nothing makes the log neither grow for ever nor forget to count.
func TestSentLogIsBounded(t *testing.T) {
	c, _ := sender(3 * sentRingMax)
	if len(c.sent.ring) != sentRingMax || c.sent.flying != sentRingMax || len(c.outstandingPackets()) != sentRingMax {
		t.Errorf("a ring of %d with %d packets", len(c.sent.ring), c.sent.flying)
	}
}
