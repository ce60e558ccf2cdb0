//go:build rdma

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log"
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/fastrpc/fastrpc"
)

// A veth pair between soft-RoCE and the network card. When the far end is taken down, the near one keeps its routes and loses its carrier, as a
// card does whose cable is pulled. An interface that is taken down itself loses its routes, and soft-RoCE then fails each queue pair that has
// something to send (drivers/infiniband/sw/rxe/rxe_req.c, rxe_requester), also that of the connection manager, which does not post its
// receives again (drivers/infiniband/core/mad.c, ib_mad_recv_done).
const nearEnd, farEnd = "near", "far"

// bridge joins the far end and the network card.
func bridge() error {
	b := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "bridge"}}
	if err := netlink.LinkAdd(b); err != nil {
		return err
	}
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: nearEnd}, PeerName: farEnd}); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(b); err != nil {
		return err
	}
	for _, name := range []string{farEnd, card} {
		l, err := netlink.LinkByName(name)
		if err == nil {
			err = netlink.LinkSetMaster(l, b)
		}
		if err == nil {
			err = netlink.LinkSetUp(l)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// carrier has the port lose its carrier and get it back while calls are under way: for a moment, and for longer than connections last. Each call
// ends as what the server did bears out, and both clients go on by themselves.
func carrier(ctx context.Context, server netip.Addr) error {
	cs, err := dial(ctx, server)
	if err != nil {
		return err
	}
	far, err := netlink.LinkByName(farEnd)
	if err != nil {
		return err
	}
	enough := make(chan struct{})
	l := start(ctx, cs, "count", enough)
	for _, away := range []time.Duration{300 * time.Millisecond, 15 * time.Second} {
		if err := l.await(ctx, 50); err != nil {
			return err
		}
		if err := netlink.LinkSetDown(far); err != nil {
			return err
		}
		time.Sleep(away)
		if err := netlink.LinkSetUp(far); err != nil {
			return err
		}
		back := time.Now()
		if err := l.await(ctx, 50); err != nil {
			return fmt.Errorf("after %v without a carrier: %w", away, err)
		}
		log.Printf("%v without a carrier; 50 calls over each client were answered %v later", away, time.Since(back).Round(time.Millisecond))
	}
	close(enough)
	l.wg.Wait()
	if err := l.check(ctx, cs["rc"]); err != nil {
		return err
	}
	return hangUp(ctx, cs)
}

// check compares how the calls ended with what the server counted.
func (l *load) check(ctx context.Context, c *fastrpc.Client) (err error) {
	rep, e := c.Method("counts").Call(ctx, binary.LittleEndian.AppendUint64(nil, l.next.Load()))
	if e != nil {
		return e
	}
	defer rep.Release()
	failed := map[string]int{}
	for id, e := range l.ended {
		ran := rep.Body()[id]
		if ran > 1 || ran == 0 && e == nil || ran > 0 && e != nil && fastrpc.OutcomeOf(e) == fastrpc.NotExecuted {
			err = errors.Join(err, fmt.Errorf("call %d ran %d times and ended as %s: %v", id, ran, outcome(e), e))
		}
		if e != nil {
			failed[fmt.Sprint(e)]++
		}
	}
	log.Printf("%d calls; failed: %v", len(l.ended), failed)
	return err
}

// tally counts how often each call ran.
type tally struct {
	mu  sync.Mutex
	ran map[uint64]byte
}

func (t *tally) count(w *fastrpc.Response, r *fastrpc.Request) error {
	t.mu.Lock()
	t.ran[binary.LittleEndian.Uint64(r.Body())]++
	t.mu.Unlock()
	return echo(w, r)
}

// report gives the counts of all calls up to the number that the request holds.
func (t *tally) report(w *fastrpc.Response, r *fastrpc.Request) error {
	counts := make([]byte, binary.LittleEndian.Uint64(r.Body())+1)
	t.mu.Lock()
	for id, n := range t.ran {
		if id < uint64(len(counts)) {
			counts[id] = n
		}
	}
	t.mu.Unlock()
	_, err := w.Write(counts)
	return err
}
