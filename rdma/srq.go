//go:build rdma

package rdma

/*
#cgo noescape fr_post_recv
#cgo nocallback fr_post_recv
#include "verbs.h"

static struct ibv_srq *fr_create_srq(struct ibv_pd *pd, int receives, uintptr_t id) {
	struct ibv_srq_init_attr a = { .srq_context = (void *)id, .attr = { .max_wr = (uint32_t)receives, .max_sge = FR_SGE } };
	return ibv_create_srq(pd, &a);
}
*/
import "C"

import (
	"fmt"
	"syscall"
	"unsafe"
)

// SRQ is a shared receive queue: the receives of many queue pairs.
type SRQ struct {
	srq *C.struct_ibv_srq
	id  uint32
}

// CreateSRQ makes a queue for receives posted.
func (p *PD) CreateSRQ(receives int) (*SRQ, error) {
	if p.ctx.attr.max_srq == 0 {
		return nil, failedAs(ErrUnsupported, "ibv_create_srq", 0, "%s has no shared receive queues", p.ctx.name)
	}
	if most := int(p.ctx.attr.max_srq_wr); receives < 1 || receives > most {
		return nil, failedAs(ErrLimit, "ibv_create_srq", int(syscall.EINVAL), "%d receives: %s has shared receive queues of 1 to %d", receives, p.ctx.name, most)
	}
	id := nextID()
	srq, err := C.fr_create_srq(p.pd, C.int(receives), C.uintptr_t(id))
	if srq == nil {
		return nil, pinFailed("ibv_create_srq", err, fmt.Sprintf("%d receives of a shared queue on %s", receives, p.ctx.name))
	}
	return &SRQ{srq: srq, id: id}, nil
}

// ID names the queue in asynchronous events; it is not 0.
func (s *SRQ) ID() uint32 { return s.id }

// Limit asks for one EventSRQLimit when fewer than so many receives are left.
func (s *SRQ) Limit(receives int) error {
	if s.srq == nil {
		return ErrClosed
	}
	attr := C.struct_ibv_srq_attr{srq_limit: C.uint32_t(receives)}
	if errno := C.ibv_modify_srq(s.srq, &attr, C.IBV_SRQ_LIMIT); errno != 0 {
		return failed("ibv_modify_srq", int(errno), "a limit of %d receives: it must be below the queue's length", receives)
	}
	return nil
}

// PostRecv posts memory for messages and returns how many of it the queue took: all, or an error tells why not. It takes one call into C for
// each Burst.
func (s *SRQ) PostRecv(ws []RecvWR) (int, error) { return postRecv(nil, s.srq, ws) }

func postRecv(qp *C.struct_ibv_qp, srq *C.struct_ibv_srq, ws []RecvWR) (posted int, err error) {
	if qp == nil && srq == nil {
		return 0, ErrClosed
	}
	for posted < len(ws) {
		n := min(len(ws)-posted, Burst)
		var done C.int
		errno := C.fr_post_recv(qp, srq, (*C.struct_fr_recv)(unsafe.Pointer(&ws[posted])), C.int(n), &done)
		posted += int(done)
		if errno != 0 {
			return posted, postFailed("ibv_post_recv", int(errno), posted, len(ws))
		}
	}
	return posted, nil
}

// Close closes the queue; its queue pairs must be closed.
func (s *SRQ) Close() error {
	if s.srq == nil {
		return ErrClosed
	}
	if errno := C.ibv_destroy_srq(s.srq); errno != 0 {
		return failed("ibv_destroy_srq", int(errno), "close its queue pairs first")
	}
	s.srq = nil
	return nil
}
