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
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

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
	b := binding{port: t.Port}
	if t.Host != "" {
		if b.ip, err = netip.ParseAddr(t.Host); err != nil {
			b.iface = t.Host
		}
	}
	p, err := open(b, s)
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
	ip, err := sourceFor(remote)
	if err != nil {
		return nil, fmt.Errorf("udp: %w", err)
	}
	p, err := open(binding{ip: ip}, s)
	if err != nil {
		return nil, fmt.Errorf("udp: %w", err)
	}
	return p, nil
}

func open(b binding, s settings) (transport.Port, error) {
	l := &Link{wakeFD: -1, probeFD: -1, fd: -1}
	if err := l.open(b, s); err != nil {
		l.release()
		return nil, err
	}
	return &port{link: l, local: netip.AddrPortFrom(l.ip, l.port)}, nil
}

// settings are what stands behind the address's question mark.
type settings struct {
	frames         int
	busyPollMicros int
}

func parseSettings(q url.Values) (settings, error) {
	s := settings{frames: defaultFrames}
	keys := make([]string, 0, len(q))
	for k := range q {
		keys = append(keys, k)
	}
	slices.Sort(keys) // so that of several mistakes always the same is named
	for _, k := range keys {
		var err error
		switch k {
		case "frames":
			s.frames, err = number(q.Get(k), 16, 65536)
		case "busypoll":
			s.busyPollMicros, err = number(q.Get(k), 0, 1_000_000)
		default:
			return s, invalid("setting %q is unknown; there are frames and busypoll: %w", k, unix.EINVAL)
		}
		if err != nil {
			return s, invalid("setting %s=%s: %w", k, q.Get(k), err)
		}
	}
	return s, nil
}

func invalid(format string, args ...any) error {
	return transport.Mark(transport.ErrInvalid, fmt.Errorf(format, args...))
}

func notFound(format string, args ...any) error {
	return transport.Mark(transport.ErrNotFound, fmt.Errorf(format, args...))
}

func number(v string, least, most int) (int, error) {
	n, err := strconv.Atoi(v)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("want a number from %d to %d: %w", least, most, unix.EINVAL)
	}
	return n, nil
}
