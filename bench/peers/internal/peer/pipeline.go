package peer

import (
	"context"

	"github.com/fastrpc/fastrpc/bench"
)

// Endings is the half of a Pipeline that waits.
type Endings struct {
	endpoint *bench.Endpoint
	ended    chan ended // its room is the number of calls, which bench bounds
}

type ended struct {
	slot int
	err  error
}

// NewEndings makes one for the calls of one client.
func NewEndings(e *bench.Endpoint) Endings { return Endings{e, make(chan ended, e.Outstanding)} }

// End ends the call in a slot, from any goroutine, with what came back; that is read at once and not kept.
func (c Endings) End(slot int, payload, got []byte, err error) {
	if err == nil {
		err = c.endpoint.Verify(got, payload)
	}
	c.ended <- ended{slot, err}
}

// Wait waits for one and takes what else has ended.
func (c Endings) Wait(slots []int) (n int, err error) {
	for e := <-c.ended; ; e = <-c.ended {
		if e.err != nil {
			return n, e.err
		}
		slots[n] = e.slot
		if n++; n == len(slots) || len(c.ended) == 0 {
			return n, nil
		}
	}
}

// Futures makes a Pipeline of a client whose calls, of type C, are sent to a channel when they have ended. begin begins one; end tells what
// was sent in it and what came back.
func Futures[C comparable](c *Caller, begin func(ctx context.Context, payload []byte, done chan C) C, end func(C) (payload, got []byte, err error)) bench.Caller {
	if !c.endpoint.Piped() {
		return c
	}
	n := c.endpoint.Outstanding
	return &future[C]{Caller: c, begin: begin, end: end, done: make(chan C, n), slots: make(map[C]int, n)}
}

type future[C comparable] struct {
	*Caller
	begin func(context.Context, []byte, chan C) C
	end   func(C) (payload, got []byte, err error)
	done  chan C
	slots map[C]int // of the calls that are outstanding
}

func (f *future[C]) Begin(slot int, payload []byte) error {
	f.slots[f.begin(background, payload, f.done)] = slot
	return nil
}

func (f *future[C]) Wait(slots []int) (n int, err error) {
	for call := <-f.done; ; call = <-f.done {
		payload, got, err := f.end(call)
		if err == nil {
			err = f.endpoint.Verify(got, payload)
		}
		if err != nil {
			return n, err
		}
		slots[n] = f.slots[call]
		delete(f.slots, call)
		if n++; n == len(slots) || len(f.done) == 0 {
			return n, nil
		}
	}
}
