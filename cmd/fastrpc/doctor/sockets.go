package doctor

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
)

// xskSocket is an AF_XDP socket of this network namespace, anybody's, that is bound.
type xskSocket struct {
	queue         int
	zeroCopy      bool
	dropped       uint64 // packets: the RX ring was full
	fillRingEmpty uint64 // times that the kernel found no buffer to receive into
}

// socketsOn asks the kernel for the AF_XDP sockets on an interface (sock_diag; CONFIG_XDP_SOCKETS_DIAG).
func socketsOn(ifindex int) ([]xskSocket, error) {
	all, err := netlink.SocketDiagXDP()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) { // what an interrupted answer lacks came or went meanwhile
		return nil, err
	}
	var here []xskSocket
	for _, s := range all {
		i := s.XDPInfo
		if int(i.Ifindex) != ifindex {
			continue
		}
		x := xskSocket{queue: int(i.QueueID)}
		if i.Umem != nil {
			x.zeroCopy = i.Umem.Flags&netlink.XDP_DU_F_ZEROCOPY != 0
		}
		if i.Stats != nil {
			x.dropped, x.fillRingEmpty = i.Stats.RxFull, i.Stats.FillRingEmpty
		}
		here = append(here, x)
	}
	return here, nil
}

// checkSockets looks at the queues of a fastrpc that runs: those without a socket, and those with copies where the driver has zero-copy.
func (m *machine) checkSockets() Finding {
	sockets, err := socketsOn(m.device.index)
	return m.judgeSockets(sockets, err)
}

func (m *machine) judgeSockets(sockets []xskSocket, err error) Finding {
	d := &m.device
	if err != nil {
		return ok("sockets", "the kernel does not list AF_XDP sockets (%v; CONFIG_XDP_SOCKETS_DIAG); see the statistics of the process", err)
	}
	var bound, copied []int
	var dropped, empty uint64
	for _, s := range sockets {
		bound = append(bound, s.queue)
		if !s.zeroCopy {
			copied = append(copied, s.queue)
		}
		dropped += s.dropped
		empty += s.fillRingEmpty
	}
	var all []int
	for q := range d.queues {
		all = append(all, q)
	}
	f := ok("sockets", "on %d of %s", len(all)-len(without(all, bound)), plural(d.queues, "queue"))
	if bare := without(all, bound); len(bare) > 0 {
		f.worse(Note, "what comes in on queues %s goes the kernel's slow way; leave queues= out of the address, or have as many queues as sockets", formatCPUs(bare))
		if len(bound) > 0 {
			f = f.mend(fmt.Sprintf("ethtool -L %s combined %d", d.name, len(bound)))
		}
	}
	if d.zeroCopy() && len(copied) > 0 {
		f.worse(Note, "queues %s were granted copies, though the driver has zero-copy: start with zerocopy=on to see why", formatCPUs(copied))
	}
	if dropped > 0 {
		f.worse(Note, "%d packets were dropped because a socket's ring was full: more frames=, or more queues", dropped)
	}
	if empty > 0 {
		f.worse(Note, "%s found no free buffer: more frames=", plural(int(empty), "packet"))
	}
	return f
}
