package main

import "github.com/fastrpc/fastrpc/bench"

// ended is a call that has ended.
type ended struct {
	slot int
	err  error
}

// endings are where calls end, whose number bench bounds: there is always room.
type endings chan ended

func newEndings(e *bench.Endpoint) endings { return make(endings, e.Outstanding) }

// Wait waits for one and takes what else has ended.
func (c endings) Wait(slots []int) (n int, err error) {
	for e := <-c; ; e = <-c {
		if e.err != nil {
			return n, e.err
		}
		slots[n] = e.slot
		if n++; n == len(slots) || len(c) == 0 {
			return n, nil
		}
	}
}

// goroutines makes a Pipeline of a client that can only block: as many calls at once are as many goroutines, as its users would have them.
func goroutines(c *caller) bench.Caller {
	if c.endpoint.Workload == bench.Latency {
		return c
	}
	g := &blocking{caller: c, endings: newEndings(&c.endpoint), begun: make(chan begun, c.endpoint.Outstanding)}
	for range c.endpoint.Outstanding {
		go func() {
			for b := range g.begun {
				g.endings <- ended{b.slot, g.Call(b.payload)}
			}
		}()
	}
	return g
}

type blocking struct {
	*caller
	endings
	begun chan begun
}

type begun struct {
	slot    int
	payload []byte
}

func (g *blocking) Begin(slot int, payload []byte) error {
	g.begun <- begun{slot, payload}
	return nil
}

// Close does not wait for calls that are outstanding: not every library ends them.
func (g *blocking) Close() error {
	close(g.begun)
	return g.caller.Close()
}

// futures makes a Pipeline of a client whose calls, of type C, are sent to a channel when they have ended. begin begins one; end tells what
// was sent in it and what came back.
func futures[C comparable](c *caller, begin func(payload []byte, done chan C) C, end func(C) (payload, got []byte, err error)) bench.Caller {
	if c.endpoint.Workload == bench.Latency {
		return c
	}
	n := c.endpoint.Outstanding
	return &future[C]{caller: c, begin: begin, end: end, done: make(chan C, n), slots: make(map[C]int, n)}
}

type future[C comparable] struct {
	*caller
	begin func([]byte, chan C) C
	end   func(C) (payload, got []byte, err error)
	done  chan C
	slots map[C]int // of the calls that are outstanding
}

func (f *future[C]) Begin(slot int, payload []byte) error {
	f.slots[f.begin(payload, f.done)] = slot
	return nil
}

func (f *future[C]) Wait(slots []int) (n int, err error) {
	for call := <-f.done; ; call = <-f.done {
		payload, got, err := f.end(call)
		if err == nil {
			err = check(&f.endpoint, got, payload)
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
