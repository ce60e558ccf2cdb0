package bpf

import (
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// rtnl speaks to the network namespace that it was opened in, from any thread.
type rtnl struct {
	sockets map[int]*nl.SocketHandle
}

func openRTNL() (*rtnl, error) {
	s, err := nl.Subscribe(unix.NETLINK_ROUTE) // to no group
	if err != nil {
		return nil, fmt.Errorf("bpf: netlink: %w", err)
	}
	return &rtnl{map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: s}}}, nil
}

func (r *rtnl) close() { r.sockets[unix.NETLINK_ROUTE].Close() }

func (r *rtnl) request(kind, ifindex int) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(kind, unix.NLM_F_ACK)
	req.Sockets = r.sockets
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(ifindex)
	req.AddData(msg)
	return req
}

// lookup is the package's lookup, in the namespace of r.
func (r *rtnl) lookup(ifindex int) (device, error) {
	req := r.request(unix.RTM_GETLINK, ifindex)
	msgs, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	if err == nil && len(msgs) == 0 {
		err = unix.ENODEV
	}
	if err != nil {
		return device{}, noInterface(ifindex, err)
	}
	l, err := netlink.LinkDeserialize(nil, msgs[0])
	if err != nil {
		return device{}, noInterface(ifindex, err)
	}
	return deviceOf(l), nil
}

// swap puts a dispatcher, nil for none, into the place of another, nil for none, and of nothing else: the error is EEXIST, or EBUSY for a
// bpf_link, when the interface runs something else by now (net/core/dev.c, dev_xdp_attach).
func (r *rtnl) swap(ifindex int, mode Mode, old, next *dispatcher) error {
	flags := uint32(unix.XDP_FLAGS_DRV_MODE)
	if mode == Generic {
		flags = unix.XDP_FLAGS_SKB_MODE
	}
	fd := int32(-1)
	if next != nil {
		fd = int32(next.prog.FD())
	}
	xdp := nl.NewRtAttr(unix.IFLA_XDP|unix.NLA_F_NESTED, nil)
	xdp.AddRtAttr(unix.IFLA_XDP_FD, nl.Uint32Attr(uint32(fd)))
	if old != nil {
		flags |= unix.XDP_FLAGS_REPLACE
		xdp.AddRtAttr(unix.IFLA_XDP_EXPECTED_FD, nl.Uint32Attr(uint32(old.prog.FD())))
	} else {
		flags |= unix.XDP_FLAGS_UPDATE_IF_NOEXIST
	}
	xdp.AddRtAttr(unix.IFLA_XDP_FLAGS, nl.Uint32Attr(flags))
	req := r.request(unix.RTM_SETLINK, ifindex)
	req.AddData(xdp)
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}
