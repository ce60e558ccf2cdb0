package doctor

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"

	"github.com/fastrpc/fastrpc/internal/nic"
)

// xskSocket is an AF_XDP socket of this network namespace, anybody's, that is bound.
type xskSocket struct {
	queue         int
	mode          xskMode
	dropped       uint64 // packets: the RX ring was full
	fillRingEmpty uint64 // times that the kernel found no buffer to receive into
}

type xskMode uint8

const (
	unknownMode xskMode = iota
	copyMode
	zeroCopyMode
)

// socketsOn asks the kernel for the AF_XDP sockets on an interface: sock_diag tells most (CONFIG_XDP_SOCKETS_DIAG), the netdev family which queues have
// one (Linux 6.15).
func socketsOn(ifindex int, release string) ([]xskSocket, error) {
	all, err := netlink.SocketDiagXDP()
	if err == nil || errors.Is(err, netlink.ErrDumpInterrupted) { // what an interrupted answer lacks came or went meanwhile
		return diagnosed(all, ifindex), nil
	}
	if v, known := parseRelease(release); !known || v.before(6, 15) {
		return nil, fmt.Errorf("CONFIG_XDP_SOCKETS_DIAG: %w", err)
	}
	d, err := nic.Open(ifindex)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	queues, err := d.SocketQueues()
	var here []xskSocket
	for _, q := range queues {
		here = append(here, xskSocket{queue: q})
	}
	return here, err
}

func diagnosed(all []*netlink.XDPDiagInfoResp, ifindex int) (here []xskSocket) {
	for _, s := range all {
		i := s.XDPInfo
		if int(i.Ifindex) != ifindex {
			continue
		}
		x := xskSocket{queue: int(i.QueueID), mode: copyMode}
		if i.Umem != nil && i.Umem.Flags&netlink.XDP_DU_F_ZEROCOPY != 0 {
			x.mode = zeroCopyMode
		}
		if i.Stats != nil {
			x.dropped, x.fillRingEmpty = i.Stats.RxFull, i.Stats.FillRingEmpty
		}
		here = append(here, x)
	}
	return here
}

// checkSockets looks at the queues of a fastrpc that runs: those without a socket, and those with copies where the driver has zero-copy.
func (m *machine) checkSockets() Finding {
	sockets, err := socketsOn(m.device.index, release())
	return m.judgeSockets(sockets, err)
}

func (m *machine) judgeSockets(sockets []xskSocket, err error) Finding {
	d := &m.device
	if err != nil {
		return ok("sockets", "the kernel does not tell which queues have one (%v)", err)
	}
	var bound, copied []int
	var dropped, empty uint64
	for _, s := range sockets {
		bound = append(bound, s.queue)
		if s.mode == copyMode {
			copied = append(copied, s.queue)
		}
		dropped += s.dropped
		empty += s.fillRingEmpty
	}
	var all []int
	for q := range d.queues {
		all = append(all, q)
	}
	if len(bound) == 0 {
		return ok("sockets", "on none of %s: nobody serves here now", plural(d.queues, "queue"))
	}
	f := ok("sockets", "on %d of %s", len(all)-len(without(all, bound)), plural(d.queues, "queue"))
	if bare := without(all, bound); len(bare) > 0 {
		f.worse(Note, "what comes in on %s goes the kernel's slow way; leave queues= out of the address, or have as many queues as sockets",
			listed("queue", bare))
		f = f.mend(d.setQueues(len(all) - len(bare)))
	}
	if d.zeroCopy() && len(copied) > 0 {
		f.worse(Note, "copies were granted on %s, though the driver has zero-copy: start with zerocopy=on to see why", listed("queue", copied))
	}
	if dropped > 0 {
		f.worse(Note, "%d packets were dropped because a socket's ring was full: more frames=, or more queues", dropped)
	}
	if empty > 0 {
		f.worse(Note, "%s found no free buffer: more frames=", plural(int(empty), "packet"))
	}
	return f
}
