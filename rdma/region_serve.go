//go:build rdma

package rdma

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Both sides of a connection say with this, in their private data, that they speak of regions, in this version.
const regionHello = "fastrpc regions 1"

// A client asks one question after the other: a receive for it, one for the next, and answers, or a probe, that may be under way.
const (
	serveReceives = 2
	serveSends    = 5
	receiveBytes  = 96
	placeBytes    = serveReceives*receiveBytes + 64 // of a client, in the exporter's memory: its receives, and the answer
)

// acceptLimit bounds how long a client may take to connect.
const acceptLimit = 5 * time.Second

// client is the exporter's end of a connection.
type client struct {
	req     *Request
	qp      *QP
	place   int  // in the exporter's memory
	probing bool // a probe is under way
	ready   bool // it is connected
}

// drop ends the connection, which its goroutine then takes apart.
func (c *client) drop() { _ = c.req.Close() }

// accept takes clients until Close.
func (e *Exporter) accept() {
	for {
		r, err := e.l.Next(e.done)
		if err != nil {
			return
		}
		if !strings.HasPrefix(string(r.Data), regionHello) {
			_ = r.Reject("regions are exported here, in version 1")
			continue
		}
		c, err := e.admit(r)
		if err != nil {
			_ = r.Reject(err.Error())
			continue
		}
		e.running.Go(func() { e.serve(c) })
	}
}

var errFull = errors.New("no place for another client")

func (e *Exporter) admit(r *Request) (*client, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.free) == 0 {
		return nil, errFull
	}
	qp, err := e.pd.CreateQP(QPConfig{Type: RC, Send: e.cq, Recv: e.cq, SendWork: serveSends, RecvWork: serveReceives, InlineMax: answerBytes})
	if err != nil {
		return nil, err
	}
	c := &client{req: r, qp: qp, place: e.free[len(e.free)-1]}
	e.free = e.free[:len(e.free)-1]
	e.clients[qp.Number()] = c
	return c, nil
}

// serve connects a client and waits for its end.
func (e *Exporter) serve(c *client) {
	defer e.dismiss(c)
	ctx, cancel := context.WithTimeout(e.done, acceptLimit)
	defer cancel()
	terms := Terms{Access: remoteRights | LocalWrite, Reads: min(c.req.Reads, readsAtOnce(e.dev)), RNR: maxRetries, Data: []byte(regionHello)}
	conn, err := c.req.Accept(ctx, c.qp, terms, func() error {
		for i := range serveReceives {
			if err := e.receive(c, i); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return
	}
	e.mu.Lock()
	c.ready = true
	e.mu.Unlock()
	select {
	case <-conn.Done():
	case <-e.done.Done():
	}
}

// probeEvery is how often a client is asked whether it is there still: one whose machine is gone says no goodbye.
const probeEvery = 10 * time.Second

// probe writes no bytes to each client, which its card acknowledges; no key is looked at for that (InfiniBand specification, C9-88). Where no
// acknowledgement comes, the completion fails in the end, and the client is dropped.
func (e *Exporter) probe() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range e.clients {
		if !c.ready || c.probing {
			continue
		}
		if _, err := c.qp.PostSend([]SendWR{{Op: OpWrite, Flags: Signaled}}); err != nil {
			c.drop()
		}
		c.probing = true
	}
}

// readsAtOnce is how many reads and atomics a connection has under way at most; 16 is what cards have, and an 8-bit number is what the
// connection manager's messages have.
func readsAtOnce(c *Context) int { return min(c.Limits().MaxReadAtomic, 16) }

func (e *Exporter) dismiss(c *client) {
	c.drop()
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.clients, c.qp.Number()) // from here on nobody posts to it
	_ = c.qp.Close()
	e.free = append(e.free, c.place)
}

// receive posts memory for a question.
func (e *Exporter) receive(c *client, i int) error {
	w := RecvWR{ID: uint64(i), NumSGE: 1}
	w.SGE[0] = e.mr.piece(c.place*placeBytes+i*receiveBytes, receiveBytes)
	_, err := c.qp.PostRecv([]RecvWR{w})
	return err
}

// answer answers questions until Close.
func (e *Exporter) answer() {
	var wcs [Burst]WC
	armed := false
	for e.done.Err() == nil {
		n, err := e.cq.Poll(wcs[:])
		if err != nil {
			break
		}
		e.completed(wcs[:n])
		switch {
		case n > 0:
			armed = false
		case !armed:
			if err = e.cq.Arm(); err == nil {
				armed = true // and look once more, at what came before
			}
		default:
			_, err = wait(e.done, e.file, e.cq.take)
			armed = false
		}
		if err != nil {
			break
		}
	}
	if e.done.Err() == nil { // the queue has failed: nobody is to wait for answers from it
		_ = e.l.Close()
		e.mu.Lock()
		for _, c := range e.clients {
			c.drop()
		}
		e.mu.Unlock()
	}
}

func (e *Exporter) completed(wcs []WC) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range wcs {
		w := &wcs[i]
		c := e.clients[w.QPN]
		if c == nil {
			continue // it is gone
		}
		switch {
		case w.Status != StatusSuccess, w.Op == WCRecv && e.reply(c, w) != nil:
			c.drop()
		case w.Op == WCWrite:
			c.probing = false
		}
	}
}

// reply answers a question, with the lock held.
func (e *Exporter) reply(c *client, w *WC) error {
	at := c.place*placeBytes + int(w.ID)*receiveBytes
	q, err := parseQuestion(e.mem[at:][:min(w.Bytes, receiveBytes)])
	if err != nil {
		return err
	}
	if err := e.receive(c, int(w.ID)); err != nil {
		return err
	}
	a := answer{sequence: q.sequence, status: regionNotFound}
	if r := e.regions[q.name]; r != nil {
		if left := r.ends.Sub(e.now()); left > 0 {
			a.status, a.rights, a.lease = regionFound, r.rights, left
			a.addr, a.length, a.key = r.mr.Addr(), uint64(len(r.mr.Bytes())), r.mr.RKey()
		}
	}
	at = c.place*placeBytes + serveReceives*receiveBytes
	a.put(e.mem[at:])
	s := SendWR{Op: OpSend, Flags: Signaled | Inline, NumSGE: 1} // inline, for the next answer may be written before this one was acknowledged
	s.SGE[0] = e.mr.piece(at, answerBytes)
	_, err = c.qp.PostSend([]SendWR{s})
	return err
}

// mapMemory is memory that the card can be given.
func mapMemory(n int) ([]byte, error) {
	mem, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, failed("mmap", errnoOf(err), "%d bytes", n)
	}
	return mem, nil
}

// closers close what was made, the last first.
type closers []func() error

func (c *closers) add(f func() error) { *c = append(*c, f) }

func (c *closers) close() error {
	var errs []error
	for _, f := range slices.Backward(*c) {
		errs = append(errs, f())
	}
	*c = nil
	return errors.Join(errs...)
}
