package doctor

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
)

const nodeDir = "sys/devices/system/node/"

// node is the NUMA node of the interface's device; -1 where it has none, or the machine has one only.
func (m *machine) node() int {
	if n, known := m.number(m.device.files() + "numa_node"); known {
		return n
	}
	return -1
}

// checkNUMA compares the node of the card with those of the CPUs that poll, and looks for the kernel's page migration.
func (m *machine) checkNUMA() Finding {
	nodes, _ := fs.Glob(m.root, nodeDir+"node[0-9]*")
	if len(nodes) < 2 {
		return ok("numa", "one node")
	}
	f := m.judgeNode(len(nodes))
	if m.read("proc/sys/kernel/numa_balancing") == "1" {
		f.worse(Note, "the kernel's balancing unmaps memory for a moment to see who uses it, which shows in the tail")
		f = f.mend("sysctl -w kernel.numa_balancing=0")
	}
	return f
}

func (m *machine) judgeNode(nodes int) Finding {
	node := m.node()
	if node < 0 {
		return ok("numa", "%d nodes; the device belongs to none", nodes)
	}
	near := m.cpuFile(fmt.Sprintf("%snode%d/cpulist", nodeDir, node))
	far := without(m.cpus, near)
	if len(far) == 0 {
		return ok("numa", "%s and %s are on node %d", m.device.name, listed("CPU", m.cpus), node)
	}
	distance := ""
	for n := range nodes {
		if len(without(far, m.cpuFile(fmt.Sprintf("%snode%d/cpulist", nodeDir, n)))) == 0 {
			if d := strings.Fields(m.read(fmt.Sprintf("%snode%d/distance", nodeDir, node))); n < len(d) {
				distance = fmt.Sprintf(", at a distance of %s, where the own node has 10", d[n])
			}
		}
	}
	return note("numa", "%s is on node %d, and %s, which may poll, not%s: memory and packets then cross between the sockets", m.device.name, node,
		listed("CPU", far), distance).
		mend(fmt.Sprintf("numactl --cpunodebind=%d --membind=%d fastrpc serve --listen %s --insecure", node, node, m.device.url()))
}

// checkHugePages reads /sys/kernel/mm/transparent_hugepage/enabled, as in "always [madvise] never". Packet memory on huge pages saves TLB
// misses; reserved ones (Documentation/admin-guide/mm/hugetlbpage.rst) are what package afxdp takes when it is asked to.
func (m *machine) checkHugePages() Finding {
	enabled := m.read("sys/kernel/mm/transparent_hugepage/enabled")
	const dir = "hugepages/hugepages-2048kB/"
	where := "sys/kernel/mm/" + dir
	if node := m.node(); node >= 0 {
		where = path.Join(nodeDir, fmt.Sprintf("node%d", node), dir) + "/"
	}
	reserved, _ := m.number(where + "nr_hugepages")
	free, _ := m.number(where + "free_hugepages")
	has := fmt.Sprintf("reserved (2 MiB): %d, %d free", reserved, free)
	switch {
	case strings.Contains(enabled, "[never]"):
		return note("hugepages", "transparent ones are off, so that packet memory stands on small pages at the price of TLB misses; %s", has).
			mend("echo madvise > /sys/kernel/mm/transparent_hugepage/enabled")
	case enabled == "" && reserved == 0:
		return note("hugepages", "the kernel has no transparent ones, and packet memory stands on small pages; %s", has)
	case enabled == "":
		return ok("hugepages", "no transparent ones; %s", has)
	}
	return ok("hugepages", "transparent: %s; %s", enabled, has)
}
