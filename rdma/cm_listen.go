//go:build rdma

package rdma

/*
#include "cm.h"
*/
import "C"

import (
	"context"
	"fmt"
	"net/netip"
	"syscall"
)

// Listener takes requests for queue pairs of one type, at an address.
type Listener struct{ *ident }

// Listen begins to listen. A port of 0 takes any; an unspecified address those of all devices.
func (m *CM) Listen(kind QPType, addr netip.AddrPort) (*Listener, error) {
	i, err := m.create(kind)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	i.requests = make(chan *Request, cmRequests)
	m.mu.Unlock()
	a := sockaddr(addr)
	err = i.call("rdma_bind_addr", fmt.Sprintf("%v: does an RDMA device have this address ('rdma link', 'ip addr'), and is the port free?", addr),
		func(id *C.struct_rdma_cm_id) C.int { return C.fr_bind(id, &a) })
	if err == nil {
		err = i.call("rdma_listen", addr, func(id *C.struct_rdma_cm_id) C.int { return C.fr_listen(id, cmRequests) })
	}
	if err != nil {
		_ = i.Close()
		return nil, err
	}
	return &Listener{i}, nil
}

// Addr is where it listens.
func (l *Listener) Addr() netip.AddrPort {
	local, _ := l.Addrs()
	return local
}

// Next waits for a request, until ctx ends. It is to be accepted, or closed.
func (l *Listener) Next(ctx context.Context) (*Request, error) {
	select {
	case r := <-l.requests:
		return r, nil
	case <-l.gone:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Close stops listening. Requests that nobody took are refused.
func (l *Listener) Close() error {
	err := l.ident.Close()
	for {
		select {
		case r := <-l.requests:
			_ = r.Close()
		default:
			return err
		}
	}
}

// Request is somebody who asks for a queue pair.
type Request struct {
	*ident
	QPN   uint32 // the other side's, of a connection
	Reads int    // reads and atomics at once that it wants
	Data  []byte // private data
}

// Answer tells who asked for datagrams which queue pair takes them, with some private data; the request is closed by it.
func (r *Request) Answer(qp *QP, data []byte) error {
	defer r.Close()
	if len(data) > MaxPrivate {
		return failedAs(ErrLimit, "rdma_accept", int(syscall.EINVAL), "%d bytes of private data: at most %d", len(data), MaxPrivate)
	}
	return r.call("rdma_accept", "datagram", func(id *C.struct_rdma_cm_id) C.int {
		return C.fr_accept(id, C.uint32_t(qp.Number()), 0, 0, 0, bytesOf(data), C.int(len(data)))
	})
}

// Accept connects qp, in state RESET and of the request's device, with who asked. See Route.Connect. After an error the request is to be
// closed; with success it is the connection's.
func (r *Request) Accept(ctx context.Context, qp *QP, t Terms, before func() error) (*Conn, error) {
	if err := r.initialize(qp, &t, before); err != nil {
		return nil, err
	}
	if err := r.ready(qp, &t); err != nil {
		return nil, err
	}
	err := r.call("rdma_accept", "connection", func(id *C.struct_rdma_cm_id) C.int {
		data := introduce(id, t.Data)
		return C.fr_accept(id, C.uint32_t(qp.Number()), C.int(t.Reads), C.int(t.RNR), shared(&t), bytesOf(data), C.int(len(data)))
	})
	if err != nil {
		return nil, err
	}
	if _, err := r.await(ctx, C.RDMA_CM_EVENT_ESTABLISHED, "rdma_accept", "connection"); err != nil {
		return nil, err
	}
	return &Conn{ident: r.ident, QP: qp, Data: r.Data}, nil
}

// Reject refuses, with a reason of at most MaxPrivate bytes, and closes the request.
func (r *Request) Reject(reason string) error {
	defer r.Close()
	data := []byte(reason[:min(len(reason), MaxPrivate)])
	return r.call("rdma_reject", "", func(id *C.struct_rdma_cm_id) C.int { return C.fr_reject(id, bytesOf(data), C.int(len(data))) })
}
