//go:build rdma

package rdma

/*
#cgo noescape fr_post_recv
#cgo nocallback fr_post_recv
#include "verbs.h"
*/
import "C"

import (
	"unsafe"
)

// SRQ is a shared receive queue: the receives of many queue pairs.
type SRQ struct {
	srq *C.struct_ibv_srq
}

// CreateSRQ makes a queue for receives posted.
func (p *PD) CreateSRQ(receives int) (*SRQ, error) {
	if p.ctx.attr.max_srq == 0 {
		return nil, failedAs(ErrUnsupported, "ibv_create_srq", 0, "%s has no shared receive queues", p.ctx.name)
	}
	attr := C.struct_ibv_srq_init_attr{attr: C.struct_ibv_srq_attr{max_wr: C.uint32_t(receives), max_sge: 1}}
	srq, err := C.ibv_create_srq(p.pd, &attr)
	if srq == nil {
		return nil, failed("ibv_create_srq", errnoOf(err), "%d receives on %s", receives, p.ctx.name)
	}
	return &SRQ{srq: srq}, nil
}

// PostRecv posts memory for messages and returns how many of it the queue took: all, or an error tells why not. It takes one call into C for
// each Burst.
func (s *SRQ) PostRecv(ws []RecvWR) (int, error) { return postRecv(nil, s.srq, ws) }

func postRecv(qp *C.struct_ibv_qp, srq *C.struct_ibv_srq, ws []RecvWR) (posted int, err error) {
	for posted < len(ws) {
		n := min(len(ws)-posted, Burst)
		var done C.int
		errno := C.fr_post_recv(qp, srq, (*C.struct_fr_recv)(unsafe.Pointer(&ws[posted])), C.int(n), &done)
		posted += int(done)
		if errno != 0 {
			return posted, failed("ibv_post_recv", int(errno), "%d of %d taken: is the receive queue full?", posted, len(ws))
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
