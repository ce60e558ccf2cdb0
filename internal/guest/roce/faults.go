//go:build rdma

package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fastrpc/fastrpc"
)

// load calls from several goroutines over each client.
type load struct {
	next  atomic.Uint64 // names the calls
	good  map[string]*atomic.Int64
	wg    sync.WaitGroup
	mu    sync.Mutex
	ended map[uint64]error
}

// start calls a method until enough is closed, or, if that is nil, until each goroutine has met an error.
func start(ctx context.Context, cs clients, method string, enough <-chan struct{}) *load {
	l := &load{ended: map[uint64]error{}, good: map[string]*atomic.Int64{}}
	for kind, c := range cs {
		good := new(atomic.Int64)
		l.good[kind] = good
		for range 4 {
			l.wg.Go(func() {
				m := c.Method(method)
				for {
					select {
					case <-enough:
						return
					default:
					}
					id := l.next.Add(1)
					rep, err := m.Call(ctx, binary.LittleEndian.AppendUint64(nil, id))
					l.mu.Lock()
					l.ended[id] = err
					l.mu.Unlock()
					switch {
					case err == nil:
						rep.Release()
						good.Add(1)
					case enough == nil || ctx.Err() != nil:
						return
					default:
						time.Sleep(10 * time.Millisecond) // what fails at once is not tried in a circle
					}
				}
			})
		}
	}
	return l
}

// await waits until over each client so many calls more have been answered.
func (l *load) await(ctx context.Context, calls int64) error {
	for kind, good := range l.good {
		for from := good.Load(); good.Load() < from+calls; {
			select {
			case <-ctx.Done():
				return fmt.Errorf("calls over %s are not answered: %w", kind, ctx.Err())
			case <-time.After(time.Millisecond):
			}
		}
	}
	return nil
}

// outage calls until the server has gone, says how each call ended, and finds the server that comes next.
func outage(ctx context.Context, server netip.Addr) error {
	cs, err := dial(ctx, server)
	if err != nil {
		return err
	}
	l := start(ctx, cs, "record", nil)
	if err := l.await(ctx, 50); err != nil {
		return err
	}
	fmt.Println("calling")
	l.wg.Wait()
	for id, err := range l.ended {
		if err != nil && fastrpc.CodeOf(err) != fastrpc.Unavailable {
			return fmt.Errorf("call %d ended with %w", id, err)
		}
		fmt.Println("call", id, outcome(err))
	}
	fmt.Println("ended")
	for kind, c := range cs {
		if err := persist(ctx, func() error { return once(ctx, c) }); err != nil {
			return fmt.Errorf("%s: the server is back: %w", kind, err)
		}
	}
	if err := converse(ctx, cs); err != nil {
		return err
	}
	return hangUp(ctx, cs)
}

func outcome(err error) string {
	if err == nil {
		return "answered"
	}
	return fmt.Sprint(fastrpc.OutcomeOf(err))
}

func once(ctx context.Context, c *fastrpc.Client) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return call(ctx, c, "echo", nil, nil)
}
