package xdp

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/afxdp"
	"github.com/fastrpc/fastrpc/bpf"
	"github.com/fastrpc/fastrpc/internal/netpath"
	"github.com/fastrpc/fastrpc/transport"
)

// What set-up can fail with beside the errors of packages bpf and afxdp, which come wrapped. All match what package
// transport sorts them into (transport.ErrInvalid and its like). The message of the returned error says more:
// which interface, port or limit it is, and what to do next.
var (
	// ErrLocalAddress: the address is this host's own. It routes over lo, which has no native XDP; udp:// and auto:// reach it.
	ErrLocalAddress = transport.Mark(transport.ErrInvalid, errors.New("address of this host"))

	// ErrNoInterface: no interface of that name, none that has that address, or none with an AF_XDP queue on the route.
	ErrNoInterface = transport.Mark(transport.ErrNotFound, errors.New("no such interface"))

	// ErrPortTaken: a socket holds the UDP port already.
	ErrPortTaken = transport.Mark(transport.ErrPrecondition, errors.New("port is taken"))

	// ErrQueue: the interface has no such queue.
	ErrQueue = transport.Mark(transport.ErrInvalid, errors.New("queue out of range"))

	// ErrMTU: the interface's MTU does not fit into a packet buffer.
	ErrMTU = transport.Mark(transport.ErrPrecondition, errors.New("MTU too large"))

	// ErrSettings: a setting is unknown, malformed, or contradicts the one that the interface was opened with.
	ErrSettings = transport.Mark(transport.ErrInvalid, errors.New("bad setting"))

	// ErrInterfaceGone: the interface was deleted while it was in use. Nothing brings the Link back; close it, and open a new one.
	ErrInterfaceGone = errors.New("interface was deleted")

	// ErrTooLong: a packet is longer than its path carries.
	ErrTooLong = errors.New("packet is longer than the path's MTU")
)

// setupError sorts what other packages answer to set-up into package transport's errors. What may pass by itself stays as it is, and so does
// nil.
func setupError(err error) error {
	var attached *bpf.AttachedError
	if errors.As(err, &attached) {
		return transport.Mark(transport.ErrPrecondition, err)
	}
	for _, known := range []struct{ is, kind error }{
		{afxdp.ErrQueueBusy, transport.ErrPrecondition},
		{bpf.ErrQueueTaken, transport.ErrPrecondition},
		{afxdp.ErrNoZeroCopy, transport.ErrPrecondition},
		{afxdp.ErrMemoryLock, transport.ErrPrecondition},
		{unix.EOPNOTSUPP, transport.ErrPrecondition},   // native XDP, of the driver
		{unix.EAFNOSUPPORT, transport.ErrPrecondition}, // AF_XDP, of the kernel
		{afxdp.ErrNoDevice, transport.ErrNotFound},
		{unix.ENODEV, transport.ErrNotFound},
		{afxdp.ErrNoQueue, transport.ErrInvalid},
		{netpath.ErrNotUnicast, transport.ErrInvalid},
		{netpath.ErrNotEthernet, transport.ErrInvalid},
	} {
		if errors.Is(err, known.is) {
			return transport.Mark(known.kind, err)
		}
	}
	return err
}
