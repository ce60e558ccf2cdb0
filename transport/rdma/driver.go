//go:build rdma

package rdma

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"

	verbs "github.com/fastrpc/fastrpc/rdma"
	"github.com/fastrpc/fastrpc/transport"
)

// Driver opens ports of RDMA devices; importing the package registers it as "rdma".
type Driver struct{}

func init() { transport.Register("rdma", Driver{}) }

// link is a Link of either kind.
type link interface {
	transport.Link
	address() netip.AddrPort
	serve(ctx context.Context, at *verbs.Listener) // those who ask for it, until ctx ends
}

// port is one Link, and who tells of it to those who look for it.
type port struct {
	link     link
	listener *verbs.Listener // nil: of Dial
	stop     context.CancelFunc
	ended    sync.WaitGroup
}

func (p *port) Links() []transport.Link { return []transport.Link{p.link} }
func (p *port) Local() netip.AddrPort   { return p.link.address() }

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
	return open(ctx, t, func(kind verbs.QPType, s settings) (*port, error) { return listenOn(t.Host, t.Port, kind, s) })
}

func listenOn(host string, number uint16, kind verbs.QPType, s settings) (*port, error) {
	names, err := devices()
	if err != nil {
		return nil, err
	}
	cm, err := verbs.NewCM()
	if err != nil {
		return nil, err
	}
	at, err := findSpot(cm, kind, names, host, s.gid)
	if err != nil {
		return nil, errors.Join(err, cm.Close())
	}
	l, err := cm.Listen(kind, netip.AddrPortFrom(at.local.Addr(), number))
	if err != nil {
		return nil, errors.Join(err, cm.Close())
	}
	at.local = netip.AddrPortFrom(at.local.Addr().WithZone(""), l.Addr().Port())
	p := &port{listener: l}
	if p.link, err = openLink(kind, cm, at, s, true); err != nil {
		return nil, err
	}
	var serving context.Context
	serving, p.stop = context.WithCancel(context.Background())
	p.ended.Go(func() { p.link.serve(serving, l) })
	return p, nil
}

// Dial implements transport.Driver. It asks the connection manager for the way to remote.
func (Driver) Dial(ctx context.Context, t transport.Target, remote netip.AddrPort) (transport.Port, error) {
	return open(ctx, t, func(kind verbs.QPType, s settings) (*port, error) { return dialFrom(ctx, kind, s, remote) })
}

func dialFrom(ctx context.Context, kind verbs.QPType, s settings, remote netip.AddrPort) (*port, error) {
	cm, err := verbs.NewCM()
	if err != nil {
		return nil, err
	}
	at, err := spotTo(ctx, cm, kind, remote, s.gid)
	if err != nil {
		return nil, errors.Join(err, cm.Close())
	}
	l, err := openLink(kind, cm, at, s, false)
	if err != nil {
		return nil, err
	}
	return &port{link: l}, nil
}

// open opens a port of the kind that the settings name, or that the device has.
func open(ctx context.Context, t transport.Target, f func(verbs.QPType, settings) (*port, error)) (transport.Port, error) {
	s, err := parseSettings(t.Query)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("rdma: %w", err)
	}
	kind := verbs.UD
	if s.qp == "rc" {
		kind = verbs.RC
	}
	p, err := f(kind, s)
	if s.qp == "" && errors.Is(err, verbs.ErrUnsupported) {
		p, err = f(verbs.RC, s)
	}
	if err != nil {
		return nil, explain(err)
	}
	return p, nil
}

// openLink makes a Link, which closes cm in the end; if there is an error cm is closed.
func openLink(kind verbs.QPType, cm *verbs.CM, at spot, s settings, listening bool) (link, error) {
	if kind == verbs.RC {
		return openRC(cm, at, s, listening)
	}
	return openUD(cm, at, s)
}

// explain marks errors for which trying again does not help.
func explain(err error) error {
	switch {
	case errors.Is(err, verbs.ErrNoDevice), errors.Is(err, verbs.ErrNoGID), errors.Is(err, unix.EADDRNOTAVAIL):
		err = transport.Mark(transport.ErrNotFound, err)
	case errors.Is(err, verbs.ErrMemlock), errors.Is(err, unix.EADDRINUSE), errors.Is(err, verbs.ErrUnsupported):
		err = transport.Mark(transport.ErrPrecondition, err)
	}
	return fmt.Errorf("rdma: %w", err)
}
