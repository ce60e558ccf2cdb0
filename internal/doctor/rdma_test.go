package doctor

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/safchain/ethtool"
	"golang.org/x/sys/unix"
)

// connectX is how Linux shows a RoCE card with one port, with the addresses 192.0.2.7 and 2001:db8::7, and rdma-core 44.
var connectX = []string{
	"sys/class/misc/rdma_cm/abi_version", "4",
	"sys/class/infiniband_verbs/abi_version", "6",
	"sys/class/infiniband_verbs/uverbs0/ibdev", "mlx5_0",
	"sys/class/infiniband/mlx5_0/fw_ver", "22.36.1010",
	"sys/class/infiniband/mlx5_0/node_guid", "b83f:d203:00a1:b2c4",
	"sys/class/infiniband/mlx5_0/node_type", "1: CA",
	"sys/class/infiniband/mlx5_0/device/numa_node", "0",
	"sys/class/infiniband/mlx5_0/device/current_link_width", "16", "sys/class/infiniband/mlx5_0/device/max_link_width", "16",
	"sys/class/infiniband/mlx5_0/device/current_link_speed", "16.0 GT/s PCIe", "sys/class/infiniband/mlx5_0/device/max_link_speed", "16.0 GT/s PCIe",
	port1 + "state", "4: ACTIVE",
	port1 + "phys_state", "5: LinkUp",
	port1 + "link_layer", "Ethernet",
	port1 + "rate", "100 Gb/sec (4X EDR)",
	port1 + "sm_lid", "0x0",
	port1 + "gids/0", "fe80:0000:0000:0000:ba3f:d2ff:fea1:b2c4", port1 + "gid_attrs/types/0", "IB/RoCE v1", port1 + "gid_attrs/ndevs/0", "eth7",
	port1 + "gids/1", "fe80:0000:0000:0000:ba3f:d2ff:fea1:b2c4", port1 + "gid_attrs/types/1", "RoCE v2", port1 + "gid_attrs/ndevs/1", "eth7",
	port1 + "gids/2", "0000:0000:0000:0000:0000:ffff:c000:0207", port1 + "gid_attrs/types/2", "IB/RoCE v1", port1 + "gid_attrs/ndevs/2", "eth7",
	port1 + "gids/3", "0000:0000:0000:0000:0000:ffff:c000:0207", port1 + "gid_attrs/types/3", "RoCE v2", port1 + "gid_attrs/ndevs/3", "eth7",
	port1 + "gids/4", "0000:0000:0000:0000:0000:0000:0000:0000", // an empty row, whose attributes cannot be read
	port1 + "gids/10", "2001:0db8:0000:0000:0000:0000:0000:0007", port1 + "gid_attrs/types/10", "RoCE v2", port1 + "gid_attrs/ndevs/10", "eth7",
	"proc/self/status", "CapEff:\t0000000000000000",
	"usr/lib/x86_64-linux-gnu/libibverbs.so.1.14.44.0", "",
	"usr/lib/x86_64-linux-gnu/libibverbs/libmlx5-rdmav34.so", "",
	"etc/libibverbs.d/mlx5.driver", "driver mlx5",
}

const port1 = "sys/class/infiniband/mlx5_0/ports/1/"

// with changes files, or takes one away where the content is "-".
func with(files []string, changes ...string) []string {
	files = slices.Clone(files)
	for i := 0; i < len(changes); i += 2 {
		at := -1
		for j := 0; j < len(files); j += 2 {
			if files[j] == changes[i] {
				at = j
			}
		}
		switch {
		case changes[i+1] == "-":
			files = slices.Delete(files, at, at+2)
		case at >= 0:
			files[at+1] = changes[i+1]
		default:
			files = append(files, changes[i], changes[i+1])
		}
	}
	return files
}

// asked answers as the card's kernel does, to a program without RDMA that may lock any memory.
func asked() rdmaAnswers {
	return rdmaAnswers{
		built: true, memlock: unix.RLIM_INFINITY, netns: answer[string]{v: "shared"},
		driver: func(string) answer[uint32] { return answer[uint32]{v: 1} },
		mtu:    ifMTU(9000),
		open:   func(string) error { return nil },
		dcb:    func(string) answer[dcb] { return answer[dcb]{v: dcb{told: true}} },
		pause:  func(string) answer[ethtool.Pause] { return answer[ethtool.Pause]{} },
		verbs:  func(string, int) answer[verbs] { return answer[verbs]{err: errNotBuilt} },
	}
}

