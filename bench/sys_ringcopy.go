package bench

import (
	"context"
	"errors"
)

func init() { Register(ringCopy{}) }

// ringCopy is the ring's flood with what nobody who moves a message can do without: the sender copies it into the packets, and the receiver out
// of them. The rings of the plain flood hold the same bytes for ever, which stay in the caches of one processor. For workload bulk alone; the
// packets have neither checksum nor order, and the receiver takes them as they come.
type ringCopy struct{}

func (ringCopy) Name() string             { return "ring-copy" }
func (ringCopy) Bypass() bool             { return true }
func (ringCopy) Has(workload string) bool { return workload == Bulk }
func (ringCopy) Connect(_ context.Context, e Endpoint) (Caller, error) {
	if e.Workload != Bulk {
		return nil, errors.New("ring-copy: only for workload bulk")
	}
	c, err := connectFlood(e)
	if err != nil {
		return nil, err
	}
	c.message = newMessage(e.Size)
	return c, nil
}

func (ringCopy) Serve(ctx context.Context, e Endpoint, ready func(Ready)) error {
	if e.Workload != Bulk {
		return errors.New("ring-copy: only for workload bulk")
	}
	return serveFlood(ctx, e, newMessage(e.Size), ready)
}

// message is as many bytes as are moved again and again, a packet's worth at a time.
type message struct {
	bytes []byte
	at    int
}

func newMessage(size int) *message {
	m := &message{bytes: make([]byte, size)}
	for i := range m.bytes {
		m.bytes[i] = byte(i)
	}
	return m
}

// next is where the next n bytes are.
func (m *message) next(n int) []byte {
	if m.at+n > len(m.bytes) {
		m.at = 0
	}
	m.at += min(n, len(m.bytes))
	return m.bytes[m.at-min(n, len(m.bytes)) : m.at]
}
