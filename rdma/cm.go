//go:build rdma

package rdma

/*
#cgo LDFLAGS: -lrdmacm
#include "cm.h"
*/
import "C"

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// CM is the connection manager (rdma_cm): it finds the way to IP addresses and connects queue pairs. Its methods, and those of what it
// makes, may be called from any goroutine.
type CM struct {
	ch   *C.struct_rdma_event_channel
	file *os.File // of its descriptor, for Go's poller
	done chan struct{}
	home namespace // where it was opened, and where all that it makes belongs

	mu     sync.Mutex // held while an event is taken and handed on, and while an identifier is destroyed: so none is handed to another's successor
	ids    map[*C.struct_rdma_cm_id]*ident
	broken error // why there are no more events; nil: there are
}

// ident is an identifier of rdma_cm: one end of a connection, a lookup, or a listener.
type ident struct {
	cm     *CM
	id     *C.struct_rdma_cm_id
	kind   QPType
	events chan C.struct_fr_cm
	gone   chan struct{} // closed when the connection ended
	mtu    uint8         // enum ibv_mtu that the other side's port has; 0: it did not say
	ended  bool

	requests chan *Request // of a listener
}

// What may wait: events of one identifier, of which each step brings one, and requests of a listener.
const (
	cmEvents   = 8
	cmRequests = 128
)

// NewCM opens the connection manager.
func NewCM() (*CM, error) {
	ch, err := C.rdma_create_event_channel()
	if ch == nil {
		return nil, failedAs(ErrNoDevice, "rdma_create_event_channel", errnoOf(err), "is there a device ('fastrpc doctor'), and the kernel's module rdma_ucm loaded "+
			"('modprobe rdma_ucm')?")
	}
	home, err := openNamespace()
	if err != nil {
		C.rdma_destroy_event_channel(ch)
		return nil, err
	}
	file, err := dupNonblock(int(ch.fd), "rdma_cm")
	if err != nil {
		home.close()
		C.rdma_destroy_event_channel(ch)
		return nil, err
	}
	m := &CM{ch: ch, file: file, home: home, done: make(chan struct{}), ids: map[*C.struct_rdma_cm_id]*ident{}}
	go m.run()
	return m, nil
}

// run hands events to their identifiers until Close.
func (m *CM) run() {
	defer close(m.done)
	for {
		errno, err := wait(context.Background(), m.file, func() C.int {
			m.mu.Lock()
			defer m.mu.Unlock()
			var e C.struct_fr_cm
			errno := C.fr_cm_event(m.ch, &e)
			if errno == 0 {
				m.dispatch(&e)
			}
			return errno
		})
		if err != nil {
			return
		}
		if errno != 0 {
			m.fail(failed("rdma_get_cm_event", int(errno), "open the connection manager again"))
			return
		}
	}
}

// fail ends all there is when rdma_cm gives no more events; nothing new begins, for it would wait in vain.
func (m *CM) fail(why error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.broken = why
	for _, i := range m.ids {
		i.end()
	}
}

// dispatch is called with the lock held and does not block.
func (m *CM) dispatch(e *C.struct_fr_cm) {
	if e._type == C.RDMA_CM_EVENT_CONNECT_REQUEST {
		l := m.ids[e.listener]
		if l == nil {
			C.rdma_destroy_id(e.id)
			return
		}
		i := m.add(e.id, l.kind)
		r := &Request{ident: i, QPN: uint32(e.qpn), Reads: int(e.depth), Data: i.agree(private(e))}
		select {
		case l.requests <- r:
		default: // more than anybody accepts: the other side tries again
			i.destroyLocked()
		}
		return
	}
	i := m.ids[e.id]
	if i == nil {
		return
	}
	switch e._type {
	case C.RDMA_CM_EVENT_DISCONNECTED, C.RDMA_CM_EVENT_DEVICE_REMOVAL:
		i.end()
	case C.RDMA_CM_EVENT_TIMEWAIT_EXIT, C.RDMA_CM_EVENT_ADDR_CHANGE:
	default:
		select {
		case i.events <- *e:
		default:
		}
	}
}

func private(e *C.struct_fr_cm) []byte {
	return C.GoBytes(unsafe.Pointer(&e.data[0]), C.int(e.len))
}

func (m *CM) add(id *C.struct_rdma_cm_id, kind QPType) *ident {
	i := &ident{cm: m, id: id, kind: kind, events: make(chan C.struct_fr_cm, cmEvents), gone: make(chan struct{})}
	m.ids[id] = i
	return i
}