func ifMTU(bytes int) func(string) answer[int] {
	return func(string) answer[int] { return answer[int]{v: bytes} }
}

func examine(name string, a rdmaAnswers, files []string) Report {
	return onMachine(files...).examineRDMA(name, a)
}

func TestRDMAReport(t *testing.T) {
	r := examine("", asked(), connectX)
	if !r.Fit || r.verdict() != "this machine is fit for rdma://." {
		t.Errorf("%v, %q: %+v", r.Fit, r.verdict(), r.Findings)
	}
	const linkLocal = "fe80::ba3f:d2ff:fea1:b2c4"
	wantDevice := RDMADevice{
		Name: "mlx5_0", Driver: "mlx5", Firmware: "22.36.1010", NodeGUID: "b83f:d203:00a1:b2c4", nodeType: "1: CA", uverbs: "uverbs0",
		Ports: []RDMAPort{{
			Number: 1, State: "ACTIVE", PhysicalState: "LinkUp", LinkLayer: "Ethernet", Rate: "100 Gb/sec (4X EDR)", MTU: 4096, Interface: "eth7", Chosen: 3,
			smLID: "0x0", ifMTU: 9000,
			GIDs: []RDMAGID{
				{0, linkLocal, "RoCE v1", "eth7"}, {1, linkLocal, "RoCE v2", "eth7"}, {2, "192.0.2.7", "RoCE v1", "eth7"}, {3, "192.0.2.7", "RoCE v2", "eth7"},
				{10, "2001:db8::7", "RoCE v2", "eth7"},
			},
		}},
	}
	if len(r.RDMA) != 1 || !reflect.DeepEqual(r.RDMA[0], wantDevice) {
		t.Errorf("got  %+v\nwant %+v", r.RDMA, wantDevice)
	}
	for check, words := range map[string]string{
		"build": "has RDMA", "modules": "rdma_ucm", "rdma_cm": "/dev/infiniband/rdma_cm", "libibverbs": "rdma-core 44.0", "netns": "shared", "memlock": "9 MiB",
		"device": "mlx5_0, driver mlx5, firmware 22.36.1010, node GUID b83f:d203:00a1:b2c4", "device-file": "uverbs0", "pcie": "x16", "port": "ACTIVE, LinkUp",
		"gid": "3: 192.0.2.7 (RoCE v2, eth7) is taken", "rdma-mtu": "4096", "pfc": "lossy", "ecn": "not visible", "roce-mode": "mkdir /sys/kernel/config/rdma_cm/mlx5_0",
		"provider": "libmlx5-rdmav34.so", "features": "ibv_devinfo -v -d mlx5_0",
	} {
		want(t, find(t, r, check), OK, words)
	}
	var text, js bytes.Buffer
	if err := errors.Join(r.Print(&text), r.JSON(&js)); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text.String(), "\nrdma mlx5_0\n  ok     device ") {
		t.Errorf("the device has no part of its own:\n%s", text.String())
	}
	var back Report
	if err := json.Unmarshal(js.Bytes(), &back); err != nil || back.RDMA[0].Ports[0].GIDs[3] != wantDevice.Ports[0].GIDs[3] {
		t.Errorf("%v: %s", err, js.String())
	}
	// The names that docs/hardware.md promises to scripts.
	for _, name := range []string{`"scheme": "rdma"`, `"rdma": [`, `"name": "mlx5_0"`, `"driver": "mlx5"`, `"firmware": "22`, `"node_guid": "b8`, `"ports": [`, `"number": 1`,
		`"state": "ACTIVE"`, `"physical_state": "LinkUp"`, `"link_layer": "Ethernet"`, `"rate": "100`, `"mtu": 4096`, `"interface": "eth7"`, `"chosen_gid": 3`, `"gids": [`,
		`"index": 10`, `"gid": "2001:db8::7"`, `"type": "RoCE v2"`, `"device": "mlx5_0"`} {
		if !strings.Contains(js.String(), name) {
			t.Errorf("JSON has no %s", name)
		}
	}
}

