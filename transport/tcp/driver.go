// Package tcp is the Link over the kernel's TCP: packets as frames in byte streams, one connection a peer. It is reliable and ordered, so that
// sessions leave checksums, retransmissions and congestion control to the kernel.
//
// A Link that listens accepts connections and opens none. One that dialled opens a connection with the first Send to a peer, from its one
// port, and again after it broke: to the peer it stays the same address. In front of each packet stands its length, four bytes, little-endian;
// a peer that sends another length than 1 to 8248 loses its connection. The sockets stay out of Go's network poller: a Link polls them
// without blocking, and parks in ppoll only when told to Wait.
//
// Addresses: tcp://HOST:PORT, where HOST is as in udp://: an IP address, a link-local one with its zone; the name of an interface; or
// nothing, 0.0.0.0 or [::], for every address of both families. Settings:
//
//	frames=N    buffers of 8 KiB, half of them to send and half to receive (default 2048, 16 to 65536)
//	busypoll=N  let the kernel poll the device for up to N µs when a receive finds nothing (SO_BUSY_POLL; needs CAP_NET_ADMIN)
//	conns=N     connections at once that a Link accepts (default 4096, 1 to 1048576)
//	idle=N      seconds after which a connection that nothing came on is closed (default 180, 1 to 86400)
//
// Linux 4.11 or newer.
package tcp

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"time"

	"github.com/fastrpc/fastrpc/internal/sock"
	"github.com/fastrpc/fastrpc/transport"
)

// Driver opens TCP ports; importing the package registers it as "tcp".
type Driver struct{}

func init() { transport.Register("tcp", Driver{}) }

// port is one Link. Its address is given up with the Link: a socket has no life without it.
type port struct {
	link  *Link
	local netip.AddrPort
}

func (p *port) Links() []transport.Link { return []transport.Link{p.link} }
func (p *port) Local() netip.AddrPort   { return p.local }
func (p *port) Close() error            { return nil }

// Listen implements transport.Driver. It does not block.
func (Driver) Listen(ctx context.Context, t transport.Target) (transport.Port, error) {
	return open(ctx, t.Query, true, func() (sock.Binding, error) { return sock.BindingOf(t), nil })
}

// Dial implements transport.Driver. It does not block: the connection is opened with the first packet.
func (Driver) Dial(ctx context.Context, t transport.Target, remote netip.AddrPort) (transport.Port, error) {
	return open(ctx, t.Query, false, func() (sock.Binding, error) {
		ip, err := sock.SourceFor(remote)
		return sock.Binding{IP: ip}, err
	})
}

func open(ctx context.Context, q url.Values, listen bool, binding func() (sock.Binding, error)) (transport.Port, error) {
	l := &Link{listening: listen, listener: listener{fd: -1}, epollFD: -1}
	err := ctx.Err()
	var s settings
	if err == nil {
		s, err = parseSettings(q)
	}
	if err == nil {
		l.binding, err = binding()
	}
	if err == nil {
		err = l.open(s)
	}
	if err != nil {
		l.release()
		return nil, fmt.Errorf("tcp: %w", err)
	}
	return &port{link: l, local: l.local}, nil
}

// settings are what stands behind the address's question mark.
type settings struct {
	frames         int
	busyPollMicros int
	conns          int
	idle           time.Duration
}

func parseSettings(q url.Values) (settings, error) {
	s := settings{frames: defaultFrames, conns: defaultConns, idle: defaultIdle}
	err := sock.Settings(q, "frames, busypoll, conns and idle", func(key, value string) (known bool, err error) {
		switch key {
		case "frames":
			s.frames, err = sock.Number(value, 16, 65536)
		case "busypoll":
			s.busyPollMicros, err = sock.Number(value, 0, 1_000_000)
		case "conns":
			s.conns, err = sock.Number(value, 1, 1<<20)
		case "idle":
			var seconds int
			seconds, err = sock.Number(value, 1, 86400)
			s.idle = time.Duration(seconds) * time.Second
		default:
			return false, nil
		}
		return true, err
	})
	return s, err
}
