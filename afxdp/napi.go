//go:build linux

package afxdp

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// NAPI tells which NAPI instance of the kernel receives the socket's packets: the number by which the netdev netlink family knows it
// (napi-get, napi-set; Linux 6.8, 6.13). It is what busy polling polls; while it is 0, busy polling does nothing. The kernel learns it from the
// first packet, with zero-copy at bind where the driver links its queues to NAPI instances (Linux 6.8), and from some drivers never: veth of
// Linux 6.14 and later registers its queues before they have one (drivers/net/veth.c, veth_enable_xdp_range).
//
// It makes a system call and may be called from any goroutine until Close.
func (s *Socket) NAPI() (id uint32, err error) {
	if s.fd < 0 {
		return 0, ErrClosed
	}
	v, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_INCOMING_NAPI_ID)
	if err != nil {
		return 0, fmt.Errorf("afxdp: SO_INCOMING_NAPI_ID: %w", err)
	}
	return uint32(v), nil
}
