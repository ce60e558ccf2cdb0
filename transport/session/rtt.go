package session

import "time"

// rtt estimates the round-trip time after RFC 9002, section 5.
type rtt struct {
	any      bool
	latest   time.Duration // of the last packet, the peer's own delay taken off
	smoothed time.Duration
	variance time.Duration
	least    time.Duration
}

const (
	// initialRTT stands until there is a sample (RFC 9002, section 6.2.2, has 333 ms for the Internet).
	initialRTT = 5 * time.Millisecond
	// timeGranularity stands for RFC 9002's kGranularity (1 ms there): a poll-mode link's clock is finer.
	timeGranularity = 100 * time.Microsecond
)

func (r *rtt) sample(latest, ackDelay time.Duration) {
	if !r.any {
		r.any, r.latest, r.least, r.smoothed, r.variance = true, latest, latest, latest, latest/2
		return
	}
	r.least = min(r.least, latest)
	if latest >= r.least+ackDelay {
		latest -= ackDelay
	}
	r.latest = latest
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
