//go:build rdma

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
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
	mem        *rdma.Memory
	mr         *rdma.MR
	send, recv *rdma.CQ
	qp         *rdma.QP
	ah         *rdma.AH
	kind       rdma.QPType
	far        spot

	sent int // since the last completion that was asked for
	open int // completions that were asked for and not taken
	due  int // messages, or a read, that are waited for; -1: the next one has come already
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
	if e.mem, err = rdma.Map((depth + 2) * slotBytes); err != nil {
		return nil, err
	}
	if e.mr, err = e.pd.Register(e.mem.Bytes(), rdma.LocalWrite|rdma.RemoteWrite|rdma.RemoteRead); err != nil {
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

func (e *end) close() error {
	return errors.Join(e.qp.Close(), e.recv.Close(), e.send.Close(), e.mr.Close(), e.mem.Close(), e.pd.Close(), e.c.Close())
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

// prepare describes the message that all turns send, as perftest does once: from the memory's begin, at the remote side to its second slot.
func (e *end) prepare(op rdma.Opcode, size int) {
	w := &e.ws[0]
	*w = rdma.SendWR{Op: op, NumSGE: 1, SGE: [2]rdma.SGE{{Addr: e.mr.Addr(), Length: uint32(size), Key: e.mr.LKey()}}}
	switch {
	case op == rdma.OpRead:
		w.Flags = rdma.Signaled
	case size <= e.qp.InlineMax():
		w.Flags = rdma.Inline
	}
	if e.kind == rdma.UD {
		w.AH, w.RemoteQPN, w.QKey = e.ah.Handle(), e.far.QPN, qkey
	} else {
		w.RemoteAddr, w.RemoteKey = e.far.Addr+slotBytes, e.far.RKey
	}
}

// post sends it, and polls for what comes of it: a read's completion, or the message that answers a message. Now and then it asks for a completion,
// which is taken before the next.
func (e *end) post() error {
	w := &e.ws[0]
	if w.Op == rdma.OpRead {
		n, err := e.qp.PostSendSpin(e.ws[:], e.send, e.wcs[:], polls)
		return e.took(n, err, &e.due)
	}
	w.Flags &^= rdma.Signaled
	if e.sent++; e.sent == markEvery {
		if err := e.await(e.send, &e.open); err != nil {
			return err
		}
		w.Flags |= rdma.Signaled
		e.sent = 0
		e.open++
	}
	if w.Op == rdma.OpWrite { // what answers it makes no completion
		_, err := e.qp.PostSend(e.ws[:])
		return err
	}
	n, err := e.qp.PostSendSpin(e.ws[:], e.recv, e.wcs[:], polls)
	return e.took(n, err, &e.due)
}

// polls is for how many polls an end stays in C.
const polls = 64

// take polls, and takes what there is off a count.
func (e *end) take(q *rdma.CQ, left *int) error {
	n, err := q.Spin(e.wcs[:], polls)
	return e.took(n, err, left)
}

func (e *end) took(n int, err error, left *int) error {
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

// await polls until all of a count has come, for a time at most.
func (e *end) await(q *rdma.CQ, left *int) error {
	for i := 0; *left > 0; i++ {
		if err := e.take(q, left); err != nil {
			return err
		}
		if i == 1<<8 {
			if i = 0; time.Since(started) > giveUp {
				return fmt.Errorf("nothing came within %v", giveUp)
			}
		}
	}
	return nil
}

// yieldEvery is for how many turns a side keeps its processor from Go's scheduler. The runtime takes it from a goroutine that has not yielded for
// 10 ms as soon as it is in C, looks again after 20 µs, and so on (runtime/proc.go of Go 1.26, retake and sysmon): a thread that wakes up in every turn, on
// the same CPU.
const yieldEvery = 16

var started = time.Now()

const giveUp = 2 * time.Minute

func (e *end) word(slot int) *uint32 {
	return (*uint32)(unsafe.Pointer(&e.mr.Bytes()[slot*slotBytes+60]))
}

// turn is one round trip: the server's begins with the other side's message.
func (e *end) turn(op rdma.Opcode, client bool, i int) error {
	switch op {
	case rdma.OpRead:
		e.due++
		if err := e.post(); err != nil {
			return err
		}
		return e.await(e.send, &e.due)
	case rdma.OpWrite:
		*e.word(0) = uint32(i)
		if client {
			if err := e.post(); err != nil {
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
			return e.post()
		}
		return nil
	}
	e.due++
	if client {
		if err := e.post(); err != nil {
			return err
		}
	}
	if err := e.await(e.recv, &e.due); err != nil {
		return err
	}
	if !client {
		if err := e.post(); err != nil {
			return err
		}
	}
	if i%len(e.rs) == 0 { // what was used up is posted in bursts
		return e.receive()
	}
	return nil
}

// opOf a system.
func opOf(system string) rdma.Opcode {
	switch system {
	case "rdma-read":
		return rdma.OpRead
	case "rdma-write":
		return rdma.OpWrite
	}
	return rdma.OpSend
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
	op := opOf(system)
	e.prepare(op, o.size)
	times := make([]time.Duration, o.warmUp+o.requests)
	begin := time.Now()
	for i := range times {
		if i%yieldEvery == 0 {
			runtime.Gosched()
		}
		if err := e.turn(op, client, i+1); err != nil {
			return fmt.Errorf("%s: turn %d: %w", system, i, err)
		}
		times[i] = time.Since(begin) // once a turn, as perftest reads its clock; sorted later, as there
	}
	return out.Encode(latencyOf(times, o.warmUp))
}

// latencyOf are the figures of turns that ended at these times, without the first ones.
func latencyOf(ends []time.Duration, warmUp int) *result.Latency {
	h, longest := result.NewHistogram(), time.Duration(0)
	for i := warmUp; i < len(ends); i++ {
		took := ends[i] - ends[i-1]
		longest = max(longest, took)
		_ = h.RecordValue(int64(min(took, result.LongestLatency)))
	}
	return result.NewLatency(h, longest)
}
