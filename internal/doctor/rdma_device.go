package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// checkIdentity names the device, and refuses kinds that rdma:// cannot use.
func checkIdentity(d *RDMADevice, id answer[uint32]) Finding {
	f := ok("device", "%s", d.Name)
	switch {
	case d.Driver != "":
		f.Text += ", driver " + d.Driver
	case id.err != nil:
		f.Text += fmt.Sprintf(", driver not told (%v)", id.err)
	default:
		f.Text += fmt.Sprintf(", of a driver without a name here (number %d)", id.v)
	}
	if d.Firmware != "" {
		f.Text += ", firmware " + d.Firmware
	}
	if d.NodeGUID != "" {
		f.Text += ", node GUID " + d.NodeGUID
	}
	switch kind := afterColon(d.nodeType); {
	case d.Driver == "efa":
		f.worse(Wrong, "an Elastic Fabric Adapter has neither reliable connections nor rdma_cm, and SRD is a kind of its own: use xdp:// or udp:// over ena")
	case kind == "RNIC":
		f.worse(Wrong, "iWARP has no datagrams, and its sends no immediate data, which rdma:// has port numbers in: use xdp:// or udp://")
	case strings.HasPrefix(kind, "usNIC"):
		f.worse(Wrong, "usNIC has no reliable connections and no rdma_cm: use xdp:// or udp://")
	case strings.Trim(d.NodeGUID, "0:") == "" && d.NodeGUID != "":
		f.worse(Note, "without a node GUID rdma_cm does not connect; a virtual function of mlx5 gets one with its MAC address ('ip link set dev PF vf N mac ...' on "+
			"the host, and its driver bound anew)")
	case d.Driver == "rxe":
		f.worse(Note, "soft-RoCE: the kernel does the work of a card, for tests")
	}
	return f
}

// checkRDMAHere tells that the interface carries RDMA as well.
func (m *machine) checkRDMAHere() Finding {
	for _, d := range m.rdmaDevices(askMTU) {
		for _, p := range d.Ports {
			if p.Interface == m.device.name {
				return ok("rdma", "port %d of the RDMA device %s is on it, which 'fastrpc doctor --rdma %s' examines", p.Number, d.Name, d.Name)
			}
		}
	}
	return Finding{}
}

// checkProvider looks for the part of rdma-core that knows the device. Where libibverbs was asked, it knows best.
func (m *machine) checkProvider(d *RDMADevice, opened error) Finding {
	switch {
	case len(d.Ports) > 0 && opened == nil:
		return ok("provider", "libibverbs opens the device")
	case len(d.Ports) > 0 && !errors.Is(opened, errNotBuilt):
		f := wrong("provider", "libibverbs does not open the device: %v", opened)
		if d.Driver != "" && m.libraries("libibverbs/lib"+d.Driver+"-rdmav*.so") == nil {
			f.worse(Wrong, "its provider (lib%s-rdmav*.so) is not found", d.Driver)
			f = f.mend("apt-get install ibverbs-providers")
		}
		return f
	case d.Driver == "":
		return note("provider", "which part of rdma-core it needs is not known; 'ibv_devinfo -d %s' says whether that is there", d.Name)
	}
	files := m.libraries("libibverbs/lib" + d.Driver + "-rdmav*.so")
	_, err := fs.Stat(m.root, "etc/libibverbs.d/"+d.Driver+".driver")
	switch {
	case files == nil:
		return wrong("provider", "libibverbs needs lib%s-rdmav*.so for the device, which is not found where distributions have it (RHEL: in package libibverbs)",
			d.Driver).mend("apt-get install ibverbs-providers")
	case err != nil:
		return wrong("provider", "%s is there, but /etc/libibverbs.d/%s.driver, by which libibverbs finds it, is not", files[0], d.Driver).
			mend("apt-get install --reinstall -o Dpkg::Options::=--force-confmiss ibverbs-providers")
	}
	return ok("provider", "%s", files[0])
}

// checkLimits tells what only libibverbs knows.
func checkLimits(d *RDMADevice, v answer[verbs]) Finding {
	if v.err != nil {
		return ok("features", "on-demand paging, atomics and limits are told by a program with RDMA, or by 'ibv_devinfo -v -d %s'", d.Name)
	}
	has := func(there bool, what string) string {
		if there {
			return what
		}
		return "no " + what
	}
	return ok("features", "%s, %s, %s, %s at most", has(v.v.onDemand, "on-demand paging"), has(v.v.atomics, "atomics"), has(v.v.srqs > 0, "shared receive queues"),
		plural(v.v.qps, "queue pair"))
}
