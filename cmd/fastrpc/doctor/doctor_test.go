package doctor

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/vishvananda/netlink"

	"github.com/fastrpc/fastrpc/bpf"
)

// want checks a finding's level, that its text and its command hold these words, and that what is wrong names a command.
func want(t *testing.T, f Finding, level Level, words ...string) {
	t.Helper()
	if f.Level != level {
		t.Errorf("%s: %s, want %s: %s", f.Check, f.Level, level, f.Text)
	}
	for _, w := range words {
		if !strings.Contains(f.Text+" $ "+f.Fix, w) {
			t.Errorf("%s: %q $ %q does not say %q", f.Check, f.Text, f.Fix, w)
		}
	}
}

func TestKernel(t *testing.T) {
	want(t, checkKernel("6.1.0-28-amd64"), OK, "6.1.0-28-amd64")
	want(t, checkKernel("5.11.0"), OK)
	want(t, checkKernel("5.10.0-9-cloud"), Wrong, "5.11", "apt")
	want(t, checkKernel("4.19"), Wrong)
	want(t, checkKernel("unreadable"), Note)
}

const statusRoot = "Name:\tx\nCapInh:\t0000000000000000\nCapPrm:\t000001ffffffffff\nCapEff:\t000001ffffffffff\n"

func TestPrivileges(t *testing.T) {
	status := func(hex string) string {
		return strings.Replace(statusRoot, "CapEff:\t000001ffffffffff", "CapEff:\t"+hex, 1)
	}
	const (
		lacksBPF  = "0000000000003000" // NET_ADMIN, NET_RAW
		lacksPerf = "0000008000003000" // and BPF
		fourCaps  = "000000c000003000" // and PERFMON
		oldStyle  = "0000000000203000" // SYS_ADMIN stands in for BPF and PERFMON
	)
	want(t, checkPrivileges(statusRoot, 0, 2), OK)
	want(t, checkPrivileges(status(fourCaps), 16<<20, 2), OK)
	want(t, checkPrivileges(status(oldStyle), 16<<20, 2), OK)
	want(t, checkPrivileges(status(fourCaps), 8<<20, 2), Wrong, "missing CAP_IPC_LOCK", "16 MiB", "setcap")
	want(t, checkPrivileges(status(lacksBPF), 1<<30, 1), Wrong, "missing CAP_BPF, CAP_PERFMON", "setcap")
	want(t, checkPrivileges(status(lacksPerf), 1<<30, 1), Wrong, "missing CAP_PERFMON", "cap_perfmon")
	want(t, checkPrivileges(status("0"), 1<<30, 1), Wrong, "CAP_NET_RAW, CAP_NET_ADMIN, CAP_BPF, CAP_PERFMON")
	want(t, checkPrivileges("", 0, 1), Note)
	if f := checkPrivileges(status(lacksBPF), 1<<30, 1); strings.Contains(f.Text, "CAP_NET_RAW") {
		t.Errorf("%q names a capability that is there", f.Text)
	}
}

func TestHugePages(t *testing.T) {
	want(t, checkHugePages("always [madvise] never"), OK, "[madvise]")
	want(t, checkHugePages("[always] madvise never"), OK)
	want(t, checkHugePages("always madvise [never]"), Note, "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled")
	want(t, checkHugePages(""), Note, "small")
}

func TestGovernor(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text + "\n")} }
	const cpu0, cpu1 = "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor"
	want(t, checkGovernor(fstest.MapFS{}), OK, "no frequency scaling")
	want(t, checkGovernor(fstest.MapFS{cpu0: file("performance"), cpu1: file("performance")}), OK, "all CPUs")
	want(t, checkGovernor(fstest.MapFS{cpu0: file("performance"), cpu1: file("schedutil")}), Note, "1 of 2", "cpupower")
}

func TestBusyPoll(t *testing.T) {
	sys := func(deferred, timeout string) fstest.MapFS {
		return fstest.MapFS{
			"sys/class/net/eth7/napi_defer_hard_irqs": {Data: []byte(deferred + "\n")},
			"sys/class/net/eth7/gro_flush_timeout":    {Data: []byte(timeout + "\n")},
			"proc/sys/net/core/busy_poll":             {Data: []byte("50\n")},
		}
	}
	want(t, checkBusyPoll(sys("2", "200000"), "eth7"), OK, "busy_poll 50 µs", "busy_read unknown")
	want(t, checkBusyPoll(sys("0", "200000"), "eth7"), Note, "echo 2 > /sys/class/net/eth7/napi_defer_hard_irqs")
	want(t, checkBusyPoll(sys("2", "0"), "eth7"), Note, "gro_flush_timeout")
	want(t, checkBusyPoll(fstest.MapFS{}, "eth7"), Note, "/sys")
}

