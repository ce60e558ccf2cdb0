package session

import (
	"time"

	"github.com/fastrpc/fastrpc/transport"
)

// rtt estimates the round-trip time after RFC 9002, section 5.
type rtt struct {
	any      bool
	latest   time.Duration // of the last packet, the peer's own delay taken off
	queue    time.Duration // of that, what is beyond the least of a packet of its size
	smoothed time.Duration
	variance time.Duration
	least    [2]leastRTT // of small packets, and of large ones
	since    transport.Time
}

// leastRTT is the smallest sample of this period and of the last, because a path can become another; 0 for none. Large packets have one of
// their own: they take longer on every wire, which is no queue, and sixteen senders at one port whose reckoning is 3 µs apart get
// shares that are a quarter apart.
type leastRTT struct{ now, last time.Duration }

const (
	// initialRTT stands until there is a sample (RFC 9002, section 6.2.2, has 333 ms for the Internet).
	initialRTT = 5 * time.Millisecond
	// timeGranularity stands for RFC 9002's kGranularity (1 ms there): a poll-mode link's clock is finer.
	timeGranularity = 100 * time.Microsecond
	// leastPeriod: congestion control empties the queues that it fills many times in such a period, so that each shows the path's own delay.
	leastPeriod = 10 * time.Second
)

// sample takes how long a packet and the acknowledgement of it took, and how much of that the peer says it waited itself.
func (r *rtt) sample(now transport.Time, latest, ackDelay time.Duration, large bool) {
	if now.Sub(r.since) >= leastPeriod {
		for i := range r.least {
			r.least[i] = leastRTT{last: r.least[i].now}
		}
		r.since = now
	}
	l := &r.least[0]
	if large {
		l = &r.least[1]
	}
	if l.now == 0 || latest < l.now {
		l.now = latest
	}
	least := l.now
	if l.last != 0 {
		least = min(least, l.last)
	}
	if latest >= least+ackDelay {
		latest -= ackDelay
	}
	r.latest, r.queue = latest, latest-least
	if !r.any {
		r.any, r.smoothed, r.variance = true, latest, latest/2
		return
	}
	r.variance += (abs(r.smoothed-latest) - r.variance) / 4
	r.smoothed += (latest - r.smoothed) / 8
}

// pto is the probe timeout without backoff.
func (r *rtt) pto(c *Conn) time.Duration {
	if !r.any {
		return max(3*initialRTT, c.e.cfg.MinPTO)
	}
	return max(r.smoothed+max(4*r.variance, timeGranularity)+c.peerAckDelay, c.e.cfg.MinPTO)
}

// lossDelay is the time threshold: so much of the round-trip time, in eighths, a packet may be late (RFC 9002, section 6.1.2).
func (r *rtt) lossDelay(eighths int) time.Duration {
	return max(max(r.smoothed, r.latest)*time.Duration(eighths)/8, timeGranularity)
}

func abs(d time.Duration) time.Duration {
	if d < 0 {
		return -d
	}
	return d
}
