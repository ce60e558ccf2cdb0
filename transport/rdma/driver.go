//go:build rdma

package rdma

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	verbs "github.com/fastrpc/fastrpc/rdma"
	"github.com/fastrpc/fastrpc/transport"
)

// Driver opens ports of RDMA devices; importing the package registers it as "rdma".
type Driver struct{}

func init() { transport.Register("rdma", Driver{}) }

// port is one Link. One that listens tells who asks which queue pair it has.
type port struct {
	link     *Link
	listener *verbs.Listener // nil: of Dial
	stop     context.CancelFunc
	ended    sync.WaitGroup
}

func (p *port) Links() []transport.Link { return []transport.Link{p.link} }
func (p *port) Local() netip.AddrPort   { return p.link.local }

func (p *port) Close() error {
	if p.listener == nil {
		return nil
	}
	p.stop()
	p.ended.Wait()
	if err := p.listener.Close(); !errors.Is(err, verbs.ErrClosed) { // which it is if its Link went first
		return err
	}
	return nil
}

// Listen implements transport.Driver.
func (Driver) Listen(ctx context.Context, t transport.Target) (transport.Port, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("rdma: %w", err)
	}
	s, err := parseSettings(t.Query)
	if err != nil {
		return nil, fmt.Errorf("rdma: %w", err)
	}
	at, err := findSpot(t.Host, s.gid)
	if err != nil {
		return nil, explain(err)
	}
	cm, err := verbs.NewCM()
	if err != nil {
		return nil, explain(err)
	}
	l, err := cm.Listen(verbs.UD, netip.AddrPortFrom(at.local.Addr(), t.Port))
	if err != nil {
		return nil, explain(errors.Join(err, cm.Close()))
	}
	at.local = netip.AddrPortFrom(at.local.Addr(), l.Addr().Port())
	link, err := openLink(at, s.frames)
	if err != nil {
		return nil, explain(errors.Join(err, cm.Close()))
	}
	link.cm = cm
	p := &port{link: link, listener: l}
	ctx, p.stop = context.WithCancel(context.Background())
	p.ended.Go(func() { p.answer(ctx) })
	return p, nil
}

// Dial implements transport.Driver.
func (Driver) Dial(ctx context.Context, t transport.Target, remote netip.AddrPort) (transport.Port, error) {
	s, err := parseSettings(t.Query)
	if err != nil {
		return nil, fmt.Errorf("rdma: %w", err)
	}
	cm, err := verbs.NewCM()
	if err != nil {
		return nil, explain(err)
	}
	at, err := spotTo(ctx, cm, remote, s.gid)
	if err != nil {
		return nil, explain(errors.Join(err, cm.Close()))
	}
	link, err := openLink(at, s.frames)
	if err != nil {
		return nil, explain(errors.Join(err, cm.Close()))
	}
	link.cm = cm
	return &port{link: link}, nil
}

// explain marks errors for which trying again does not help.
func explain(err error) error {
	switch {
	case errors.Is(err, verbs.ErrNoDevice), errors.Is(err, verbs.ErrNoGID):
		err = transport.Mark(transport.ErrNotFound, err)
	case errors.Is(err, verbs.ErrMemlock), errors.Is(err, unix.EADDRINUSE), errors.Is(err, verbs.ErrUnsupported):
		err = transport.Mark(transport.ErrPrecondition, err)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		err = transport.Mark(transport.ErrNotFound, err)
	}
	return fmt.Errorf("rdma: %w", err)
}

// hello is what both sides of a lookup tell each other: a mark, the version, and the MTU.
func hello(mtu int) []byte {
	return binary.BigEndian.AppendUint16([]byte{'f', 'r', 1}, uint16(mtu))
}

// parseHello reads the MTU; the private data of a lookup has a fixed length, so that bytes may follow.
func parseHello(b []byte) (mtu uint16, err error) {
	if len(b) < 5 || b[0] != 'f' || b[1] != 'r' {
		return 0, errors.New("what listens there is not fastrpc")
	}
	if b[2] != 1 {
		return 0, fmt.Errorf("the other side speaks version %d of the lookup, this one version 1", b[2])
	}
	if mtu = binary.BigEndian.Uint16(b[3:]); mtu < 256 {
		return 0, fmt.Errorf("the other side says that its MTU is %d", mtu)
	}
	return mtu, nil
}

// answer tells who asks about the queue pair, until the port closes.
func (p *port) answer(ctx context.Context) {
	for {
		r, err := p.listener.Next(ctx)
		if err != nil {
			return
		}
		mtu, err := parseHello(r.Data)
		if err != nil {
			_ = r.Reject(err.Error()) // who asked has gone, then
			continue
		}
		_, remote := r.Addrs()
		p.link.peers.tell(remote.Addr().As16(), mtu)
		_ = r.Answer(p.link.qp, hello(p.link.mtu)) // likewise; it asks again
	}
}

