//go:build rdma

package rdma

import (
	"context"
	"fmt"
	"net/netip"

	verbs "github.com/fastrpc/fastrpc/rdma"
	"github.com/fastrpc/fastrpc/transport"
)

// serve tells who asks about the queue pair, until ctx ends.
func (l *UD) serve(ctx context.Context, at *verbs.Listener) {
	for {
		r, err := at.Next(ctx)
		if err != nil {
			return
		}
		mtu, err := parseHello(r.Data)
		if err != nil {
			_ = r.Reject(err.Error()) // who asked has gone, then
			continue
		}
		_, remote := r.Addrs()
		l.peers.tell(remote.Addr().As16(), mtu, 0)
		_ = r.Answer(l.qp, hello(l.mtu)) // likewise; it asks again
	}
}

// Resolve implements transport.Link: it asks the connection manager for the way there and the listener for its queue pair.
func (l *UD) Resolve(ctx context.Context, local, remote netip.AddrPort) (transport.Path, error) {
	p, err := l.resolve(ctx, local, remote)
	if err != nil {
		return p, fmt.Errorf("rdma: resolve %v: %w", remote, err)
	}
	return p, nil
}

func (l *UD) resolve(ctx context.Context, local, remote netip.AddrPort) (p transport.Path, err error) {
	if err := l.check(local, remote); err != nil {
		return p, err
	}
	r, err := l.route(ctx, verbs.UD, l.somePort(), remote)
	if err != nil {
		return p, err
	}
	defer r.Close()
	d, err := r.LookUp(ctx, hello(l.mtu))
	if err != nil {
		return p, err
	}
	mtu, err := parseHello(d.Data)
	if err != nil {
		return p, err
	}
	l.peers.tell(d.GID, mtu, d.LID)
	p = transport.Path{RemoteIP: d.GID, RemotePort: remote.Port(), LocalIP: l.ip, LocalPort: l.local.Port(), MTU: min(mtu, uint16(l.mtu))}
	putQPN(&p, d.QPN)
	return p, nil
}
