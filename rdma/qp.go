//go:build rdma

package rdma

/*
#cgo noescape fr_post_send
#cgo nocallback fr_post_send
#cgo noescape fr_post_poll
#cgo nocallback fr_post_poll
#include "verbs.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"
)

// QPType is a queue pair's transport (enum ibv_qp_type).
type QPType uint32

// The types.
const (
	RC QPType = 2 // reliable connection
	UD QPType = 4 // unreliable datagram
)

func (t QPType) String() string {
	switch t {
	case RC:
		return "RC"
	case UD:
		return "UD"
	}
	return fmt.Sprintf("QP type %d", uint32(t))
}

// QPConfig says what queue pair to make.
type QPConfig struct {
	Type       QPType
	Send, Recv *CQ
	SRQ        *SRQ // nil: receives of its own
	SendWork   int  // work requests that may be under way at once
	RecvWork   int  // receives that may be posted at once; not used with SRQ
	InlineMax  int  // bytes of payload that Inline shall take
}

// QP is a queue pair. One goroutine at a time posts to it.
type QP struct {
	qp     *C.struct_ibv_qp
	ctx    *Context
	kind   QPType
	inline int
	most   uint32 // bytes of a message
}

// CreateQP makes a queue pair, in state RESET: see ReadyUD and ReadyRC.
func (p *PD) CreateQP(c QPConfig) (*QP, error) {
	if most := int(p.ctx.attr.max_qp_wr); c.SendWork > most || c.RecvWork > most || c.SendWork < 0 || c.RecvWork < 0 {
		return nil, failedAs(ErrLimit, "ibv_create_qp", int(syscall.EINVAL), "%d sends, %d receives: %s takes at most %d of each", c.SendWork, c.RecvWork, p.ctx.name, most)
	}
	attr := C.struct_ibv_qp_init_attr{send_cq: c.Send.cq, recv_cq: c.Recv.cq, qp_type: uint32(c.Type)}
	attr.cap.max_send_wr, attr.cap.max_recv_wr = C.uint32_t(c.SendWork), C.uint32_t(c.RecvWork)
	attr.cap.max_send_sge, attr.cap.max_recv_sge = MaxSGE, MaxSGE
	attr.cap.max_inline_data = C.uint32_t(c.InlineMax)
	if c.SRQ != nil {
		attr.srq, attr.cap.max_recv_wr = c.SRQ.srq, 0
	}
	qp, err := C.ibv_create_qp(p.pd, &attr)
	switch {
	case qp != nil:
		return &QP{qp: qp, ctx: p.ctx, kind: c.Type, inline: int(attr.cap.max_inline_data), most: p.ctx.most}, nil
	case errors.Is(err, syscall.EOPNOTSUPP):
		return nil, failedAs(ErrUnsupported, "ibv_create_qp", errnoOf(err), "%s has no queue pairs of type %v", p.ctx.name, c.Type)
	}
	what := fmt.Sprintf("%d sends with %d bytes inline and %d receives of a queue pair of type %v on %s", c.SendWork, c.InlineMax, c.RecvWork, c.Type, p.ctx.name)
	if errors.Is(err, syscall.EINVAL) {
		return nil, failedAs(ErrLimit, "ibv_create_qp", errnoOf(err), "%s", what)
	}
	return nil, pinFailed("ibv_create_qp", err, what)
}

// Number names the queue pair to remote sides.
func (q *QP) Number() uint32 { return uint32(q.qp.qp_num) }

// InlineMax is how many bytes Inline takes; at least what was asked for.
func (q *QP) InlineMax() int { return q.inline }

// ReadyUD makes a datagram queue pair ready to send and receive at a port, up to the MTU that the port has now.
func (q *QP) ReadyUD(port int, qkey uint32) error {
	at, err := q.ctx.Port(port)
	if err != nil {
		return err
	}
	q.most = uint32(at.MTU)
	a := C.struct_ibv_qp_attr{qp_state: C.IBV_QPS_INIT, port_num: C.uint8_t(port), qkey: C.uint32_t(qkey)}
	if err := q.modify(&a, C.IBV_QP_STATE|C.IBV_QP_PKEY_INDEX|C.IBV_QP_PORT|C.IBV_QP_QKEY, "INIT"); err != nil {
		return err
	}
	a.qp_state = C.IBV_QPS_RTR
	if err := q.modify(&a, C.IBV_QP_STATE, "RTR"); err != nil {
		return err
	}
	a.qp_state = C.IBV_QPS_RTS
	return q.modify(&a, C.IBV_QP_STATE|C.IBV_QP_SQ_PSN, "RTS")
}

// Peer is the remote end of a reliable connection.
type Peer struct {
	GID   GID
	LID   uint16 // of its port, over InfiniBand
	QPN   uint32
	PSN   uint32 // of its first packet; 24 bits
	Reads int    // reads and atomics that it takes at once
}

// RCConfig says how to connect.
type RCConfig struct {
	Port    int
	From    GIDEntry
	MTU     int    // of the path, bytes
	PSN     uint32 // of this side's first packet; 24 bits
	Reads   int    // reads and atomics of the remote side that this one takes at once
	Access  Access // what the remote side may do to regions that allow it
	Timeout uint8  // an acknowledgement is waited for 4.096 µs × 2^Timeout
	Retries uint8  // after which the connection has failed; up to 6 (7 is without end with soft-RoCE)
	RNR     uint8  // retries when the remote side has no receive posted; 7: without end
}

// ReadyRC connects a reliable queue pair with its peer, which does the same.
func (q *QP) ReadyRC(c RCConfig, peer Peer) error {
	at, err := q.ctx.Port(c.Port)
	if err != nil {
		return err
	}
	if c.MTU > at.MTU {
		return failedAs(ErrLimit, "ibv_modify_qp", int(syscall.EINVAL), "an MTU of %d for the path: port %d of %s has %d", c.MTU, c.Port, q.ctx.name, at.MTU)
	}
	a := C.struct_ibv_qp_attr{qp_state: C.IBV_QPS_INIT, port_num: C.uint8_t(c.Port), qp_access_flags: C.uint(c.Access)}
	if err := q.modify(&a, C.IBV_QP_STATE|C.IBV_QP_PKEY_INDEX|C.IBV_QP_PORT|C.IBV_QP_ACCESS_FLAGS, "INIT"); err != nil {
		return err
	}
	a = C.struct_ibv_qp_attr{
		qp_state: C.IBV_QPS_RTR, path_mtu: mtuCode(c.MTU), dest_qp_num: C.uint32_t(peer.QPN), rq_psn: C.uint32_t(peer.PSN),
		max_dest_rd_atomic: C.uint8_t(c.Reads), min_rnr_timer: C.FR_RNR_TIMER,
	}
	way := c.From.To(c.Port, peer.GID, peer.LID)
	a.ah_attr = way.attr()
	if err := q.modify(&a, C.IBV_QP_STATE|C.IBV_QP_AV|C.IBV_QP_PATH_MTU|C.IBV_QP_DEST_QPN|C.IBV_QP_RQ_PSN|C.IBV_QP_MAX_DEST_RD_ATOMIC|
		C.IBV_QP_MIN_RNR_TIMER, "RTR"); err != nil {
		return err
	}
	a = C.struct_ibv_qp_attr{
		qp_state: C.IBV_QPS_RTS, sq_psn: C.uint32_t(c.PSN), timeout: C.uint8_t(c.Timeout), retry_cnt: C.uint8_t(c.Retries), rnr_retry: C.uint8_t(c.RNR),
		max_rd_atomic: C.uint8_t(peer.Reads),
	}
	return q.modify(&a, C.IBV_QP_STATE|C.IBV_QP_TIMEOUT|C.IBV_QP_RETRY_CNT|C.IBV_QP_RNR_RETRY|C.IBV_QP_SQ_PSN|C.IBV_QP_MAX_QP_RD_ATOMIC, "RTS")
}

// Reset takes the queue pair back to where it was made: what was posted is forgotten, without completions; those that are made already stay
// in their queue.
func (q *QP) Reset() error {
	a := C.struct_ibv_qp_attr{qp_state: C.IBV_QPS_RESET}
	return q.modify(&a, C.IBV_QP_STATE, "RESET")
}

// Fail stops the queue pair: work that is under way, and what is posted from now on, completes with StatusFlushed.
func (q *QP) Fail() error {
	a := C.struct_ibv_qp_attr{qp_state: C.IBV_QPS_ERR}
	return q.modify(&a, C.IBV_QP_STATE, "ERR")
}

func (q *QP) modify(a *C.struct_ibv_qp_attr, mask C.int, state string) error {
	if q.qp == nil {
		return ErrClosed
	}
	if errno := C.ibv_modify_qp(q.qp, a, mask); errno != 0 {
		return failed("ibv_modify_qp", int(errno), "queue pair %d of type %v to state %s", q.Number(), q.kind, state)
	}
	return nil
}

// PostSend posts work and returns how many of it the queue took: all, or an error tells why not: ErrFull, ErrTooLong for a message above the
// port's MTU (datagrams) or Port.MaxBytes, else what the device says. It takes one call into C for each Burst.
func (q *QP) PostSend(ws []SendWR) (posted int, err error) {
	if q.qp == nil {
		return 0, ErrClosed
	}
	for posted < len(ws) {
		n := min(len(ws)-posted, Burst)
		var done C.int
		errno := C.fr_post_send(q.qp, (*C.struct_fr_send)(unsafe.Pointer(&ws[posted])), C.int(n), C.uint32_t(q.most), &done)
		posted += int(done)
		if errno != 0 {
			return posted, postFailed("ibv_post_send", int(errno), posted, len(ws))
		}
	}
	return posted, nil
}

// PostSendSpin is PostSend of up to Burst requests and then Spin, within the same call into C: for who posts and has only to wait for what comes of
// it. There are no completions to take if the queue did not take all.
func (q *QP) PostSendSpin(ws []SendWR, cq *CQ, wcs []WC, polls int) (completed int, err error) {
	switch {
	case q.qp == nil || cq.cq == nil:
		return 0, ErrClosed
	case len(ws) == 0:
		return cq.Spin(wcs, polls)
	case len(ws) > Burst || len(wcs) == 0:
		return 0, failedAs(ErrLimit, "ibv_post_send", int(syscall.EINVAL), "%d requests, room for %d completions: at most %d at once, and room for one or more",
			len(ws), len(wcs), Burst)
	}
	var done, got C.int
	errno := C.fr_post_poll(q.qp, (*C.struct_fr_send)(unsafe.Pointer(&ws[0])), C.int(len(ws)), C.uint32_t(q.most), &done,
		cq.cq, (*C.struct_fr_wc)(unsafe.Pointer(&wcs[0])), C.int(min(len(wcs), Burst)), C.int(polls), &got)
	if errno != 0 {
		return 0, postFailed("ibv_post_send", int(errno), int(done), len(ws))
	}
	return cq.polled(got)
}

// postFailed explains why a queue did not take work.
func postFailed(verb string, errno, posted, of int) error {
	advice := "a work request has the wrong type, too many pieces, or more than InlineMax inline"
	switch syscall.Errno(max(errno, -errno)) {
	case syscall.ENOMEM, syscall.EAGAIN: // drivers disagree
		return failedAs(ErrFull, verb, errno, "%d of %d taken: take completions first, or make the queue longer", posted, of)
	case syscall.EMSGSIZE:
		return failedAs(ErrTooLong, verb, errno, "%d of %d taken: a datagram fits the port's MTU, and another message Port.MaxBytes", posted, of)
	case syscall.EINVAL:
		advice += "; or the queue pair is not ready, or has failed"
	}
	return failed(verb, errno, "%d of %d taken: %s", posted, of, advice)
}

// PostRecv posts memory for messages, as SRQ.PostRecv does.
func (q *QP) PostRecv(ws []RecvWR) (int, error) { return postRecv(q.qp, nil, ws) }

// Close closes the queue pair. Work that was under way makes no completions after that.
func (q *QP) Close() error {
	if q.qp == nil {
		return ErrClosed
	}
	if errno := C.ibv_destroy_qp(q.qp); errno != 0 {
		return failed("ibv_destroy_qp", int(errno), "")
	}
	q.qp = nil
	return nil
}
