package doctor

import (
	"cmp"

	"github.com/vishvananda/netlink"

	"github.com/fastrpc/fastrpc/afxdp"
	"github.com/fastrpc/fastrpc/internal/nic"
)

// device is an interface and what its driver answered. An answer that the driver does not have carries an error.
type device struct {
	name   string
	class  string // in /sys/class: net if empty, else infiniband
	index  int
	kind   string // netlink's, such as veth; "device" for hardware
	mtu    int    // bytes
	queues int    // receive queues, at least 1
	peer   string // a veth device's other end, where it is in this network namespace
	vlans  []string

	driver   answer[nic.Driver]
	channels answer[channels]
	rings    answer[nic.Rings]
	coalesce answer[nic.Coalesce]
	rss      answer[nic.RSS]
	udp4     answer[nic.HashFields]
	udp6     answer[nic.HashFields]
	switches answer[map[string]nic.Feature] // by the kernel's names (net/ethtool/common.c, netdev_features_strings)
	irqs     answer[[]nic.Interrupt]
	xdp      answer[afxdp.DeviceFeatures]
}

type answer[T any] struct {
	v   T
	err error
}

func got[T any](v T, err error) answer[T] { return answer[T]{v, err} }

type channels struct{ now, most nic.Channels }

// files is where sysfs has what the device stands on.
func (d *device) files() string {
	return "sys/class/" + cmp.Or(d.class, "net") + "/" + d.name + "/device/"
}

// url is an address on the device.
func (d *device) url() string {
	if d.class == "" {
		return "xdp://" + d.name + ":9000"
	}
	return "rdma://" + d.name + ":9000"
}

// on says that a switch is there and on.
func (d *device) on(name string) bool { return d.switches.v[name].On }

// zeroCopy says whether the driver claims to have it.
func (d *device) zeroCopy() bool { return d.xdp.v.XDP.Has(afxdp.XDPZeroCopy) }

// ask asks an interface for all that the checks look at.
func ask(link netlink.Link) device {
	a := link.Attrs()
	d := device{name: a.Name, index: a.Index, kind: link.Type(), mtu: a.MTU, queues: max(a.NumRxQueues, 1)}
	d.xdp = got(afxdp.Features(a.Index))
	if links, err := netlink.LinkList(); err == nil {
		d.vlans = vlansOn(a.Index, links)
		d.peer = peerOf(link, links)
	}
	n, err := nic.Open(a.Index)
	if err != nil {
		d.driver.err, d.channels.err, d.rings.err, d.coalesce.err, d.rss.err = err, err, err, err, err
		d.udp4.err, d.udp6.err, d.switches.err, d.irqs.err = err, err, err, err
		return d
	}
	defer n.Close()
	d.driver = got(n.Driver())
	now, most, err := n.Channels()
	d.channels = got(channels{now, most}, err)
	if q := now.ReceiveQueues(); err == nil && q > 0 {
		d.queues = q
	}
	d.rings = got(n.Rings())
	d.coalesce = got(n.Coalesce())
	d.rss = got(n.RSS())
	d.udp4 = got(n.UDPHashFields(false))
	d.udp6 = got(n.UDPHashFields(true))
	d.switches = got(n.Features())
	d.irqs = got(n.Interrupts())
	return d
}

// vlansOn names those of the interfaces that are VLANs on top of one.
func vlansOn(ifindex int, links []netlink.Link) []string {
	var names []string
	for _, l := range links {
		if l.Type() == "vlan" && l.Attrs().ParentIndex == ifindex {
			names = append(names, l.Attrs().Name)
		}
	}
	return names
}

// peerOf names the other end of a veth pair; "" where it is in another network namespace.
func peerOf(link netlink.Link, links []netlink.Link) string {
	a := link.Attrs()
	for _, l := range links {
		if p := l.Attrs(); link.Type() == "veth" && a.NetNsID < 0 && p.Index == a.ParentIndex {
			return p.Name
		}
	}
	return ""
}
