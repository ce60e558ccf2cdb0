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
	"time"
	"unsafe"
)

// Route is the way to an address: which device and port lead there.
type Route struct {
	*ident
	remote netip.AddrPort
}

// Reservation is a local port that is nobody else's.
type Reservation struct{ *ident }

// Reserve takes a free port of an address of this machine's, for several Routes to begin from. It is to be closed.
func (m *CM) Reserve(kind QPType, ip netip.Addr) (*Reservation, error) {
	i, err := m.create(kind)
	if err != nil {
		return nil, err
	}
	a := sockaddr(netip.AddrPortFrom(ip, 0))
	err = i.call("rdma_bind_addr", ip, func(id *C.struct_rdma_cm_id) C.int {
		if errno := C.fr_share_port(id); errno != 0 {
			return errno
		}
		return C.fr_bind(id, &a)
	})
	if err != nil {
		_ = i.Close()
		return nil, err
	}
	return &Reservation{i}, nil
}

// Addr is what is reserved.
func (r *Reservation) Addr() netip.AddrPort {
	local, _ := r.Addrs()
	return local
}

// Resolve finds the way to a remote address, for queue pairs of a type. local may be the zero AddrPort, and has a port only if that is
// reserved. It is to be closed.
func (m *CM) Resolve(ctx context.Context, kind QPType, local, remote netip.AddrPort) (*Route, error) {
	i, err := m.create(kind)
	if err != nil {
		return nil, err
	}
	r := &Route{ident: i, remote: remote}
	if err := r.resolve(ctx, local); err != nil {
		_ = i.Close()
		return nil, err
	}
	return r, nil
}

func (r *Route) resolve(ctx context.Context, local netip.AddrPort) error {
	from, to, ms := sockaddr(local), sockaddr(r.remote), stepMillis(ctx)
	advice := fmt.Sprintf("%v: is there a route over an RDMA device that is up ('ip route get', 'rdma link')?", r.remote)
	err := r.call("rdma_resolve_addr", advice, func(id *C.struct_rdma_cm_id) C.int {
		if !local.Addr().IsValid() {
			return C.fr_resolve(id, nil, &to, ms)
		}
		if local.Port() != 0 {
			if errno := C.fr_share_port(id); errno != 0 {
				return errno
			}
		}
		return C.fr_resolve(id, &from, &to, ms)
	})
	if err != nil {
		return err
	}
	if _, err := r.await(ctx, C.RDMA_CM_EVENT_ADDR_RESOLVED, "rdma_resolve_addr", r.remote); err != nil {
		return err
	}
	if err := r.call("rdma_resolve_route", advice, func(id *C.struct_rdma_cm_id) C.int { return C.fr_route(id, ms) }); err != nil {
		return err
	}
	_, err = r.await(ctx, C.RDMA_CM_EVENT_ROUTE_RESOLVED, "rdma_resolve_route", r.remote)
	return err
}

// stepLimit bounds one step of rdma_cm, which answers with an error after it.
const stepLimit = 5 * time.Second

func stepMillis(ctx context.Context) C.int {
	limit := stepLimit
	if end, ok := ctx.Deadline(); ok {
		limit = min(limit, max(time.Until(end), time.Millisecond))
	}
	return C.int(limit.Milliseconds())
}

// Device that leads there, and its port; the empty name after Close.
func (i *ident) Device() (name string, port int) {
	_ = i.call("", nil, func(id *C.struct_rdma_cm_id) C.int {
		if d := C.fr_id_device(id); d != nil {
			name, port = C.GoString(d), int(C.fr_id_port(id))
		}
		return 0
	})
	return name, port
}

// GID is this end's row of the port's table, as rdma_cm knows it once an address is bound or resolved: with RoCE the local address, over InfiniBand
// the port's own, which is no IP address. Zero after Close.
func (i *ident) GID() (g GID) {
	_ = i.call("", nil, func(id *C.struct_rdma_cm_id) C.int {
		g = *(*GID)(unsafe.Pointer(C.fr_id_gid(id)))
		return 0
	})
	return g
}

// Addrs are both ends' addresses.
func (i *ident) Addrs() (local, remote netip.AddrPort) {
	_ = i.call("", nil, func(id *C.struct_rdma_cm_id) C.int {
		local, remote = addrPort(C.fr_local(id)), addrPort(C.fr_peer(id))
		return 0
	})
	return local, remote
}

// Datagram is where datagrams to a listener go.
type Datagram struct {
	AddressVector // with the remote GID, also where it is not global
	QPN, QKey     uint32
	Data          []byte // what the listener sent along
}

// LookUp asks the listener at the route's end for its queue pair, with some private data.
func (r *Route) LookUp(ctx context.Context, data []byte) (Datagram, error) {
	if len(data) > MaxPrivate {
		return Datagram{}, failedAs(ErrLimit, "rdma_connect", int(syscall.EINVAL), "%d bytes of private data: at most %d", len(data), MaxPrivate)
	}
	err := r.call("rdma_connect", r.remote, func(id *C.struct_rdma_cm_id) C.int {
		return C.fr_connect(id, 0, 0, maxRetries, maxRetries, 0, bytesOf(data), C.int(len(data)))
	})
	if err != nil {
		return Datagram{}, err
	}
	e, err := r.await(ctx, C.RDMA_CM_EVENT_ESTABLISHED, "rdma_connect", r.remote)
	if err != nil {
		return Datagram{}, err
	}
	return Datagram{AddressVector: vectorOf(&e.ah), QPN: uint32(e.qpn), QKey: uint32(e.qkey), Data: private(&e)}, nil
}

