//go:build rdma

package rdma

/*
#cgo noescape fr_poll
#cgo nocallback fr_poll
#include <errno.h>
#include "verbs.h"
static struct ibv_cq *fr_create_cq(struct ibv_context *c, int entries, uintptr_t id, struct ibv_comp_channel *ch) {
	return ibv_create_cq(c, entries, (void *)id, ch, 0);
}

// fr_take takes one event of a channel that does not block, and returns 0, or an errno; EAGAIN: none waits.
static int fr_take(struct ibv_comp_channel *ch) {
	struct ibv_cq *cq;
	void *ctx;
	if (ibv_get_cq_event(ch, &cq, &ctx))
		return errno;
	ibv_ack_cq_events(cq, 1);
	return 0;
}

static int fr_req_notify(struct ibv_cq *cq, int solicited) { return ibv_req_notify_cq(cq, solicited); }
*/
import "C"

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// CQ is a completion queue. One goroutine at a time polls it.
type CQ struct {
	cq   *C.struct_ibv_cq
	ch   *C.struct_ibv_comp_channel // nil: it is only polled
	of   *Context
	lent bool // ch is another queue's
	id   uint32
}

// CreateCQ makes a queue for at least entries completions. With events it also has a descriptor to wait at: see CQ.Arm. When more work is
// under way than the queue has room for, it may overflow, which is an asynchronous event and the end of its queue pairs.
func (c *Context) CreateCQ(entries int, events bool) (*CQ, error) {
	if entries < 1 || entries > int(c.attr.max_cqe) {
		return nil, failedAs(ErrLimit, "ibv_create_cq", int(syscall.EINVAL), "%s has completion queues of 1 to %d entries, not %d", c.name, c.attr.max_cqe, entries)
	}
	q := &CQ{of: c}
	if events {
		ch, err := C.ibv_create_comp_channel(c.c)
		if ch == nil {
			return nil, failed("ibv_create_comp_channel", errnoOf(err), "%s", c.name)
		}
		q.ch = ch
		if err := unix.SetNonblock(int(ch.fd), true); err != nil {
			C.ibv_destroy_comp_channel(ch)
			return nil, failed("fcntl", errnoOf(err), "completion channel of %s", c.name)
		}
	}
	if err := q.create(entries); err != nil {
		if q.ch != nil {
			C.ibv_destroy_comp_channel(q.ch)
		}
		return nil, err
	}
	return q, nil
}

// Sibling makes another queue whose events come to q's descriptor, and are acknowledged there. It must be closed before q.
func (q *CQ) Sibling(entries int) (*CQ, error) {
	s := &CQ{ch: q.ch, of: q.of, lent: true}
	if err := s.create(entries); err != nil {
		return nil, err
	}
	return s, nil
}

func (q *CQ) create(entries int) error {
	q.id = nextID()
	cq, err := C.fr_create_cq(q.of.c, C.int(entries), C.uintptr_t(q.id), q.ch)
	if cq == nil {
		return pinFailed("ibv_create_cq", err, fmt.Sprintf("%d entries of a completion queue on %s", entries, q.of.name))
	}
	q.cq = cq
	return nil
}

// ID names the queue in asynchronous events; it is not 0.
func (q *CQ) ID() uint32 { return q.id }

// ids are those of queues of both kinds.
var ids atomic.Uint32

func nextID() uint32 { return ids.Add(1) }

// Entries is the room of the queue; 0 after Close.
func (q *CQ) Entries() int {
	if q.cq == nil {
		return 0
	}
	return int(q.cq.cqe)
}

// Poll writes completions to wcs, at most Burst, and returns how many; 0 means that there is none. It takes one call into C.
func (q *CQ) Poll(wcs []WC) (int, error) { return q.Spin(wcs, 1) }

// Spin is Poll for somebody who waits: it polls until there are completions, up to so many times, all within one call into C. An empty poll is
// a look at memory, so that the calls into C and back would be most of a loop of Polls.
func (q *CQ) Spin(wcs []WC, polls int) (int, error) {
	if q.cq == nil {
		return 0, ErrClosed
	}
	if len(wcs) == 0 {
		return 0, nil
	}
	n := C.fr_poll(q.cq, (*C.struct_fr_wc)(unsafe.Pointer(&wcs[0])), C.int(min(len(wcs), Burst)), C.int(polls))
	return q.polled(n)
}

// polled is what fr_poll returned.
func (q *CQ) polled(n C.int) (int, error) {
	if n < 0 { // which is no errno
		return 0, failed("ibv_poll_cq", 0, "the completion queue has failed, or overflowed; close its queue pairs")
	}
	return int(n), nil
}

// FD is the descriptor that is readable when there are completions after Arm; -1 without events, and after Close.
func (q *CQ) FD() int {
	if q.ch == nil {
		return -1
	}
	return int(q.ch.fd)
}

// Arm asks for one event at the next completion. What completed before makes none: poll once more after Arm, before waiting at FD.
func (q *CQ) Arm() error { return q.arm(0) }

// ArmSolicited is Arm for the next receive whose sender set Solicited, or the next failure; other completions make no event.
func (q *CQ) ArmSolicited() error { return q.arm(1) }

func (q *CQ) arm(solicited C.int) error {
	if q.cq == nil {
		return ErrClosed
	}
	if errno := C.fr_req_notify(q.cq, solicited); errno != 0 {
		return failed("ibv_req_notify_cq", int(errno), "")
	}
	return nil
}

// Acknowledge takes the events that wait at FD; it does not block.
func (q *CQ) Acknowledge() error {
	for q.ch != nil {
		switch errno := q.take(); syscall.Errno(errno) {
		case 0:
		case syscall.EAGAIN:
			return nil
		default:
			return failed("ibv_get_cq_event", int(errno), "")
		}
	}
	return nil
}

// take takes one event; EAGAIN says that none waits.
func (q *CQ) take() C.int { return C.fr_take(q.ch) }

// Close closes the queue; its queue pairs must be closed.
func (q *CQ) Close() error {
	if q.cq == nil {
		return ErrClosed
	}
	if errno := C.ibv_destroy_cq(q.cq); errno != 0 {
		return failed("ibv_destroy_cq", int(errno), "close its queue pairs first")
	}
	ch := q.ch
	q.cq, q.ch = nil, nil
	if ch != nil && !q.lent {
		if errno := C.ibv_destroy_comp_channel(ch); errno != 0 {
			return failed("ibv_destroy_comp_channel", int(errno), "")
		}
	}
	return nil
}
