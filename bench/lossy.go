package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"

	"github.com/fastrpc/fastrpc/transport"
)

// Workload loss drops packets where they come in, at both ends. Those of AF_XDP sockets never meet the kernel's traffic control, so that the link
// between the socket and the protocol drops them; all others the kernel's does: see drop.go.

// lossyScheme registers a transport that is another one but for what its links lose, unless there is one, and returns its scheme.
func lossyScheme(scheme string, share float64, seed uint64) (string, error) {
	registering.Lock()
	defer registering.Unlock()
	name := fmt.Sprintf("%s-loss-%g-%d", scheme, share, seed)
	if _, err := transport.Open(name); err == nil {
		return name, nil
	}
	inner, err := transport.Open(scheme)
	if err != nil {
		return "", err
	}
	transport.Register(name, &lossyDriver{Driver: inner, share: share, seed: seed, links: map[transport.Link]*lossyLink{}})
	return name, nil
}

var registering sync.Mutex

type lossyDriver struct {
	transport.Driver
	share float64
	seed  uint64

	mu    sync.Mutex
	links map[transport.Link]*lossyLink // links are shared, and whoever shares them must see the same one
}

func (d *lossyDriver) Listen(ctx context.Context, t transport.Target) (transport.Port, error) {
	return d.wrap(d.Driver.Listen(ctx, t))
}

func (d *lossyDriver) Dial(ctx context.Context, t transport.Target, remote netip.AddrPort) (transport.Port, error) {
	return d.wrap(d.Driver.Dial(ctx, t, remote))
}

func (d *lossyDriver) wrap(p transport.Port, err error) (transport.Port, error) {
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	wrapped := &lossyPort{Port: p}
	for _, l := range p.Links() {
		if d.links[l] == nil {
			d.links[l] = &lossyLink{Link: l, share: d.share, random: rand.New(rand.NewPCG(d.seed, uint64(len(d.links))))}
		}
		wrapped.links = append(wrapped.links, d.links[l])
	}
	return wrapped, nil
}

type lossyPort struct {
	transport.Port
	links []transport.Link
}

func (p *lossyPort) Links() []transport.Link { return p.links }

// lossyLink drops a share of what it receives.
type lossyLink struct {
	transport.Link
	share  float64
	random *rand.Rand // of whoever polls
}

func (l *lossyLink) Recv(fs []transport.Frame) (int, error) {
	n, err := l.Link.Recv(fs)
	kept := 0
	for i := range fs[:n] {
		if l.random.Float64() < l.share {
			l.Free(fs[i : i+1])
			continue
		}
		fs[kept] = fs[i]
		kept++
	}
	return kept, err
}