// MaxPrivate is how many bytes of private data go along with a request, and with its answer.
const MaxPrivate = int(C.FR_PRIVATE) - 1 // see introduce

// Most retries of a connection: 3 bits.
const maxRetries = 7

// connRetries is how often both ends send again what is not acknowledged, before the connection has failed. 7 would be without end with soft-RoCE
// (rxe_comp.c, COMPST_ERROR_RETRY), though the specification has that meaning for receives that are missing only.
const connRetries = 6

func bytesOf(b []byte) *C.uint8_t {
	if len(b) == 0 {
		return nil
	}
	return (*C.uint8_t)(unsafe.Pointer(&b[0]))
}

// Conn is a reliable connection that the connection manager watches.
type Conn struct {
	*ident
	QP   *QP
	Data []byte // what the other side sent along
}

// Done is closed when the other side disconnected, also because its process was killed, the device went away, or Close was called. The queue
// pair is as it was. A remote machine that is lost is noticed only by work that fails.
func (c *Conn) Done() <-chan struct{} { return c.gone }

// Terms of a reliable connection.
type Terms struct {
	Access Access // what the remote side may do to regions that allow it
	Reads  int    // reads and atomics at once, each way
	RNR    int    // retries when the remote side has no receive posted; 7: without end
	Data   []byte // for the other side, at most MaxPrivate
	Shared bool   // the queue pair has a shared receive queue
}

// Connect connects qp, in state RESET and of the route's device, with the listener at the route's end. Before is called when qp can take
// receives, and before anything can arrive; it may be nil.
func (r *Route) Connect(ctx context.Context, qp *QP, t Terms, before func() error) (*Conn, error) {
	if err := r.initialize(qp, &t, before); err != nil {
		return nil, err
	}
	err := r.call("rdma_connect", r.remote, func(id *C.struct_rdma_cm_id) C.int {
		data := introduce(id, t.Data)
		return C.fr_connect(id, C.uint32_t(qp.Number()), C.int(t.Reads), connRetries, C.int(t.RNR), shared(&t), bytesOf(data), C.int(len(data)))
	})
	if err != nil {
		return nil, err
	}
	e, err := r.await(ctx, C.RDMA_CM_EVENT_CONNECT_RESPONSE, "rdma_connect", r.remote)
	if err != nil {
		return nil, err
	}
	data := r.agree(private(&e))
	if err := r.ready(qp, &t); err != nil {
		return nil, err
	}
	if err := r.call("rdma_establish", r.remote, func(id *C.struct_rdma_cm_id) C.int { return C.fr_establish(id) }); err != nil {
		return nil, err
	}
	return &Conn{ident: r.ident, QP: qp, Data: data}, nil
}

// introduce puts the port's MTU before private data. The connection manager tells the listener the other side's, and nobody the listener's: packets
// that are too long for it, or that it could not send itself, would be lost. Both ends take the smaller one.
func introduce(id *C.struct_rdma_cm_id, data []byte) []byte {
	return append([]byte{byte(C.fr_id_mtu(id))}, data...)
}

// agree notes the MTU that the other side has put before its private data.
func (i *ident) agree(data []byte) []byte {
	if i.kind != RC || len(data) == 0 {
		return data
	}
	i.mtu = data[0]
	return data[1:]
}

func shared(t *Terms) C.int {
	if t.Shared {
		return 1
	}
	return 0
}

// initialize brings qp to INIT, where receives can be posted.
func (i *ident) initialize(qp *QP, t *Terms, before func() error) error {
	if len(t.Data) > MaxPrivate || t.Reads < 0 || t.Reads > 255 || t.RNR < 0 || t.RNR > maxRetries {
		return failedAs(ErrLimit, "rdma_connect", int(syscall.EINVAL), "%d bytes of private data, %d reads, %d retries: at most %d, 255 and %d",
			len(t.Data), t.Reads, t.RNR, MaxPrivate, maxRetries)
	}
	if err := i.modify(qp, C.IBV_QPS_INIT, t); err != nil {
		return err
	}
	if before == nil {
		return nil
	}
	return before()
}

// ready brings qp from INIT to RTS.
func (i *ident) ready(qp *QP, t *Terms) error {
	if err := i.modify(qp, C.IBV_QPS_RTR, t); err != nil {
		return err
	}
	return i.modify(qp, C.IBV_QPS_RTS, t)
}

func (i *ident) modify(qp *QP, state uint32, t *Terms) error {
	var verb *C.char
	var errno C.int
	if qp.qp == nil {
		return ErrClosed
	}
	err := i.call("", nil, func(id *C.struct_rdma_cm_id) C.int {
		mtu := C.fr_id_mtu(id)
		if i.mtu >= C.IBV_MTU_256 {
			mtu = min(mtu, C.int(i.mtu))
		}
		errno = C.fr_modify_by(id, qp.qp, state, C.int(t.Access), C.int(t.Reads), mtu, &verb)
		return 0
	})
	if err == nil && errno != 0 {
		err = failed(C.GoString(verb), int(errno), "queue pair %d to state %d", qp.Number(), state)
	}
	return err
}
