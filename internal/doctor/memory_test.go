package doctor

import (
	"slices"
	"testing"
)

// twoNodes are the files of a machine with CPUs 0, 1 and the card on node 0, and CPUs 2, 3 on node 1.
var twoNodes = []string{
	nodeDir + "node0/cpulist", "0-1", nodeDir + "node0/distance", "10 21",
	nodeDir + "node1/cpulist", "2-3", nodeDir + "node1/distance", "21 10",
	"sys/class/net/eth7/device/numa_node", "0",
}

func TestNUMA(t *testing.T) {
	want(t, onMachine().checkNUMA(), OK, "one node")
	want(t, onMachine(nodeDir+"node0/cpulist", "0-3").checkNUMA(), OK, "one node")
	want(t, onMachine(twoNodes...).polling(0, 1).checkNUMA(), OK, "node 0")
	want(t, onMachine(twoNodes...).checkNUMA(), Note, "2-3", "distance of 21", "numactl --cpunodebind=0 --membind=0", "xdp://eth7")
	want(t, onMachine(slices.Concat(twoNodes, []string{"proc/sys/kernel/numa_balancing", "1"})...).polling(0).checkNUMA(), Note, "sysctl -w kernel.numa_balancing=0")
	veth := onMachine(twoNodes[:8]...)
	want(t, veth.checkNUMA(), OK, "belongs to none")
	virtual := onMachine(slices.Concat(twoNodes[:8], []string{"sys/class/net/eth7/device/numa_node", "-1"})...)
	want(t, virtual.checkNUMA(), OK, "belongs to none")
}

func TestHugePages(t *testing.T) {
	const thp, reserved, free = "sys/kernel/mm/transparent_hugepage/enabled", "hugepages/hugepages-2048kB/nr_hugepages", "hugepages/hugepages-2048kB/free_hugepages"
	want(t, onMachine(thp, "always [madvise] never").checkHugePages(), OK, "[madvise]")
	want(t, onMachine(thp, "[always] madvise never", "sys/kernel/mm/"+reserved, "64", "sys/kernel/mm/"+free, "60").checkHugePages(), OK, "64, 60 free")
	want(t, onMachine(thp, "always madvise [never]").checkHugePages(), Note, "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled")
	want(t, onMachine().checkHugePages(), Note, "small")
	// What is reserved on the other node is of no use to this card.
	want(t, onMachine(slices.Concat(twoNodes, []string{thp, "always [madvise] never", nodeDir + "node0/" + reserved, "0", nodeDir + "node1/" + reserved, "512", "sys/kernel/mm/" + reserved, "512"})...).
		checkHugePages(), OK, "(2 MiB): 0")
}
