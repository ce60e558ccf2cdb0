package doctor

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/vishvananda/netlink"
)

func checkInterface(link netlink.Link) Finding {
	a := link.Attrs()
	f := ok("interface", "%s, index %d, %s, %s", a.Name, a.Index, link.Type(), a.OperState)
	switch {
	case a.Flags&net.FlagLoopback != 0:
		f.worse(Wrong, "xdp:// does not work over loopback, use udp:// or auto:// for local addresses")
	case link.Type() == "bond":
		f.worse(Wrong, "packets of a bond come in on its ports and never on AF_XDP sockets of its own, use udp:// or auto://")
	case a.Flags&net.FlagUp == 0:
		f.worse(Wrong, "it is down")
		f = f.mend("ip link set dev " + a.Name + " up")
	case a.OperState == netlink.OperDown || a.OperState == netlink.OperLowerLayerDown:
		f.worse(Note, "it has no carrier: check the cable and the other end")
	case a.MasterIndex != 0:
		f.worse(Note, "it is a port of interface %d (a bond or bridge), and only packets that come in here are seen", a.MasterIndex)
	case link.Type() == "vlan" || link.Type() == "bridge" || link.Type() == "macvlan" || link.Type() == "ipvlan":
		f.worse(Note, "a device on top of another has no native XDP: use the one below, whose packets may carry one VLAN tag")
	}
	return f
}

func (m *machine) checkDriver() Finding {
	d := &m.device
	if d.driver.err != nil {
		return note("driver", "the device does not tell its driver: %v", d.driver.err)
	}
	f := ok("driver", "%s", d.driver.v.Name)
	for _, part := range []string{d.driver.v.Version, d.driver.v.Firmware, d.driver.v.Bus} {
		if part != "" {
			f.Text += ", " + part
		}
	}
	return f
}

// checkPCI looks for a card in a slot with fewer or slower lanes than it can use (Documentation/ABI/testing/sysfs-bus-pci).
func (m *machine) checkPCI() Finding {
	dir := m.device.files()
	width, known := m.number(dir + "current_link_width")
	most, known2 := m.number(dir + "max_link_width")
	var speed, fastest float64 // GT/s, as in "8.0 GT/s PCIe"
	_, err := fmt.Sscan(m.read(dir+"current_link_speed"), &speed)
	_, err2 := fmt.Sscan(m.read(dir+"max_link_speed"), &fastest)
	switch {
	case !known || !known2 || errors.Join(err, err2) != nil || width == 0:
		return Finding{} // no PCI Express, or a virtual function, which does not tell
	case width < most || speed < fastest:
		return note("pcie", "x%d at %g GT/s, where the card could have x%d at %g: move it to another slot, or look for a bifurcation or speed setting in "+
			"the firmware", width, speed, most, fastest)
	}
	return ok("pcie", "x%d at %g GT/s, the most that the card has", width, speed)
}

// checkRings compares the device's receive ring with bursts, and in zero-copy mode with our own buffers.
func (m *machine) checkRings() Finding {
	const (
		small = 512  // half a millisecond at a million packets a second: what comes while a poller is off its CPU for a moment
		ours  = 2048 // frames that a queue of xdp:// has to receive with by default
	)
	d := &m.device
	if d.rings.err != nil {
		return Finding{} // a device without hardware
	}
	r := d.rings.v
	f := ok("rings", "%d of %d descriptors to receive, %d of %d to send", r.RX, r.RXMax, r.TX, r.TXMax)
	switch {
	case r.RX < small && r.RX < r.RXMax:
		f.worse(Note, "a longer burst between two polls is lost")
		return f.mend(fmt.Sprintf("ethtool -G %s rx %d", d.name, min(r.RXMax, 2*small)))
	case r.RX > ours && d.zeroCopy():
		f.worse(Note, "in zero-copy mode the card takes its buffers from our %d a queue and cannot fill this ring; or raise frames= in the address", ours)
		return f.mend(fmt.Sprintf("ethtool -G %s rx %d", d.name, ours))
	}
	return f
}

func (m *machine) checkCoalescing() Finding {
	d := &m.device
	if d.coalesce.err != nil {
		return Finding{}
	}
	c := d.coalesce.v
	f := ok("coalescing", "interrupts wait for %d µs on receiving, %d µs on sending", c.RXMicros, c.TXMicros)
	if c.RXAdaptive || c.TXAdaptive {
		f.worse(Note, "and for as long as the driver thinks fit (adaptive)")
	}
	if c.RXMicros > 0 || f.Level == Note {
		f.worse(Note, "a lone packet pays for that, unless the queue is polled busily")
		command := fmt.Sprintf("ethtool -C %s", d.name)
		if c.RXAdaptive {
			command += " adaptive-rx off"
		}
		if c.TXAdaptive {
			command += " adaptive-tx off"
		}
		return f.mend(command + " rx-usecs 0 tx-usecs 0")
	}
	return f
}

// checkOffloads: packets that the card has joined do not fit XDP, and most drivers then refuse the one or the other.
func (m *machine) checkOffloads() Finding {
	d := &m.device
	if d.switches.err != nil {
		return note("offloads", "the device does not tell them: %v", d.switches.err)
	}
	var joined []string
	f := ok("offloads", "the device joins no packets (LRO, GRO-HW)")
	command := "ethtool -K " + d.name
	for _, s := range []struct{ name, ethtool string }{{"rx-lro", "lro"}, {"rx-gro-hw", "rx-gro-hw"}} {
		if d.on(s.name) {
			joined = append(joined, s.ethtool)
			command += " " + s.ethtool + " off"
		}
	}
	if len(joined) > 0 {
		return note("offloads", "%s on: packets that the device joins do not go with native XDP, and drivers refuse the one or the other",
			strings.Join(joined, " and ")).mend(command)
	}
	return f
}

// tagStripping is the kernel's name of the feature that ethtool calls rxvlan.
const tagStripping = "rx-vlan-hw-parse"

// checkVLANs: what strips the tag puts it where XDP does not see it, so that packets of a VLAN look like untagged ones.
func (m *machine) checkVLANs() Finding {
	d := &m.device
	vlans := strings.Join(d.vlans, ", ")
	switch {
	case len(d.vlans) == 0:
		return Finding{}
	case d.switches.err != nil:
		return note("vlan", "the device does not tell whether it strips the tags of %s, which XDP would then not see: %v", vlans, d.switches.err)
	case d.on(tagStripping):
		return note("vlan", "the tags of %s are stripped before XDP sees them, and answers to their packets would leave without", vlans).
			mend("ethtool -K " + d.name + " rxvlan off")
	}
	return ok("vlan", "the tags of %s are left in the packets", vlans)
}

// checkChecksums: on devices without a wire, a kernel socket's packet arrives with the sum of the pseudo-header only, to be completed by a card
// that never comes (CHECKSUM_PARTIAL; include/linux/skbuff.h).
func (m *machine) checkChecksums() Finding {
	d := &m.device
	const what = "packets of kernel sockets arrive with unfinished UDP and TCP checksums, which fastrpc does not need and " +
		"other readers of raw packets may"
	switch d.driver.v.Name {
	case "veth":
		f := note("checksums", what)
		if d.peer == "" {
			f.Text += " (PEER stands for the other end, in its network namespace)"
			return f.mend("ethtool -K PEER tx off")
		}
		return f.mend("ethtool -K " + d.peer + " tx off")
	case "tun", "virtio_net":
		if d.on("rx-checksum") || d.driver.v.Name == "tun" {
			return ok("checksums", what)
		}
	}
	return Finding{}
}
