package doctor

import (
	"fmt"
	"strings"
)

// checkPort judges a port's state (the InfiniBand specification's, which RoCE has too).
func checkPort(d *RDMADevice, p *RDMAPort) Finding {
	f := ok("port", "%s, %s, %s, %s", p.State, p.PhysicalState, p.LinkLayer, p.Rate)
	switch {
	case p.State == "ACTIVE":
	case p.LinkLayer == "InfiniBand" && p.PhysicalState == "LinkUp":
		f.worse(Wrong, "the cable is in, and no subnet manager has set the port up: one has to run in a switch or on a host of the fabric")
		return f.mend("apt-get install opensm", "systemctl enable --now opensm")
	case p.LinkLayer == "InfiniBand":
		f.worse(Wrong, "check the cable and the other end; 'ibstat %s' and 'mlxlink -d %s' tell more", d.Name, d.Name)
	case p.Interface != "":
		f.worse(Wrong, "a RoCE port is as its network interface %s: take that up, or check its cable", p.Interface)
		return f.mend("ip link set dev " + p.Interface + " up")
	default:
		f.worse(Wrong, "a RoCE port is as its network interface, 'rdma link' names it: take that up, or check its cable")
	}
	return f
}

// maxRows of a GID table are told to people.
const maxRows = 8

// checkGID tells the table, and which row is taken.
func checkGID(p *RDMAPort, mtu func(iface string) answer[int]) Finding {
	chosen, found := p.gid()
	var others []string
	for _, g := range p.GIDs {
		if g.Index != p.Chosen {
			others = append(others, g.text())
		}
	}
	if n := len(others) - maxRows; n > 0 {
		others = append(others[:maxRows], fmt.Sprintf("and %d more", n))
	}
	more := ""
	if len(others) > 0 {
		more = "; others: " + strings.Join(others, ", ")
	}
	on := p.Interface
	if on == "" {
		on = "INTERFACE"
	}
	address := "ip address add 192.0.2.1/24 dev " + on
	switch {
	case !found:
		return wrong("gid", "no GID: a RoCE port has one for each address of its network interface; give it an address that is your own").mend(address)
	case p.LinkLayer == "InfiniBand":
		return note("gid", "%s%s: rdma:// finds a port by the IP address of its IPoIB interface, which it has to have; it was not tried on InfiniBand",
			chosen.text(), more)
	case chosen.Type != "RoCE v2":
		return note("gid", "%s, and none of RoCE v2: packets have no IP header, and pass no router; it was not tried%s", chosen.text(), more)
	case strings.HasPrefix(chosen.GID, "fe80:"):
		return note("gid", "%s: nothing but link-local addresses, which are good for this Ethernet alone; give the interface another%s", chosen.text(), more).
			mend(address)
	case chosen.Interface != "" && mtu(chosen.Interface).err != nil:
		return wrong("gid", "%s, whose interface is in another network namespace: run there ('ip netns exec', 'nsenter -n')%s", chosen.text(), more)
	}
	return ok("gid", "%s is taken for peers of its IP version, unless the address has gid=%s", chosen.text(), more)
}

func (g RDMAGID) text() string {
	s := fmt.Sprintf("%d: %s (%s", g.Index, g.GID, g.Type)
	if g.Interface != "" {
		s += ", " + g.Interface
	}
	return s + ")"
}

// checkRDMAMTU: a datagram is one packet, and a packet's payload a power of two.
func checkRDMAMTU(p *RDMAPort) Finding {
	switch {
	case p.MTU == 0:
		return ok("rdma-mtu", "the port's is told by a program with RDMA, or by 'ibv_devinfo'")
	case p.MTU >= 4096 || p.LinkLayer != "Ethernet" || p.Interface == "":
		return ok("rdma-mtu", "%d bytes", p.MTU)
	}
	return note("rdma-mtu", "%d bytes, because the MTU of %s is %d: from %d on it is 4096, and long messages take fewer packets. Both ends and the switches "+
		"between have to agree", p.MTU, p.Interface, p.ifMTU, 4096+roceHeaders).mend(fmt.Sprintf("ip link set dev %s mtu 9000", p.Interface))
}
