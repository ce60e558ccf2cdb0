package bench

import (
	"context"
	"errors"
)

// pool is as many connections as calls may be outstanding, each with one call at a time: how Go programs share what does not tell one answer
// from another among goroutines.
type pool struct {
	free chan Caller
	all  []Caller
}

func connectPool(ctx context.Context, s System, e Endpoint) (Caller, error) {
	p := &pool{free: make(chan Caller, e.Outstanding)}
	n := e.Outstanding
	e.Outstanding = 1
	for range n {
		c, err := s.Connect(ctx, e)
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
		p.all = append(p.all, c)
		p.free <- c
	}
	return p, nil
}

func (p *pool) Call(payload []byte) error {
	c := <-p.free
	err := c.Call(payload)
	p.free <- c
	return err
}

func (p *pool) Close() (err error) {
	for _, c := range p.all {
		err = errors.Join(err, c.Close())
	}
	return err
}
