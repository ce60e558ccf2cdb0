package doctor

import (
	"io/fs"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/fastrpc/fastrpc/rdma"
)

// RDMADevice is an RDMA device as the kernel shows it. What it does not show is left out.
type RDMADevice struct {
	Name     string     `json:"name"`               // such as mlx5_0
	Driver   string     `json:"driver,omitempty"`   // as rdma-core names its part for it, such as mlx5
	Firmware string     `json:"firmware,omitempty"` // its version
	NodeGUID string     `json:"node_guid,omitempty"`
	Ports    []RDMAPort `json:"ports"`

	nodeType string // "1: CA"
	uverbs   string // the name of its file in /dev/infiniband
}

// RDMAPort is a port of it.
type RDMAPort struct {
	Number        int       `json:"number"`
	State         string    `json:"state"` // ACTIVE, or why not
	PhysicalState string    `json:"physical_state"`
	LinkLayer     string    `json:"link_layer"` // Ethernet or InfiniBand
	Rate          string    `json:"rate"`       // with the width: "100 Gb/sec (4X EDR)"
	MTU           int       `json:"mtu"`        // active, bytes of a packet's payload; 0: unknown
	Interface     string    `json:"interface"`  // of the network; "" where it is not seen
	GIDs          []RDMAGID `json:"gids"`
	Chosen        int       `json:"chosen_gid"` // index of the one that is taken where nothing else decides; -1: none

	smLID string // InfiniBand: where the subnet manager is
	ifMTU int    // of the interface; 0: it is in another network namespace
}

// RDMAGID is a row of a port's table that is not empty.
type RDMAGID struct {
	Index     int    `json:"index"`
	GID       string `json:"gid"` // an IPv4-mapped one as the IPv4 address
	Type      string `json:"type"`
	Interface string `json:"interface,omitempty"`
}

const infiniband = "sys/class/infiniband/"

// rdmaDevices reads /sys/class/infiniband (Documentation/ABI/stable/sysfs-class-infiniband). Where RDMA devices belong to network namespaces, it
// shows this one's. Interfaces' MTUs are asked for, since sysfs may have been mounted in another network namespace.
func (m *machine) rdmaDevices(mtu func(iface string) answer[int]) []RDMADevice {
	var devices []RDMADevice
	for _, name := range m.names(infiniband) {
		d := RDMADevice{Name: name, Firmware: m.read(infiniband + name + "/fw_ver"), NodeGUID: m.read(infiniband + name + "/node_guid"),
			nodeType: m.read(infiniband + name + "/node_type")}
		for _, u := range m.names("sys/class/infiniband_verbs") {
			if m.read("sys/class/infiniband_verbs/"+u+"/ibdev") == name {
				d.uverbs = u
			}
		}
		for _, p := range m.names(infiniband + name + "/ports") {
			if number, err := strconv.Atoi(p); err == nil {
				p := m.rdmaPort(name, number)
				p.ifMTU = mtu(p.Interface).v
				if p.LinkLayer == "Ethernet" {
					p.MTU = roceMTU(p.ifMTU)
				}
				d.Ports = append(d.Ports, p)
			}
		}
		devices = append(devices, d)
	}
	return devices
}

func (m *machine) names(dir string) []string {
	entries, err := fs.ReadDir(m.root, strings.TrimSuffix(dir, "/"))
	if err != nil {
		return nil
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func (m *machine) rdmaPort(device string, number int) RDMAPort {
	dir := path.Join(infiniband+device, "ports", strconv.Itoa(number)) + "/"
	p := RDMAPort{
		Number: number, State: afterColon(m.read(dir + "state")), PhysicalState: afterColon(m.read(dir + "phys_state")),
		LinkLayer: m.read(dir + "link_layer"), Rate: m.read(dir + "rate"), Chosen: -1, smLID: m.read(dir + "sm_lid"),
	}
	var table []rdma.GIDEntry
	for _, row := range m.names(dir + "gids") {
		index, err := strconv.Atoi(row)
		gid, err2 := netip.ParseAddr(m.read(dir + "gids/" + row))
		if err != nil || err2 != nil || !gid.Is6() || gid.IsUnspecified() {
			continue // most rows are empty
		}
		e := rdma.GIDEntry{GID: gid.As16(), Index: index, Type: gidType(p.LinkLayer, m.read(dir+"gid_attrs/types/"+row))}
		table = append(table, e)
		p.GIDs = append(p.GIDs, RDMAGID{index, e.GID.String(), e.Type.String(), m.read(dir + "gid_attrs/ndevs/" + row)})
	}
	slices.SortFunc(p.GIDs, func(a, b RDMAGID) int { return a.Index - b.Index })
	slices.SortFunc(table, func(a, b rdma.GIDEntry) int { return a.Index - b.Index })
	for _, g := range p.GIDs { // the port's own interface has the first row; VLANs on top of it have later ones
		if p.Interface == "" {
			p.Interface = g.Interface
		}
	}
	if e, ok := rdma.ChooseGID(table, netip.Addr{}); ok {
		p.Chosen = e.Index
	}
	return p
}

// afterColon takes the number away from "4: ACTIVE".
func afterColon(s string) string {
	_, name, found := strings.Cut(s, ": ")
	if !found {
		return s
	}
	return name
}

// gidType reads a row's type; sysfs has the same name for InfiniBand and RoCE version 1 (drivers/infiniband/core/cache.c, gid_type_str).
func gidType(linkLayer, name string) rdma.GIDType {
	switch {
	case name == "RoCE v2":
		return rdma.GIDRoCE2
	case linkLayer == "InfiniBand":
		return rdma.GIDInfiniBand
	}
	return rdma.GIDRoCE1
}

// roceHeaders is what the kernel takes off an interface's MTU before it rounds down to one of InfiniBand's (include/rdma/ib_addr.h, iboe_get_mtu).
const roceHeaders = 40 + 8 + 12 + 4 + 28 + 4

// roceMTU is the active MTU of a RoCE port by its interface's; 0: none.
func roceMTU(ifMTU int) int {
	for mtu := 4096; mtu >= 256; mtu /= 2 {
		if ifMTU-roceHeaders >= mtu {
			return mtu
		}
	}
	return 0
}

// gid finds the row that is taken.
func (p *RDMAPort) gid() (RDMAGID, bool) {
	for _, g := range p.GIDs {
		if g.Index == p.Chosen {
			return g, true
		}
	}
	return RDMAGID{}, false
}
