//go:build rdma

package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/fastrpc/fastrpc/bench/result"
	"github.com/fastrpc/fastrpc/rdma"
)

// spot is where an end's memory and queue pair are; the ends tell each other.
type spot struct {
	QPN  uint32
	Addr uint64
	RKey uint32
	At   string `json:",omitempty"` // of an RPC server
}

// The queues and the memory of an end.
const (
	depth     = 128
	slotBytes = 4096
	inlineMax = 188 // ib_send_lat's own
	markEvery = 32
	qkey      = 0x11111111
)

// end is one side of a ping-pong, made as perftest's are: one queue pair, polled, small payloads inline, receives posted ahead.
type end struct {
	c          *rdma.Context
	gid        rdma.GIDEntry
	port       rdma.Port
	pd         *rdma.PD
	mr         *rdma.MR
	send, recv *rdma.CQ
	qp         *rdma.QP
	ah         *rdma.AH
	kind       rdma.QPType
	far        spot

	sent int // since the last completion that was asked for
	open int // completions that were asked for and not taken
	ws   [1]rdma.SendWR
	rs   [16]rdma.RecvWR
	wcs  [16]rdma.WC
}

func newEnd(device string, addr netip.Addr, kind rdma.QPType) (e *end, err error) {
	e = &end{kind: kind}
	if e.c, err = rdma.Open(device); err != nil {
		return nil, err
	}
	if e.port, err = e.c.Port(1); err != nil {
		return nil, err
	}
	if err = e.port.Usable(); err != nil {
		return nil, err
	}
	if e.gid, err = e.port.GID(-1, addr); err != nil {
		return nil, err
	}
	if e.pd, err = e.c.AllocPD(); err != nil {
		return nil, err
	}
	mem, err := rdma.Map((depth + 2) * slotBytes)
	if err != nil {
		return nil, err
	}
	if e.mr, err = e.pd.Register(mem.Bytes(), rdma.LocalWrite|rdma.RemoteWrite|rdma.RemoteRead); err != nil {
		return nil, err
	}
	if e.send, err = e.c.CreateCQ(depth, false); err != nil {
		return nil, err
	}
	if e.recv, err = e.c.CreateCQ(depth, false); err != nil {
		return nil, err
	}
	e.qp, err = e.pd.CreateQP(rdma.QPConfig{Type: kind, Send: e.send, Recv: e.recv, SendWork: depth, RecvWork: depth, InlineMax: inlineMax})
	return e, err
}

func (e *end) spot() spot { return spot{QPN: e.qp.Number(), Addr: e.mr.Addr(), RKey: e.mr.RKey()} }

func (e *end) connect(far spot) (err error) {
	e.far = far
	if e.kind == rdma.UD {
		if err := e.qp.ReadyUD(1, qkey); err != nil {
			return err
		}
		e.ah, err = e.pd.CreateAH(e.gid.To(1, e.gid.GID, 0))
		return err
	}
	return e.qp.ReadyRC(rdma.RCConfig{
		Port: 1, From: e.gid, MTU: e.port.MTU, Reads: 1, Access: rdma.RemoteWrite | rdma.RemoteRead, Timeout: 14, Retries: 7, RNR: 7,
	}, rdma.Peer{GID: e.gid.GID, QPN: far.QPN, Reads: 1})
}

func (e *end) receive() error {
	for i := range e.rs {
		e.rs[i] = rdma.RecvWR{NumSGE: 1, SGE: [2]rdma.SGE{{Addr: e.mr.Addr() + 2*slotBytes, Length: slotBytes, Key: e.mr.LKey()}}}
	}
	_, err := e.qp.PostRecv(e.rs[:])
	return err
}

// post sends from the memory's begin, and asks for a completion now and then, which is taken before the next.
func (e *end) post(op rdma.Opcode, size int, remote uint64) error {
	w := &e.ws[0]
	*w = rdma.SendWR{Op: op, NumSGE: 1, SGE: [2]rdma.SGE{{Addr: e.mr.Addr(), Length: uint32(size), Key: e.mr.LKey()}}}
	if op != rdma.OpRead && size <= e.qp.InlineMax() {
		w.Flags = rdma.Inline
	}
	if e.kind == rdma.UD {
		w.AH, w.RemoteQPN, w.QKey = e.ah.Handle(), e.far.QPN, qkey
	} else {
		w.RemoteAddr, w.RemoteKey = remote, e.far.RKey
	}
	if e.sent++; op == rdma.OpRead || e.sent == markEvery {
		for op != rdma.OpRead && e.open > 0 {
			if err := e.take(e.send, &e.open); err != nil {
				return err
			}
		}
		w.Flags |= rdma.Signaled
		e.sent = 0
		e.open++
	}
	_, err := e.qp.PostSend(e.ws[:])
	return err
}

