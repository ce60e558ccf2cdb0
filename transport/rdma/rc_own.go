//go:build rdma

package rdma

// Where a device has no shared receive queues, each queue pair has rcOwn receives of its own. Connections take frames for them in shares that lie
// ready, so that their goroutines can, and refill them from those that nobody has; a share is owed again once its connection is over.

// share lays shares ready that are owed.
func (l *RC) share() {
	for l.owed >= rcOwn && l.frames.Fillable() >= rcOwn {
		var s fifo
		for range rcOwn {
			id, _ := l.frames.TakeFill()
			s.push(l.next, id)
		}
		l.shares <- s // there is room for as many as there are frames
		l.owed -= rcOwn
	}
}

// thirst notes that c may need receives.
func (l *RC) thirst(c *conn) {
	if !c.thirsty && c.receives.len <= rcOwn/2 {
		c.thirsty = true
		l.thirsty = append(l.thirsty, c)
	}
}

func (l *RC) refillThirsty() {
	all := l.thirsty
	l.thirsty = l.thirsty[:0]
	for _, c := range all {
		c.thirsty = false
		if c.state >= connEnding {
			continue
		}
		if n := l.fill(rcOwn-c.receives.len, c); n > 0 {
			if _, err := c.qp.PostRecv(l.recvs[:n]); err != nil {
				l.lose(c, err)
				continue
			}
		}
		l.thirst(c) // still
	}
	clear(all[len(l.thirsty):])
}