func (m *CM) create(kind QPType) (*ident, error) {
	space := C.int(C.RDMA_PS_TCP)
	if kind == UD {
		space = C.RDMA_PS_UDP
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ids == nil {
		return nil, ErrClosed
	}
	if m.broken != nil {
		return nil, m.broken
	}
	var id *C.struct_rdma_cm_id
	err := m.home.do(func() error {
		if errno := C.fr_create(m.ch, &id, space); errno != 0 {
			return failed("rdma_create_id", int(errno), "")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return m.add(id, kind), nil
}

// Close closes the connection manager and all that it made.
func (m *CM) Close() error {
	m.mu.Lock()
	if m.ids == nil {
		m.mu.Unlock()
		return ErrClosed
	}
	for _, i := range m.ids {
		i.destroyLocked()
	}
	m.ids = nil
	m.mu.Unlock()
	err := m.file.Close()
	<-m.done
	C.rdma_destroy_event_channel(m.ch)
	m.home.close()
	return err
}

// Close gives the identifier up; a connection ends by it.
func (i *ident) Close() error {
	i.cm.mu.Lock()
	defer i.cm.mu.Unlock()
	if i.id == nil {
		return ErrClosed
	}
	i.destroyLocked()
	return nil
}

func (i *ident) destroyLocked() {
	if i.id == nil {
		return
	}
	C.rdma_destroy_id(i.id)
	delete(i.cm.ids, i.id)
	i.id = nil
	i.end()
}

// end tells all who wait, with the lock held.
func (i *ident) end() {
	if !i.ended {
		i.ended = true
		close(i.gone)
	}
}

// call runs a function of rdma_cm on the identifier, unless it is closed.
func (i *ident) call(verb string, what any, f func(*C.struct_rdma_cm_id) C.int) error {
	i.cm.mu.Lock()
	defer i.cm.mu.Unlock()
	if i.id == nil {
		return ErrClosed
	}
	if errno := f(i.id); errno != 0 {
		return failed(verb, int(errno), "%v", what)
	}
	return nil
}

// await waits for an event; any other is the error of verb.
func (i *ident) await(ctx context.Context, want uint32, verb string, what any) (C.struct_fr_cm, error) {
	got := func(e C.struct_fr_cm) (C.struct_fr_cm, error) {
		if uint32(e._type) == want {
			return e, nil
		}
		return e, cmFailed(&e, verb, what)
	}
	select {
	case e := <-i.events:
		return got(e)
	case <-i.gone:
		select {
		case e := <-i.events: // came before the end
			return got(e)
		default:
		}
		return C.struct_fr_cm{}, failed(verb, int(syscall.ECONNRESET), "%v: the other side, or the device, went away", what)
	case <-ctx.Done():
		return C.struct_fr_cm{}, fmt.Errorf("rdma: %s: %v: %w", verb, what, ctx.Err())
	}
}

// cmFailed explains an event that says no.
func cmFailed(e *C.struct_fr_cm, verb string, what any) error {
	name := C.GoString(C.rdma_event_str(uint32(e._type)))
	switch e._type {
	case C.RDMA_CM_EVENT_REJECTED:
		return failed(verb, int(syscall.ECONNREFUSED), "%v: nobody listens there for this kind of queue pair, or it was rejected (status %d, %q)", what, e.status, bytes.TrimRight(private(e), "\x00"))
	case C.RDMA_CM_EVENT_ADDR_ERROR, C.RDMA_CM_EVENT_ROUTE_ERROR:
		return failed(verb, int(e.status), "%v: %s: is there a route over an RDMA device ('ip route get', 'rdma link')?", what, name)
	case C.RDMA_CM_EVENT_UNREACHABLE:
		if e.status > 0 { // a datagram lookup was answered, with a status of its own (drivers/infiniband/core/cma.c, cma_sidr_rep_handler)
			return failed(verb, int(syscall.ECONNREFUSED), "%v: nobody listens there for this kind of queue pair (status %d)", what, e.status)
		}
		return failed(verb, int(syscall.EHOSTUNREACH), "%v: no answer (status %d)", what, e.status)
	}
	return failed(verb, int(e.status), "%v: %s", what, name)
}

// sockaddr writes an address the way the kernel has it.
func sockaddr(a netip.AddrPort) C.struct_sockaddr_storage {
	var s C.struct_sockaddr_storage
	port := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, a.Port())) // network order
	if ip := a.Addr().Unmap(); ip.Is4() {
		*(*unix.RawSockaddrInet4)(unsafe.Pointer(&s)) = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: port, Addr: ip.As4()}
	} else if ip.Is6() {
		*(*unix.RawSockaddrInet6)(unsafe.Pointer(&s)) = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: port, Addr: ip.As16(), Scope_id: zone(ip)}
	}
	return s
}

func zone(ip netip.Addr) uint32 {
	if n, err := strconv.ParseUint(ip.Zone(), 10, 32); err == nil {
		return uint32(n)
	}
	if ifi, err := net.InterfaceByName(ip.Zone()); err == nil {
		return uint32(ifi.Index)
	}
	return 0
}

// addrPort reads an address that the kernel wrote.
func addrPort(s *C.struct_sockaddr) netip.AddrPort {
	host := func(p uint16) uint16 { return binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, p)) }
	switch s.sa_family {
	case unix.AF_INET:
		a := (*unix.RawSockaddrInet4)(unsafe.Pointer(s))
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), host(a.Port))
	case unix.AF_INET6:
		a := (*unix.RawSockaddrInet6)(unsafe.Pointer(s))
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), host(a.Port))
	}
	return netip.AddrPort{}
}