// Resolve implements transport.Link: it asks the connection manager for the way there and the listener for its queue pair.
func (l *Link) Resolve(ctx context.Context, local, remote netip.AddrPort) (transport.Path, error) {
	p, err := l.resolve(ctx, local, remote)
	if err != nil {
		return p, fmt.Errorf("rdma: resolve %v: %w", remote, err)
	}
	return p, nil
}

func (l *Link) resolve(ctx context.Context, local, remote netip.AddrPort) (p transport.Path, err error) {
	if local.Port() != 0 && local.Port() != l.local.Port() {
		return p, fmt.Errorf("port %d is not this Link's: it is %d: %w", local.Port(), l.local.Port(), unix.EADDRNOTAVAIL)
	}
	if !remote.IsValid() || remote.Port() == 0 || remote.Addr().IsUnspecified() || remote.Addr().IsMulticast() {
		return p, invalid("not one host's address and port: %w", unix.EDESTADDRREQ)
	}
	r, err := l.cm.Resolve(ctx, verbs.UD, netip.AddrPortFrom(l.local.Addr(), 0), remote)
	if err != nil {
		return p, err
	}
	defer r.Close()
	if device, port := r.Device(); device != l.ctx.Name() || port != l.port {
		return p, fmt.Errorf("the way leads over port %d of %s, and this Link is on port %d of %s: %w", port, device, l.port, l.ctx.Name(), unix.EHOSTUNREACH)
	}
	d, err := r.LookUp(ctx, hello(l.mtu))
	if err != nil {
		return p, err
	}
	mtu, err := parseHello(d.Data)
	if err != nil {
		return p, err
	}
	l.peers.tell(d.GID, mtu)
	p = transport.Path{RemoteIP: d.GID, RemotePort: remote.Port(), LocalIP: l.ip, LocalPort: l.local.Port(), MTU: min(mtu, uint16(l.mtu))}
	putQPN(&p, d.QPN)
	return p, nil
}

// spotTo is the spot from which a remote address is reached.
func spotTo(ctx context.Context, cm *verbs.CM, remote netip.AddrPort, gid int) (spot, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	r, err := cm.Resolve(ctx, verbs.UD, netip.AddrPort{}, remote)
	if err != nil {
		return spot{}, err
	}
	defer r.Close()
	device, _ := r.Device()
	local, _ := r.Addrs()
	at, err := findOn(device, func(e verbs.GIDEntry) bool {
		return gid < 0 && e.GID.IP() == local.Addr().WithZone("") || e.Index == gid
	})
	if err != nil {
		return spot{}, err
	}
	at.local = netip.AddrPortFrom(local.Addr().WithZone(""), uint16(firstEphemeral+rand.IntN(1<<16-firstEphemeral)))
	return at, nil
}

// A port number of a client's is only a name: its queue pair is what is its own.
const firstEphemeral = 49152

const dialLimit = 5 * time.Second

// findSpot finds what the host of an address means.
func findSpot(host string, gid int) (spot, error) {
	names, err := verbs.Devices()
	if err != nil {
		return spot{}, err
	}
	ip, notIP := netip.ParseAddr(host)
	ifi, _ := net.InterfaceByName(host)
	var found []spot
	for _, name := range names {
		at, err := findOn(name, func(e verbs.GIDEntry) bool {
			named := host == "" || host == name || ifi != nil && e.Iface == ifi.Index || notIP == nil && e.GID.IP() == ip.Unmap().WithZone("")
			return named && (gid < 0 || e.Index == gid)
		})
		if err == nil {
			found = append(found, at)
		} else if !errors.Is(err, verbs.ErrNoGID) {
			return spot{}, err
		}
	}
	switch {
	case len(names) == 0:
		_, err := verbs.Open("") // which explains it
		return spot{}, err
	case len(found) == 0:
		return spot{}, fmt.Errorf("%q is neither the address of an RDMA device (of %v), nor its name or its network interface's; "+
			"see 'rdma link' and 'fastrpc doctor': %w", host, names, verbs.ErrNoGID)
	case len(found) > 1:
		return spot{}, invalid("%q means several devices, %s and %s: give an IP address: %w", host, found[0].device, found[1].device, unix.EINVAL)
	}
	return found[0], nil
}

// findOn finds the best address that a device has among those wanted, on a port that is active if one is.
func findOn(device string, want func(verbs.GIDEntry) bool) (at spot, err error) {
	c, err := verbs.Open(device)
	if err != nil {
		return at, err
	}
	defer c.Close()
	found := false
	for number := 1; number <= c.Limits().Ports; number++ {
		p, err := c.Port(number)
		if err != nil {
			return at, err
		}
		var table []verbs.GIDEntry
		for _, e := range p.GIDs {
			if want(e) {
				table = append(table, e)
			}
		}
		if e, ok := verbs.ChooseGID(table, netip.Addr{}); ok && (!found || p.Active) {
			at, found = spot{device: device, port: number, from: e, local: netip.AddrPortFrom(e.GID.IP(), 0)}, true
		}
	}
	if !found {
		return at, fmt.Errorf("%s: %w", device, verbs.ErrNoGID)
	}
	return at, nil
}