func TestRDMADeviceByName(t *testing.T) {
	want(t, find(t, examine("mlx5_1", asked(), connectX), "device"), Wrong, "mlx5_1 is no RDMA device; there are mlx5_0")
	none := examine("", asked(), nil)
	want(t, find(t, none, "device"), Wrong, "rdma link add rxe0")
	want(t, find(t, none, "modules"), Wrong, "CONFIG_INFINIBAND", "modprobe ib_uverbs", "modprobe rdma_ucm")

	// Of two devices one is enough, unless the other is asked for.
	two := with(connectX, "sys/class/infiniband/mlx5_1/node_type", "1: CA", "sys/class/infiniband/mlx5_1/ports/1/state", "1: DOWN",
		"sys/class/infiniband_verbs/uverbs1/ibdev", "mlx5_1")
	if r := examine("", asked(), two); !r.Fit || len(r.RDMA) != 2 {
		t.Errorf("one of two devices works, and yet: %+v", r.Findings)
	}
	if r := examine("mlx5_1", asked(), two); r.Fit || len(r.RDMA) != 1 {
		t.Errorf("the device that was asked for does not work, and yet: %+v", r.Findings)
	}
}

// What prevents rdma://, each thing alone, is wrong, and says what to do.
func TestRDMAWrong(t *testing.T) {
	for _, c := range []struct {
		what, check string
		change      func(*rdmaAnswers)
		files       []string
		words       []string
	}{
		{what: "no tag", check: "build", change: func(a *rdmaAnswers) { a.built = false }, words: []string{"make build-rdma", "libibverbs-dev"}},
		{what: "no rdma_ucm", check: "modules", files: []string{"sys/class/misc/rdma_cm/abi_version", "-"}, words: []string{"modprobe rdma_ucm"}},
		{what: "no uverbs", check: "device-file", files: []string{"sys/class/infiniband_verbs/uverbs0/ibdev", "-"}, words: []string{"ib_uverbs"}},
		{what: "a container", check: "device-file", change: func(a *rdmaAnswers) { a.open = func(string) error { return fs.ErrNotExist } },
			words: []string{"/dev/infiniband/uverbs0", "docker run --device=/dev/infiniband"}},
		{what: "a container", check: "rdma_cm", change: func(a *rdmaAnswers) { a.open = func(string) error { return unix.EPERM } }, words: []string{"/dev/infiniband/rdma_cm", "device rules"}},
		{what: "a udev rule", check: "device-file", change: func(a *rdmaAnswers) { a.open = func(string) error { return unix.EACCES } }, words: []string{"chmod 0666 /dev/infiniband/uverbs0"}},
		{what: "no memory", check: "memlock", change: func(a *rdmaAnswers) { a.memlock = 8 << 20 }, words: []string{"8192 KiB", "ulimit -l 212992", "setcap cap_ipc_lock=ep"}},
		{what: "no provider", check: "provider", files: []string{"usr/lib/x86_64-linux-gnu/libibverbs/libmlx5-rdmav34.so", "-"}, words: []string{"apt-get install ibverbs-providers"}},
		{what: "provider unknown to libibverbs", check: "provider", files: []string{"etc/libibverbs.d/mlx5.driver", "-"}, words: []string{"/etc/libibverbs.d/mlx5.driver"}},
		{what: "libibverbs refuses", check: "provider", change: func(a *rdmaAnswers) {
			a.verbs = func(string, int) answer[verbs] { return answer[verbs]{err: unix.ENOSYS} }
		}, words: []string{"function not implemented"}},
		{what: "iWARP", check: "device", files: []string{"sys/class/infiniband/mlx5_0/node_type", "4: RNIC"}, words: []string{"iWARP", "udp://"}},
		{what: "EFA", check: "device", change: func(a *rdmaAnswers) { a.driver = func(string) answer[uint32] { return answer[uint32]{v: 17} } }, words: []string{"driver efa", "SRD"}},
		{what: "interface down", check: "port", files: []string{port1 + "state", "1: DOWN", port1 + "phys_state", "3: Disabled"}, words: []string{"ip link set dev eth7 up"}},
		{what: "no subnet manager", check: "port", files: []string{port1 + "link_layer", "InfiniBand", port1 + "state", "2: INIT"}, words: []string{"subnet manager", "opensm"}},
		{what: "no cable", check: "port", files: []string{port1 + "link_layer", "InfiniBand", port1 + "state", "1: DOWN", port1 + "phys_state", "2: Polling"}, words: []string{"cable", "ibstat mlx5_0"}},
		{what: "another namespace", check: "gid", change: func(a *rdmaAnswers) {
			a.mtu = func(string) answer[int] { return answer[int]{err: unix.ENODEV} }
		}, words: []string{"another network namespace"}},
		{what: "no GIDs", check: "gid", files: []string{port1 + "gids/0", "-", port1 + "gids/1", "-", port1 + "gids/2", "-", port1 + "gids/3", "-", port1 + "gids/10", "-"},
			words: []string{"ip address add"}},
	} {
		a := asked()
		if c.change != nil {
			c.change(&a)
		}
		r := examine("", a, with(connectX, c.files...))
		want(t, find(t, r, c.check), Wrong, c.words...)
		if r.Fit {
			t.Errorf("%s: fit", c.what)
		}
	}
}