// take polls once, and takes what there is off a count.
func (e *end) take(q *rdma.CQ, left *int) error {
	n, err := q.Poll(e.wcs[:])
	if err != nil {
		return err
	}
	for i := range e.wcs[:n] {
		if err := e.wcs[i].Err(); err != nil {
			return err
		}
	}
	*left -= n
	return nil
}

// await polls until one has come, for a minute at most.
func (e *end) await(q *rdma.CQ, left int) error {
	for i := 0; left > 0; i++ {
		if err := e.take(q, &left); err != nil {
			return err
		}
		if i == 1<<16 {
			if i = 0; time.Since(started) > giveUp {
				return fmt.Errorf("nothing came within %v", giveUp)
			}
		}
	}
	return nil
}

var started = time.Now()

const giveUp = 2 * time.Minute

func (e *end) word(slot int) *uint32 {
	return (*uint32)(unsafe.Pointer(&e.mr.Bytes()[slot*slotBytes+60]))
}

// turn is one round trip: the server's begins with the other side's message.
func (e *end) turn(op string, client bool, i, size int) error {
	switch op {
	case "rdma-read":
		if err := e.post(rdma.OpRead, size, e.far.Addr+slotBytes); err != nil {
			return err
		}
		err := e.await(e.send, e.open)
		e.open = 0
		return err
	case "rdma-write":
		if client {
			if err := e.write(i, size); err != nil {
				return err
			}
		}
		for n := 0; atomic.LoadUint32(e.word(1)) != uint32(i); n++ {
			if n == 1<<16 {
				if n = 0; time.Since(started) > giveUp {
					return fmt.Errorf("nothing came within %v", giveUp)
				}
			}
		}
		if !client {
			return e.write(i, size)
		}
		return nil
	}
	if client {
		if err := e.post(rdma.OpSend, size, 0); err != nil {
			return err
		}
	}
	if err := e.await(e.recv, 1); err != nil {
		return err
	}
	if !client {
		if err := e.post(rdma.OpSend, size, 0); err != nil {
			return err
		}
	}
	if i%len(e.rs) == 0 { // what was used up is posted in bursts
		return e.receive()
	}
	return nil
}

func (e *end) write(i, size int) error {
	*e.word(0) = uint32(i)
	return e.post(rdma.OpWrite, size, e.far.Addr+slotBytes)
}

// kindOf a system's queue pair.
func kindOf(system string) rdma.QPType {
	if system == "rdma-send" {
		return rdma.UD
	}
	return rdma.RC
}

// play is a side of a ping-pong, in a process of its own: it tells where it is, reads where the other is, says that it is ready, and begins when told.
func play(o options, system string, client bool) error {
	e, err := newEnd(o.device, o.addr, kindOf(system))
	if err != nil {
		return err
	}
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	var far spot
	if err := out.Encode(e.spot()); err != nil {
		return err
	}
	if err := in.Decode(&far); err != nil {
		return err
	}
	if err := e.connect(far); err != nil {
		return err
	}
	for range depth / 2 / len(e.rs) {
		if err := e.receive(); err != nil {
			return err
		}
	}
	if err := out.Encode(spot{}); err != nil { // ready
		return err
	}
	if err := in.Decode(&far); err != nil {
		return err
	}
	if system == "rdma-read" && !client {
		return in.Decode(&far) // the other reads until this ends
	}
	h, longest := result.NewHistogram(), time.Duration(0)
	begin := time.Now()
	for i := 1; i <= o.warmUp+o.requests; i++ {
		if err := e.turn(system, client, i, o.size); err != nil {
			return fmt.Errorf("%s: turn %d: %w", system, i, err)
		}
		now := time.Now() // once a turn, as perftest reads its clock
		took := now.Sub(begin)
		if begin = now; i > o.warmUp {
			longest = max(longest, took)
			_ = h.RecordValue(int64(min(took, result.LongestLatency)))
		}
	}
	return out.Encode(result.NewLatency(h, longest))
}
