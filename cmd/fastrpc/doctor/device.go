package doctor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/safchain/ethtool"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

func checkInterface(link netlink.Link) Finding {
	a := link.Attrs()
	f := Finding{Check: "interface", Level: OK}
	f.Text = fmt.Sprintf("%s, index %d, %s, %s", a.Name, a.Index, link.Type(), a.OperState)
	switch {
	case a.Flags&net.FlagLoopback != 0:
		f.Level = Wrong
		f.Text += "; xdp:// does not work over loopback, use udp:// or auto:// for local addresses"
	case link.Type() == "bond":
		f.Level = Wrong
		f.Text += "; packets of a bond come in on its ports and never on AF_XDP sockets of its own, use udp:// or auto://"
	case a.Flags&net.FlagUp == 0:
		f.Level = Wrong
		f.Text += "; it is down"
		f.Fix = "ip link set dev " + a.Name + " up"
	case a.OperState == netlink.OperDown || a.OperState == netlink.OperLowerLayerDown:
		f.Level = Note
		f.Text += "; it has no carrier: check the cable and the other end"
	case a.MasterIndex != 0:
		f.Level = Note
		f.Text += fmt.Sprintf("; it is a port of interface %d (a bond or bridge), and only packets that come in here are seen", a.MasterIndex)
	case link.Type() == "vlan" || link.Type() == "bridge" || link.Type() == "macvlan" || link.Type() == "ipvlan":
		f.Level = Note
		f.Text += "; a device on top of another has no native XDP: use the one below, whose packets may carry one VLAN tag"
	}
	return f
}

func checkDriver(name string) Finding {
	f := Finding{Check: "driver", Level: OK}
	e, err := ethtool.NewEthtool()
	if err == nil {
		defer e.Close()
		var info ethtool.DrvInfo
		if info, err = e.DriverInfo(name); err == nil {
			f.Text = info.Driver
			for _, part := range []string{info.Version, info.FwVersion, info.BusInfo} {
				if part != "" && part != "N/A" {
					f.Text += ", " + part
				}
			}
			return f
		}
	}
	f.Level, f.Text = Note, fmt.Sprintf("the device does not tell its driver: %v", err)
	return f
}

// receiveQueues gives how many there are now, and how many there can be.
func receiveQueues(link netlink.Link) (current, most int) {
	a := link.Attrs()
	if e, err := ethtool.NewEthtool(); err == nil {
		defer e.Close()
		if c, err := e.GetChannels(a.Name); err == nil && c.CombinedCount+c.RxCount > 0 {
			return int(c.CombinedCount + c.RxCount), int(max(c.MaxCombined, c.MaxRx))
		}
	}
	n := max(a.NumRxQueues, 1)
	return n, n
}

// checkQueues: each receive queue has a socket and, when it is polled, wants a CPU.
func checkQueues(name string, current, most, cpus int) Finding {
	f := Finding{Check: "queues", Level: OK, Text: fmt.Sprintf("%d receive queues of %d possible", current, most)}
	if current > cpus {
		f.Level = Note
		f.Text += fmt.Sprintf("; more than the %d CPUs, so that several queues share one", cpus)
		f.Fix = fmt.Sprintf("ethtool -L %s combined %d", name, cpus)
	}
	return f
}

// checkMTU compares with what is left of a page for a packet in native mode: without XDP's headroom (256 bytes), the trailer that an skb
// needs (320) and layer 2 with two VLAN tags (22).
func checkMTU(name string, mtu, page int) Finding {
	limit := page - 256 - 320 - 22
	f := Finding{Check: "mtu", Level: OK, Text: fmt.Sprintf("%d bytes; native XDP takes up to %d, some drivers less", mtu, limit)}
	if mtu > limit {
		f.Level = Note
		f.Text = fmt.Sprintf("%d bytes; native XDP takes %d at most, so that the slower generic mode is left", mtu, limit)
		f.Fix = fmt.Sprintf("ip link set dev %s mtu %d", name, limit)
	}
	return f
}

// The netdev family of generic netlink, Linux 6.3 (include/uapi/linux/netdev.h).
const (
	netdevCmdDevGet       = 1
	netdevAttrIfindex     = 1
	netdevAttrXDPFeatures = 3
)

var featureNames = []string{"basic", "redirect", "ndo-xmit", "xsk-zerocopy", "hw-offload", "rx-sg", "ndo-xmit-sg"}

const (
	featureBasic    = 1 << 0
	featureRedirect = 1 << 1
	featureZeroCopy = 1 << 3
)

// checkFeatures asks what the driver says of itself. What counts is the probe: drivers say too much, and too little.
func checkFeatures(ifindex int) Finding {
	mask, err := xdpFeatures(ifindex)
	if err != nil {
		return Finding{"xdp-features", Note, fmt.Sprintf("the kernel does not tell (%v); Linux 6.3 and later do", err), ""}
	}
	return judgeFeatures(mask)
}

func judgeFeatures(mask uint64) Finding {
	f := Finding{Check: "xdp-features", Level: OK}
	var names []string
	for i, name := range featureNames {
		if mask&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	f.Text = strings.Join(names, ", ")
	switch {
	case mask&featureBasic == 0 || mask&featureRedirect == 0:
		f.Level = Note
		f.Text = "no native XDP here and now (" + f.Text + "); the slower generic mode is left. Some drivers want offloads off or another MTU first"
	case mask&featureZeroCopy == 0:
		f.Level = Note
		f.Text += "; no zero-copy in this driver, packets are copied once"
	}
	return f
}

// genlHeader is struct genlmsghdr: command, version and two reserved bytes, which this family wants to be zero (net/netlink/genetlink.c,
// genl_header_check); nl.Genlmsg leaves them undefined.
type genlHeader [nl.SizeofGenlmsg]byte

func (h genlHeader) Len() int          { return len(h) }
func (h genlHeader) Serialize() []byte { return h[:] }

func xdpFeatures(ifindex int) (uint64, error) {
	family, err := netlink.GenlFamilyGet("netdev")
	if errors.Is(err, os.ErrNotExist) {
		return 0, errors.New("no netdev netlink family")
	}
	if err != nil {
		return 0, err
	}
	req := nl.NewNetlinkRequest(int(family.ID), 0)
	req.AddData(genlHeader{netdevCmdDevGet, 1})
	req.AddData(nl.NewRtAttr(netdevAttrIfindex, nl.Uint32Attr(uint32(ifindex))))
	msgs, err := req.Execute(unix.NETLINK_GENERIC, 0)
	if err != nil {
		return 0, err
	}
	for _, m := range msgs {
		attrs, err := nl.ParseRouteAttr(m[min(nl.SizeofGenlmsg, len(m)):])
		if err != nil {
			return 0, err
		}
		for _, a := range attrs {
			if a.Attr.Type == netdevAttrXDPFeatures && len(a.Value) == 8 {
				return binary.NativeEndian.Uint64(a.Value), nil
			}
		}
	}
	return 0, errors.New("the answer holds no features")
}
