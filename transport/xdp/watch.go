package xdp

import (
	"context"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/fastrpc/fastrpc/internal/netpath"
	"github.com/fastrpc/fastrpc/transport"
)

// refreshPause keeps a host whose routes change all the time from looking its peers up all the time.
const refreshPause = 100 * time.Millisecond

// watch follows the interface, its neighbours and the routes.
func (d *device) watch() (err error) {
	var ctx context.Context
	ctx, d.stop = context.WithCancel(context.Background())
	d.stale = make(chan struct{}, 1)
	up := true
	d.watcher, err = d.tables.Watch(func(c netpath.Change) { d.follow(c, &up) })
	if err != nil {
		return fmt.Errorf("xdp: %w", err)
	}
	d.stopped.Go(func() {
		for {
			select {
			case id := <-d.card.polled:
				d.card.polling(ctx, id)
				continue
			case <-d.stale:
				d.refresh(ctx)
			case <-ctx.Done():
				return
			}
			select {
			case <-time.After(refreshPause):
			case <-ctx.Done():
				return
			}
		}
	})
	// What changed since the interface was looked up and before it was watched.
	if l, err := netlink.LinkByIndex(d.key.ifindex); err == nil && l.Attrs().MTU > 0 {
		d.setMTU(l.Attrs().MTU)
	}
	return nil
}

// follow takes one change; it runs in the watcher's goroutine and must not block.
func (d *device) follow(c netpath.Change, up *bool) {
	switch c.Kind {
	case netpath.LinkChanged:
		if c.Ifindex == d.key.ifindex {
			d.linkChanged(c, up)
		}
	case netpath.LinkRemoved:
		if c.Ifindex == d.key.ifindex {
			d.linkRemoved()
		}
	case netpath.NeighbourChanged:
		if d.peers.neighbourChanged(c.Ifindex, c.IP, c.MAC) {
			d.generation.Add(1)
		}
	case netpath.NeighbourLost:
		if d.peers.neighbourLost(c.Ifindex, c.IP) {
			d.markStale()
		}
	case netpath.RoutesChanged, netpath.AddressesChanged, netpath.Overrun:
		d.markStale()
	}
}

func (d *device) markStale() {
	select {
	case d.stale <- struct{}{}:
	default: // it will look at everything as it is
	}
}

func (d *device) linkChanged(c netpath.Change, up *bool) {
	if mac := packMAC(c.MAC, 0); d.mac.Swap(mac) != mac {
		d.generation.Add(1)
	}
	if d.setMTU(c.MTU) {
		// One figure for both families: the smaller. The MTU of a path is in the path.
		d.tell(transport.Event{Kind: transport.MTUChanged, Path: transport.Path{MTU: uint16(d.payload6.Load())}})
	}
	if c.Up == *up {
		return
	}
	*up = c.Up
	e := transport.Event{Kind: transport.LinkUp}
	if !c.Up {
		e.Kind, e.Err = transport.LinkDown, fmt.Errorf("xdp: %s has no carrier or is down; see 'ip link show dev %[1]s'", d.name)
	}
	d.tell(e)
}

// linkRemoved ends the device: its sockets are dead, and a new interface of the same name is another device.
func (d *device) linkRemoved() {
	d.forget()
	for _, l := range d.links {
		l.state.CompareAndSwap(linkOpen, linkGone)
	}
	d.tell(transport.Event{Kind: transport.LinkDown, Err: d.goneErr})
}
