package xdp

import "errors"

// What set-up can fail with beside the errors of packages bpf and afxdp, which come wrapped. The message of the returned error says more:
// which interface, port or limit it is, and what to do next.
var (
	// ErrLocalAddress: the address is this host's own. It routes over lo, which has no native XDP; udp:// and auto:// reach it.
	ErrLocalAddress = errors.New("address of this host")

	// ErrNoInterface: no interface of that name, none that has that address, or none with an AF_XDP queue on the route.
	ErrNoInterface = errors.New("no such interface")

	// ErrPortTaken: a socket holds the UDP port already.
	ErrPortTaken = errors.New("port is taken")

	// ErrQueue: the interface has no such queue.
	ErrQueue = errors.New("queue out of range")

	// ErrMTU: the interface's MTU does not fit into a packet buffer.
	ErrMTU = errors.New("MTU too large")

	// ErrSettings: a setting is unknown, malformed, or contradicts the one that the interface was opened with.
	ErrSettings = errors.New("bad setting")

	// ErrInterfaceGone: the interface was deleted while it was in use. Nothing brings the Link back; close it, and open a new one.
	ErrInterfaceGone = errors.New("interface was deleted")

	// ErrTooLong: a packet is longer than its path carries.
	ErrTooLong = errors.New("packet is longer than the path's MTU")
)