func TestDeviceJudgements(t *testing.T) {
	up := netlink.LinkAttrs{Name: "eth7", Flags: net.FlagUp, OperState: netlink.OperUp}
	want(t, checkInterface(&netlink.Veth{LinkAttrs: up}), OK, "eth7")
	want(t, checkInterface(&netlink.Bond{LinkAttrs: up}), Wrong, "bond", "udp://")

	want(t, checkMTU("eth7", 1500, 4096), OK, "1500", "3498")
	want(t, checkMTU("eth7", 3498, 4096), OK)
	want(t, checkMTU("eth7", 9000, 4096), Note, "ip link set dev eth7 mtu 3498")
	want(t, checkMTU("eth7", 9000, 65536), OK)

	want(t, checkQueues("eth7", 2, 8, 4), OK, "2 receive queues of 8")
	want(t, checkQueues("eth7", 8, 8, 4), Note, "ethtool -L eth7 combined 4")

	want(t, judgeFeatures(0xf), OK, "basic, redirect, ndo-xmit, xsk-zerocopy")
	want(t, judgeFeatures(0x23), Note, "rx-sg", "no zero-copy")
	want(t, judgeFeatures(0), Note, "no native XDP")

	links := []netlink.Link{
		&netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: "eth7.1", ParentIndex: 7}},
		&netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: "eth8.1", ParentIndex: 8}},
		&netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Name: "other", ParentIndex: 7}},
		&netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: "eth7.2", ParentIndex: 7}},
	}
	want(t, judgeVLANs("eth7", vlansOn(7, links), true, nil), Note, "eth7.1, eth7.2", "ethtool -K eth7 rxvlan off")
	want(t, judgeVLANs("eth7", []string{"eth7.1"}, false, nil), OK, "eth7.1")
	want(t, judgeVLANs("eth7", []string{"eth7.1"}, false, errors.New("not there")), Note, "eth7.1", "not there")

	want(t, judgeFirewall(0, nil), Note, "before nftables")
	want(t, judgeFirewall(7, nil), Note, "7 such rules", "prefixes")
	want(t, judgeFirewall(0, errors.New("not there")), Note, "before nftables")

	want(t, judgeAttached(bpf.Attachment{Interface: "eth7", Program: "theirs", ProgramID: 5, LinkID: 9, Mode: bpf.Native}), Wrong, "theirs", "link detach id 9")
	want(t, judgeAttached(bpf.Attachment{Interface: "eth7", ProgramID: 5, Mode: bpf.Generic}), Wrong, "ip link set dev eth7 xdpgeneric off")
	want(t, judgeAttached(bpf.Attachment{Interface: "eth7", ProgramID: 5}), Wrong, "xdpoffload off")

	proc := fstest.MapFS{
		"proc/7/fdinfo/3":     {Data: []byte("pos:\t0\nlink_type:\txdp\nlink_id:\t91\n")},
		"proc/88/fdinfo/4":    {Data: []byte("pos:\t0\nlink_type:\txdp\nlink_id:\t9\nprog_id:\t5\n")},
		"proc/driver/fdinfo/": {Mode: fs.ModeDir},
	}
	if pid := linkHolder(proc, 9); pid != 88 {
		t.Errorf("link 9 is held by process %d", pid)
	}
	if pid := linkHolder(proc, 5); pid != 0 {
		t.Errorf("link 5 is held by process %d", pid)
	}
	inUse := bpf.Attachment{Interface: "eth7", Program: steerProgram, ProgramID: 5, LinkID: 9, Mode: bpf.Native}
	want(t, judgeInUse(inUse, 88), Note, "eth7 is in use", "pid 88")
	want(t, judgeInUse(inUse, 0), Note, "a fastrpc process holds it")
}

func TestReport(t *testing.T) {
	r := Report{Interface: "eth7"}
	r.add(Finding{"kernel", OK, "Linux 6.1", ""}, Finding{"governor", Note, "powersave", "cpupower"})
	if !r.Fit() {
		t.Error("a note alone makes it unfit")
	}
	r.add(Finding{"program", Wrong, "taken", "bpftool"})
	if r.Fit() {
		t.Error("fit although something is wrong")
	}
	var text, js bytes.Buffer
	if err := errors.Join(r.Print(&text), r.JSON(&js)); err != nil {
		t.Fatal(err)
	}
	const golden = `ok     kernel        Linux 6.1
note   governor      powersave
                     $ cpupower
wrong  program       taken
                     $ bpftool

eth7 is not fit for xdp:// until what is wrong is mended; udp:// works meanwhile
`
	if text.String() != golden {
		t.Errorf("got:\n%s\nwant:\n%s", text.String(), golden)
	}
	var back Report
	if err := json.Unmarshal(js.Bytes(), &back); err != nil || len(back.Findings) != 3 || back.Findings[2] != r.Findings[2] {
		t.Errorf("JSON %s: %v", js.String(), err)
	}
}

func find(t *testing.T, r Report, check string) Finding {
	t.Helper()
	for _, f := range r.Findings {
		if f.Check == check {
			return f
		}
	}
	t.Fatalf("no finding %q in %+v", check, r.Findings)
	return Finding{}
}

func TestExamineLoopbackAndNothing(t *testing.T) {
	r := Examine("lo", Options{})
	if r.Fit() {
		t.Error("loopback is fit")
	}
	want(t, find(t, r, "interface"), Wrong, "udp://")
	want(t, find(t, r, "probe"), Note)
	for _, f := range r.Findings {
		if f.Check == "mtu" || f.Check == "busy-poll" {
			t.Errorf("advice on an interface that nothing makes fit: %+v", f)
		}
	}

	r = Examine("no-such-iface0", Options{})
	want(t, find(t, r, "interface"), Wrong, "no-such-iface0", "lo", "ip link")
}
