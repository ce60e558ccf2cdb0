package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/fastrpc/fastrpc/internal/tap"
)

// capturer is one run of the command.
type capturer struct {
	name       string // the interface's
	ifindex    int
	expression string
	filter     packetFilter // nil: all
	options    tap.Options
	count      int
	duration   time.Duration
	sink       packetSink
	log        io.Writer

	known   map[tap.Name]bool // processes that were tried
	stopped bool              // nothing more comes of any
	all     []*captured
	taken   int
	input   filterInput
	packet  tap.Packet
}

// captured is a process.
type captured struct {
	*tap.Capture
	process *tap.Process
	begun   time.Time
	queues  []captureCounts
	first   int // of the sink: its number of queue 0
	done    bool
}

// captureCounts is what there was of a queue.
type captureCounts struct {
	seen    uint64
	taken   uint64 // of these, what the filter wanted
	dropped uint64 // not seen: the buffer was full
}

// packetSink is where packets go.
type packetSink interface {
	join(s *captured) error
	packet(s *captured, p *tap.Packet) error
	flush() error // nothing more comes for the moment
	close(all []*captured) error
}

const (
	findEvery = 100 * time.Millisecond // new processes are looked for
	orderLag  = 10 * time.Millisecond  // a packet this young waits: there may be an older one in a burst that another queue is just handling
	pollBusy  = time.Millisecond       // the default buffer holds 2 ms of 2 GB/s
	pollIdle  = 10 * time.Millisecond
)

func (c *capturer) run(ctx context.Context) error {
	if c.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.duration)
		defer cancel()
	}
	err := c.follow(ctx)
	for _, s := range c.all {
		if !s.done {
			s.Stop()
		}
	}
	c.stopped = true
	if err == nil {
		_, err = c.drain(math.MaxInt64)
	}
	for _, s := range c.all {
		c.finish(s, "")
	}
	err = errors.Join(err, c.sink.close(c.all))
	c.sum()
	return err
}

// follow hands out packets until it is time to end.
func (c *capturer) follow(ctx context.Context) error {
	c.known = map[tap.Name]bool{}
	tick := time.NewTimer(0)
	defer tick.Stop()
	for found := (time.Time{}); !c.full(); {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := time.Now()
		if now.Sub(found) >= findEvery {
			if err := c.find(); err != nil {
				return err
			}
			if found.IsZero() && len(c.known) == 0 {
				fmt.Fprintf(c.log, "no process has %s open over AF_XDP in this network namespace; waiting for one\n", c.name)
			}
			found = now
		}
		n, err := c.drain(now.Add(-orderLag).UnixNano())
		if err != nil {
			return err
		}
		if tick.Reset(pollIdle); n > 0 {
			tick.Reset(pollBusy)
		}
	}
	return nil
}

func (c *capturer) full() bool { return c.count > 0 && c.taken >= c.count }

// find joins the processes that were not there before. One that cannot be captured keeps nobody from the others.
func (c *capturer) find() error {
	names, err := tap.Find(c.ifindex)
	if err != nil {
		return err
	}
	for _, name := range names {
		if c.known[name] {
			continue
		}
		c.known[name] = true
		s, err := c.join(name)
		if err != nil {
			fmt.Fprintf(c.log, "not captured: %v\n", err)
			continue
		}
		c.all = append(c.all, s)
		fmt.Fprintf(c.log, "capturing %s of %v, queues: %d\n", c.name, s.process, len(s.Queues))
		if err := c.sink.join(s); err != nil {
			return err
		}
	}
	return nil
}

func (c *capturer) join(name tap.Name) (*captured, error) {
	p, err := tap.Dial(name)
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	capture, err := p.Capture(c.options)
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return &captured{Capture: capture, process: p, begun: begun, queues: make([]captureCounts, len(capture.Queues))}, nil
}

// drain hands out the packets from before until, in the order of their stamps.
func (c *capturer) drain(until int64) (n int, err error) {
	var ended []*captured
	for _, s := range c.all {
		if s.done {
			continue
		}
		if !c.stopped && s.Ended() { // asked before its packets are looked for: all are there
			ended = append(ended, s)
		}
		if err := s.Look(); err != nil {
			c.finish(s, err.Error())
		}
	}
	for !c.full() {
		s := c.earliest(until)
		if s == nil {
			break
		}
		if err := c.next(s, until); err != nil {
			return n, err
		}
		n++
	}
	for _, s := range ended {
		if s.done {
			continue
		}
		if _, more, _ := s.Stamp(); !more {
			c.finish(s, "it has closed the interface, or ended")
		}
	}
	return n, c.sink.flush()
}

// earliest is the process with the earliest packet of all.
func (c *capturer) earliest(until int64) (first *captured) {
	for _, s := range c.all {
		if s.done {
			continue
		}
		stamp, any, err := s.Stamp()
		if err != nil {
			c.finish(s, err.Error())
		} else if any && stamp < until {
			first, until = s, stamp
		}
	}
	return first
}

// next hands out the next packet of s.
func (c *capturer) next(s *captured, until int64) error {
	p := &c.packet
	whole, err := s.Next(p, until)
	if err != nil {
		c.finish(s, err.Error())
	}
	if !whole {
		return nil
	}
	q := &s.queues[p.Queue]
	q.seen++
	if c.filter != nil {
		if c.input.look(p); !c.filter(&c.input) {
			return nil
		}
	}
	q.taken++
	c.taken++
	return c.sink.packet(s, p)
}

// finish ends the capture of a process.
func (c *capturer) finish(s *captured, why string) {
	if s.done {
		return
	}
	s.done = true
	for i := range s.queues {
		s.queues[i].dropped = s.Dropped(i)
	}
	if why != "" {
		fmt.Fprintf(c.log, "%v: %s\n", s.process, why)
	}
	_ = s.Close() // there is nothing to do about an error
}

// sum says what there was.
func (c *capturer) sum() {
	var n captureCounts
	for _, s := range c.all {
		for _, q := range s.queues {
			n.taken, n.seen, n.dropped = n.taken+q.taken, n.seen+q.seen, n.dropped+q.dropped
		}
	}
	fmt.Fprintf(c.log, "%d packets captured, %d seen, %d dropped because a buffer was full", n.taken, n.seen, n.dropped)
	if n.dropped > 0 {
		fmt.Fprint(c.log, "; --buffer makes it larger, --snaplen the packets smaller")
	}
	fmt.Fprintln(c.log)
}
