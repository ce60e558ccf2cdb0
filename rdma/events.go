//go:build rdma

package rdma

/*
#include <errno.h>
#include "verbs.h"

struct fr_event { uint32_t type, qpn, port, queue; };

// fr_async returns 0, or an errno; EAGAIN: none waits. An event is acknowledged at once: what it is about is only numbered in it.
static int fr_async(struct ibv_context *c, struct fr_event *out) {
	struct ibv_async_event e;
	if (ibv_get_async_event(c, &e))
		return errno;
	*out = (struct fr_event){ .type = e.event_type };
	switch (e.event_type) {
	case IBV_EVENT_QP_FATAL: case IBV_EVENT_QP_REQ_ERR: case IBV_EVENT_QP_ACCESS_ERR: case IBV_EVENT_COMM_EST: case IBV_EVENT_SQ_DRAINED:
	case IBV_EVENT_PATH_MIG: case IBV_EVENT_PATH_MIG_ERR: case IBV_EVENT_QP_LAST_WQE_REACHED:
		out->qpn = e.element.qp->qp_num;
		break;
	case IBV_EVENT_PORT_ACTIVE: case IBV_EVENT_PORT_ERR: case IBV_EVENT_LID_CHANGE: case IBV_EVENT_PKEY_CHANGE: case IBV_EVENT_SM_CHANGE:
	case IBV_EVENT_CLIENT_REREGISTER: case IBV_EVENT_GID_CHANGE:
		out->port = (uint32_t)e.element.port_num;
		break;
	case IBV_EVENT_CQ_ERR:
		out->queue = (uint32_t)(uintptr_t)e.element.cq->cq_context;
		break;
	case IBV_EVENT_SRQ_ERR: case IBV_EVENT_SRQ_LIMIT_REACHED:
		out->queue = (uint32_t)(uintptr_t)e.element.srq->srq_context;
		break;
	default: // of the device
		break;
	}
	ibv_ack_async_event(&e);
	return 0;
}
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// EventType is what happened to a device (enum ibv_event_type).
type EventType uint32

// The events that callers tell apart.
const (
	EventCQError        EventType = 0 // a completion queue overflowed or failed
	EventQPFatal        EventType = 1
	EventQPRequest      EventType = 2
	EventQPAccess       EventType = 3
	EventDeviceFatal    EventType = 8 // also: the device was removed
	EventPortActive     EventType = 9
	EventPortError      EventType = 10 // the port is down
	EventSRQError       EventType = 14
	EventSRQLimit       EventType = 15 // fewer receives are left than SRQ.Limit said
	EventLastWQEReached EventType = 16
	EventGIDChange      EventType = 18
)

func (t EventType) String() string { return C.GoString(C.ibv_event_type_str(uint32(t))) }

// AsyncEvent is something that happened to a device beside its work.
type AsyncEvent struct {
	Type  EventType
	QPN   uint32 // of an event about a queue pair
	Port  int    // of one about a port
	Queue uint32 // of one about a completion queue or a shared receive queue: its ID
}

func (e AsyncEvent) String() string {
	switch {
	case e.QPN != 0:
		return fmt.Sprintf("%v (queue pair %d)", e.Type, e.QPN)
	case e.Port != 0:
		return fmt.Sprintf("%v (port %d)", e.Type, e.Port)
	case e.Queue != 0:
		return fmt.Sprintf("%v (queue %d)", e.Type, e.Queue)
	}
	return e.Type.String()
}

// Event waits for the next asynchronous event, until ctx ends, or the device is closed, when the error is ErrClosed. One goroutine at a time;
// another may close the device meanwhile. What happened while nobody waited is kept for the next.
func (c *Context) Event(ctx context.Context) (AsyncEvent, error) {
	var e C.struct_fr_event
	errno, err := wait(ctx, c.async, func() C.int { return C.fr_async(c.c, &e) })
	if err != nil {
		return AsyncEvent{}, err
	}
	if errno != 0 {
		return AsyncEvent{}, failed("ibv_get_async_event", int(errno), "%s", c.name)
	}
	return AsyncEvent{Type: EventType(e._type), QPN: uint32(e.qpn), Port: int(e.port), Queue: uint32(e.queue)}, nil
}

// dupNonblock makes a file of a descriptor that libibverbs owns, for Go's poller; reads through the original do not block from then on.
func dupNonblock(fd int, name string) (*os.File, error) {
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(n, true) // of the open file description, which both have
	}
	if err != nil {
		return nil, fmt.Errorf("rdma: %s: %w", name, err)
	}
	return os.NewFile(uintptr(n), name), nil
}

// wait calls get whenever f is readable, until it does not answer EAGAIN, and gives its answer. Closing f ends it with ErrClosed, and waits for
// a call of get that is under way.
func wait(ctx context.Context, f *os.File, get func() C.int) (errno C.int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	defer context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })()
	for {
		// In this order: the deadline that ctx sets cannot be taken back here. One that is there may be of a wait that ended before.
		err = f.SetReadDeadline(time.Time{})
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = raw.Read(func(uintptr) bool {
				errno = get()
				return errno != C.int(syscall.EAGAIN)
			})
		}
		switch {
		case err == nil:
			return errno, nil
		case ctx.Err() != nil:
			return 0, ctx.Err()
		case errors.Is(err, os.ErrNoDeadline):
			return 0, err
		case !errors.Is(err, os.ErrDeadlineExceeded): // all that is left, and it is not os.ErrClosed (internal/poll, ErrFileClosing)
			return 0, ErrClosed
		}
	}
}