// What works and could be better is a note.
func TestRDMANotes(t *testing.T) {
	for _, c := range []struct {
		check  string
		change func(*rdmaAnswers)
		files  []string
		words  []string
	}{
		{check: "netns", change: func(a *rdmaAnswers) { a.netns.err = unix.EPROTONOSUPPORT }, words: []string{"protocol not supported"}},
		{check: "memlock", change: func(a *rdmaAnswers) { a.memlock = 16 << 20 }, words: []string{"16384 KiB", "frames="}},
		{check: "device", change: func(a *rdmaAnswers) { a.driver = func(string) answer[uint32] { return answer[uint32]{v: 14} } },
			files: []string{"usr/lib64/libibverbs/librxe-rdmav57.so", "", "etc/libibverbs.d/rxe.driver", "driver rxe"}, words: []string{"soft-RoCE"}},
		{check: "device", files: []string{"sys/class/infiniband/mlx5_0/node_guid", "0000:0000:0000:0000"}, words: []string{"MAC address"}},
		{check: "provider", change: func(a *rdmaAnswers) { a.driver = func(string) answer[uint32] { return answer[uint32]{v: 99} } }, words: []string{"ibv_devinfo -d mlx5_0"}},
		{check: "pcie", files: []string{"sys/class/infiniband/mlx5_0/device/current_link_width", "8"}, words: []string{"x8", "another slot"}},
		{check: "rdma-mtu", change: func(a *rdmaAnswers) { a.mtu = ifMTU(1500) }, words: []string{"1024 bytes", "from 4192 on", "ip link set dev eth7 mtu 9000"}},
		{check: "gid", files: []string{port1 + "gids/1", "-", port1 + "gids/3", "-", port1 + "gids/10", "-"}, words: []string{"2: 192.0.2.7 (RoCE v1, eth7)", "none of RoCE v2"}},
		{check: "gid", files: []string{port1 + "gids/2", "-", port1 + "gids/3", "-", port1 + "gids/10", "-"}, words: []string{"1: fe80::", "link-local", "ip address add"}},
		{check: "gid", files: []string{port1 + "link_layer", "InfiniBand", port1 + "gid_attrs/ndevs/0", "-"}, words: []string{"not tried"}},
		{check: "pfc", change: func(a *rdmaAnswers) {
			a.pause = func(string) answer[ethtool.Pause] { return answer[ethtool.Pause]{v: ethtool.Pause{RxPause: 1}} }
		}, words: []string{"stop all traffic"}},
		{check: "pfc", change: func(a *rdmaAnswers) {
			a.pause = func(string) answer[ethtool.Pause] { return answer[ethtool.Pause]{v: ethtool.Pause{TxPause: 1}} }
			a.dcb = func(string) answer[dcb] { return answer[dcb]{v: dcb{told: true, lossless: 8}} }
		}, words: []string{"ethtool -A eth7 rx off tx off"}},
		{check: "ecn", files: []string{"sys/class/net/eth7/ecn/roce_np/enable/3", "0", "sys/class/net/eth7/ecn/roce_rp/enable/3", "0"}, words: []string{"does not react"}},
		{check: "roce-mode", files: []string{"sys/kernel/config/rdma_cm/mlx5_0/ports/1/default_roce_mode", "IB/RoCE v1"},
			words: []string{"echo 'RoCE v2' > /sys/kernel/config/rdma_cm/mlx5_0/ports/1/default_roce_mode"}},
		{check: "losses", files: []string{port1 + "hw_counters/out_of_sequence", "12", port1 + "hw_counters/packet_seq_err", "0"}, words: []string{"12 came out of sequence"}},
	} {
		a := asked()
		if c.change != nil {
			c.change(&a)
		}
		r := examine("", a, with(connectX, c.files...))
		want(t, find(t, r, c.check), Note, c.words...)
		if !r.Fit {
			t.Errorf("%s: not fit: %+v", c.check, r.Findings)
		}
	}
}

