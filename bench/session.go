package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
)

// A session is what an agent does for one driver: it starts and ends children, one at a time, and passes on their orders and answers.
type session struct {
	*agent
	conn  *net.TCPConn
	lines *bufio.Reader
	cpu   int
	child *process // nil: none

	forget context.CancelFunc // what the last order's answer was waited for with; of receive alone
}

// received is an order from the driver. ctx ends when the driver no longer waits for the answer.
type received struct {
	ctx  context.Context
	line []byte
	agentOrder
}

// run obeys until the driver is gone; the error says how it went.
func (s *session) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	s.forget = func() {}
	orders := make(chan received)
	var gone error // valid once orders is closed
	go func() {
		gone = s.receive(ctx, orders)
		cancel()
		close(orders)
	}()
	defer func() {
		cancel()
		s.conn.Close()
		for range orders { // the receiver has ended then
		}
		_ = s.endChild() // nobody is there to hear
	}()
	for o := range orders {
		if err := s.obey(o); err != nil {
			return err
		}
	}
	return gone
}

// receive reads ahead of obey, so that it sees at once when a driver gives up on a child, or is gone.
func (s *session) receive(ctx context.Context, orders chan<- received) error {
	defer func() { s.forget() }()
	for {
		line, err := readLine(s.lines, maxOrder)
		if err != nil {
			return err
		}
		s.forget() // who sends another order no longer waits for the last one's answer
		o := received{line: line}
		if err := json.Unmarshal(line, &o.agentOrder); err != nil {
			return fmt.Errorf("an order that is not understood: %w", err)
		}
		o.ctx, s.forget = context.WithCancel(ctx)
		select {
		case orders <- o:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// obey answers one order. An error is about the connection.
func (s *session) obey(o received) error {
	var a agentAnswer
	switch o.Agent {
	case "":
		return s.pass(o)
	case spawnChild:
		if err := s.spawn(&o.agentOrder); err != nil {
			a.Error = err.Error()
		}
	case endChild:
		a.Ended = true
		if err := s.endChild(); err != nil {
			a.Error = err.Error()
		}
	default:
		a.Error = fmt.Sprintf("agent: unknown order %.100q", o.Agent)
	}
	return answerTo(s.conn, a)
}

// pass passes an order on to the child and its answer back. An order that the driver gave up on has none.
func (s *session) pass(o received) error {
	if s.child == nil {
		return answerTo(s.conn, agentAnswer{Error: "agent: an order for a process that does not run"})
	}
	line, err := s.child.exchange(o.ctx, o.line, 0)
	switch {
	case o.ctx.Err() != nil:
		return nil
	case err != nil:
		return answerTo(s.conn, agentAnswer{Error: err.Error()})
	}
	return answerTo(s.conn, json.RawMessage(line))
}

func (s *session) spawn(o *agentOrder) error {
	if s.child != nil {
		return errors.New("agent: a process runs already")
	}
	if _, err := Lookup(o.System); err != nil {
		return err
	}
	side := (&Config{Child: s.Child}).here("server", o.CPU, Endpoint{}, startPinned)
	child, err := side.start(context.Background(), o.System)
	if err == nil {
		s.child = child
	}
	return err
}

func (s *session) endChild() error {
	if s.child == nil {
		return nil
	}
	child := s.child
	s.child = nil
	return child.finish(child.owing && !child.dead)
}
