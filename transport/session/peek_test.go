package session

// Granted is what an endpoint has granted of long messages and not received, over all sessions, and what it may at most. The sum is counted
// anew from the messages.
func (e *Endpoint) Granted() (bytes, limit int64) {
	for _, c := range e.conns {
		if c == nil {
			continue
		}
		for _, l := range c.arriving {
			bytes += int64(l.granted - l.got)
		}
	}
	return bytes, e.credit.limit
}

// SmallItems tells whether the log of sent packets says of each small message that it was sent in one piece.
func (c *Conn) SmallItems() bool {
	for i := c.sent.firstItem(); i != c.sent.nextItem; i++ {
		if it := c.sent.item(i); it.out != nil && it.out.epoch == it.epoch && it.out.long == nil && it.offset|it.length != 0 {
			return false
		}
	}
	return true
}

// Window is how many packets the session may have on their way now.
func (c *Conn) Window() int { return c.cwnd }

// PacketThreshold is how many packets later than its successors one may be.
func (c *Conn) PacketThreshold() int { return int(c.packetThreshold) }