// What is visible is told, and what is not is said to be so.
func TestRDMATells(t *testing.T) {
	a := asked()
	a.memlock = 0
	a.dcb = func(iface string) answer[dcb] {
		return answer[dcb]{v: dcb{told: true, lossless: 1<<3 | 1<<4, dscp: map[int]uint8{26: 3, 48: 6}}}
	}
	a.verbs = func(string, int) answer[verbs] {
		return answer[verbs]{v: verbs{mtu: 2048, onDemand: true, qps: 131072, srqs: 1}}
	}
	a.mtu = ifMTU(2200)
	r := examine("mlx5_0", a, with(connectX, "proc/self/status", "CapEff:\t0000000000004000",
		"sys/class/net/eth7/ecn/roce_np/enable/3", "1", "sys/class/net/eth7/ecn/roce_np/enable/4", "0", "sys/class/net/eth7/ecn/roce_rp/enable/3", "1",
		port1+"hw_counters/np_ecn_marked_roce_packets", "5", port1+"hw_counters/np_cnp_sent", "1", port1+"hw_counters/rp_cnp_handled", "2",
		port1+"hw_counters/out_of_sequence", "0",
		"sys/kernel/config/rdma_cm/mlx5_0/ports/1/default_roce_mode", "RoCE v2", "sys/kernel/config/rdma_cm/mlx5_0/ports/1/default_roce_tos", "106"))
	want(t, find(t, r, "memlock"), OK, "CAP_IPC_LOCK", "5 MiB")
	want(t, find(t, r, "pfc"), OK, "priority 3-4", "26 is priority 3", "pause frames are off")
	want(t, find(t, r, "ecn"), OK, "marks on priority 3, and slows down on priority 3", "5 packets came marked, 1 notification sent, 2 notifications slowed")
	want(t, find(t, r, "roce-mode"), OK, "traffic class 106 (DSCP 26)")
	want(t, find(t, r, "losses"), OK, "none")
	want(t, find(t, r, "provider"), OK, "opens the device")
	want(t, find(t, r, "features"), OK, "on-demand paging, no atomics, shared receive queues, 131072 queue pairs")
	want(t, find(t, r, "rdma-mtu"), Note, "2048 bytes")

	a.dcb = func(string) answer[dcb] { return answer[dcb]{err: unix.EOPNOTSUPP} }
	a.pause = func(string) answer[ethtool.Pause] { return answer[ethtool.Pause]{err: unix.EOPNOTSUPP} }
	want(t, find(t, examine("", a, connectX), "pfc"), OK, "not visible: the driver of eth7", "pause frames: not visible (operation not supported)")
}

func TestRDMALibrary(t *testing.T) {
	want(t, onMachine().checkLibrary(false), Note, "apt-get install libibverbs1")
	want(t, onMachine().checkLibrary(true), OK, "there")
	want(t, onMachine("usr/lib64/libibverbs.so.1.15.59.0", "").checkLibrary(false), OK, "rdma-core 59.0")
}

// An interface's report leads to the RDMA device on it.
func TestRDMAHere(t *testing.T) {
	want(t, onMachine(connectX...).checkRDMAHere(), OK, "mlx5_0", "fastrpc doctor --rdma mlx5_0")
	silent(t, onMachine().checkRDMAHere())
}

func TestRoCEMTU(t *testing.T) {
	for ifMTU, mtu := range map[int]int{0: 0, 351: 0, 352: 256, 1500: 1024, 2143: 1024, 2144: 2048, 4191: 2048, 4192: 4096, 9000: 4096} {
		if got := roceMTU(ifMTU); got != mtu {
			t.Errorf("an interface's %d: %d, want %d", ifMTU, got, mtu)
		}
	}
}
