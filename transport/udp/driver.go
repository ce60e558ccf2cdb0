// Package udp is the Link over the kernel's UDP sockets: one socket a Link, whole bursts in one recvmmsg or sendmmsg, received bytes in place.
//
// A frame's Data is exactly one datagram's payload, so that the peer may as well be any other program that speaks UDP. Packets are never
// fragmented. The sockets stay out of Go's network poller: a Link polls them without blocking, and parks in ppoll only when told to Wait.
//
// Addresses: udp://HOST:PORT, where HOST is an IP address, a link-local one with its zone; the name of an interface, which then must have
// received the packet, so that this host's own packets, which take the loopback, do not count; or nothing, 0.0.0.0 or [::], for every
// address of both families. Settings:
//
//	frames=N    buffers of 2 KiB, half of them to send and half to receive (default 2048, 16 to 65536)
//	busypoll=N  let the kernel poll the device for up to N µs when a receive finds nothing (SO_BUSY_POLL; needs CAP_NET_ADMIN)
//
// Linux 4.11 or newer.
package udp

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"

	"github.com/fastrpc/fastrpc/internal/sock"
	"github.com/fastrpc/fastrpc/transport"
)

// Driver opens UDP ports; importing the package registers it as "udp".
type Driver struct{}

func init() { transport.Register("udp", Driver{}) }

// port is one Link on one socket. Its address is given up with the Link: a socket has no life without it.
type port struct {
	link  *Link
	local netip.AddrPort
}

func (p *port) Links() []transport.Link { return []transport.Link{p.link} }
func (p *port) Local() netip.AddrPort   { return p.local }
func (p *port) Close() error            { return nil }

// Listen implements transport.Driver. It does not block.
func (Driver) Listen(ctx context.Context, t transport.Target) (transport.Port, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("udp: %w", err)
	}
	s, err := parseSettings(t.Query)
	if err != nil {
		return nil, fmt.Errorf("udp: %w", err)
	}
	p, err := open(sock.BindingOf(t), s)
	if err != nil {
		return nil, fmt.Errorf("udp: %w", err)
	}
	return p, nil
}

// Dial implements transport.Driver. It does not block: whether anybody is there, the first packets tell.
func (Driver) Dial(ctx context.Context, t transport.Target, remote netip.AddrPort) (transport.Port, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("udp: %w", err)
	}
	s, err := parseSettings(t.Query)
	if err != nil {
		return nil, fmt.Errorf("udp: %w", err)
	}
	ip, err := sock.SourceFor(remote)
	if err != nil {
		return nil, fmt.Errorf("udp: %w", err)
	}
	p, err := open(sock.Binding{IP: ip}, s)
	if err != nil {
		return nil, fmt.Errorf("udp: %w", err)
	}
	return p, nil
}

func open(b sock.Binding, s settings) (transport.Port, error) {
	l := &Link{fd: -1}
	bound, err := l.open(&b, s)
	if err != nil {
		l.release()
		return nil, err
	}
	return &port{link: l, local: bound}, nil
}

// settings are what stands behind the address's question mark.
type settings struct {
	frames         int
	busyPollMicros int
}

func parseSettings(q url.Values) (settings, error) {
	s := settings{frames: defaultFrames}
	err := sock.Settings(q, "frames and busypoll", func(key, value string) (known bool, err error) {
		switch key {
		case "frames":
			s.frames, err = sock.Number(value, 16, 65536)
		case "busypoll":
			s.busyPollMicros, err = sock.Number(value, 0, 1_000_000)
		default:
			return false, nil
		}
		return true, err
	})
	return s, err
}
