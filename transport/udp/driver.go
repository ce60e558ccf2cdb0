// Package udp moves frames over kernel UDP sockets: one socket a Link, in batches of recvmmsg and sendmmsg.
package udp

import (
	"context"
	"net/netip"

	"github.com/fastrpc/fastrpc/transport"
)

// Driver opens UDP ports; it is registered as "udp".
type Driver struct{}

func init() { transport.Register("udp", Driver{}) }

// Listen implements transport.Driver for udp://HOST:PORT.
func (Driver) Listen(ctx context.Context, t transport.Target) (transport.Port, error) { panic("skeleton") }

// Dial implements transport.Driver.
func (Driver) Dial(ctx context.Context, t transport.Target, remote netip.AddrPort) (transport.Port, error) {
	panic("skeleton")
}
