//go:build rdma

package rdma

/*
#include <errno.h>
#include "verbs.h"

struct fr_event { uint32_t type, object; };

// fr_async returns 0, or an errno; EAGAIN: none waits. An event is acknowledged at once: what it is about is only numbered in it.
static int fr_async(struct ibv_context *c, struct fr_event *out) {
	struct ibv_async_event e;
	if (ibv_get_async_event(c, &e))
		return errno;
	out->type = e.event_type;
	switch (e.event_type) {
	case IBV_EVENT_QP_FATAL: case IBV_EVENT_QP_REQ_ERR: case IBV_EVENT_QP_ACCESS_ERR: case IBV_EVENT_COMM_EST: case IBV_EVENT_SQ_DRAINED:
	case IBV_EVENT_PATH_MIG: case IBV_EVENT_PATH_MIG_ERR: case IBV_EVENT_QP_LAST_WQE_REACHED:
		out->object = e.element.qp->qp_num;
		break;
	case IBV_EVENT_PORT_ACTIVE: case IBV_EVENT_PORT_ERR: case IBV_EVENT_LID_CHANGE: case IBV_EVENT_PKEY_CHANGE: case IBV_EVENT_SM_CHANGE:
	case IBV_EVENT_CLIENT_REREGISTER: case IBV_EVENT_GID_CHANGE:
		out->object = (uint32_t)e.element.port_num;
		break;
	default:
		out->object = 0;
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
	EventLastWQEReached EventType = 16
	EventGIDChange      EventType = 18
)

func (t EventType) String() string { return C.GoString(C.ibv_event_type_str(uint32(t))) }

// AsyncEvent is something that happened to a device beside its work.
type AsyncEvent struct {
	Type EventType
	QPN  uint32 // of an event about a queue pair
	Port int    // of one about a port
}

func (e AsyncEvent) String() string {
	switch {
	case e.QPN != 0:
		return fmt.Sprintf("%v (queue pair %d)", e.Type, e.QPN)
	case e.Port != 0:
		return fmt.Sprintf("%v (port %d)", e.Type, e.Port)
	}
	return e.Type.String()
}

// Event waits for the next asynchronous event, until ctx ends. One goroutine at a time.
func (c *Context) Event(ctx context.Context) (AsyncEvent, error) {
	if c.asyncFile == nil {
		fd, err := dupNonblock(int(c.c.async_fd), "async events of "+c.name)
		if err != nil {
			return AsyncEvent{}, err
		}
		c.asyncFile = fd
	}
	var e C.struct_fr_event
	errno, err := wait(ctx, c.asyncFile, func() C.int { return C.fr_async(c.c, &e) })
	if err != nil {
		return AsyncEvent{}, err
	}
	if errno != 0 {
		return AsyncEvent{}, failed("ibv_get_async_event", int(errno), "%s", c.name)
	}
	out := AsyncEvent{Type: EventType(e._type)}
	if out.Type >= EventPortActive && out.Type <= 13 || out.Type >= 17 {
		out.Port = int(e.object)
	} else {
		out.QPN = uint32(e.object)
	}
	return out, nil
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

// wait calls get whenever f is readable, until it does not answer EAGAIN, and gives its answer.
func wait(ctx context.Context, f *os.File, get func() C.int) (errno C.int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	if err := f.SetReadDeadline(time.Time{}); err != nil {
		return 0, err
	}
	defer context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })()
	err = raw.Read(func(uintptr) bool {
		errno = get()
		return errno != C.int(syscall.EAGAIN)
	})
	if ctx.Err() != nil && err != nil {
		err = ctx.Err()
	} else if errors.Is(err, os.ErrClosed) {
		err = ErrClosed
	}
	return errno, err
}
