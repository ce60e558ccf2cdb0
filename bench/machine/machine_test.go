package machine

import (
	"reflect"
	"runtime/debug"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/fastrpc/fastrpc/bench/result"
	"github.com/fastrpc/fastrpc/internal/doctor"
	"github.com/fastrpc/fastrpc/internal/lab"
	"github.com/fastrpc/fastrpc/internal/lab/labtest"
	"github.com/fastrpc/fastrpc/internal/nic"
)

// tree is a machine's files, given as name and content in turn.
func tree(contents ...string) files {
	root := fstest.MapFS{}
	for i := 0; i < len(contents); i += 2 {
		root[contents[i]] = &fstest.MapFile{Data: []byte(contents[i+1] + "\n")}
	}
	return files{root}
}

const clocks = "sys/devices/system/clocksource/clocksource0/available_clocksource"

var metal = tree(
	"proc/sys/kernel/osrelease", "6.12.9-amd64",
	"proc/cpuinfo", "processor\t: 0\nmodel name\t: Intel(R) Xeon(R) Gold 6338\nflags\t\t: fpu vme lahf_lm\n\nprocessor\t: 1\nmodel name\t: other",
	"proc/cmdline", "BOOT_IMAGE=/vmlinuz quiet",
	cpuDir+"/online", "0-63,128",
	cpuDir+"/smt/active", "1",
	cpuDir+"/smt/control", "on",
	cpuDir+"/isolated", "2-5",
	cpuDir+"/cpu0/cpufreq/scaling_governor", "powersave",
	cpuDir+"/cpu1/cpufreq/scaling_governor", "performance",
	cpuDir+"/cpu2/cpufreq/scaling_governor", "powersave",
	cpuDir+"/cpu0/cpuidle/state0/name", "POLL", cpuDir+"/cpu0/cpuidle/state0/latency", "0", cpuDir+"/cpu0/cpuidle/state0/disable", "0",
	cpuDir+"/cpu0/cpuidle/state1/name", "C1", cpuDir+"/cpu0/cpuidle/state1/latency", "2", cpuDir+"/cpu0/cpuidle/state1/disable", "0",
	cpuDir+"/cpu0/cpuidle/state2/name", "C6", cpuDir+"/cpu0/cpuidle/state2/latency", "133", cpuDir+"/cpu0/cpuidle/state2/disable", "1",
	cpuDir+"/cpu1/cpuidle/state1/name", "C1E", cpuDir+"/cpu1/cpuidle/state1/latency", "10", cpuDir+"/cpu1/cpuidle/state1/disable", "0",
	cpuDir+"/cpu2/cpuidle/state1/name", "C1", cpuDir+"/cpu2/cpuidle/state1/latency", "2", cpuDir+"/cpu2/cpuidle/state1/disable", "0",
	cpuDir+"/vulnerabilities/meltdown", "Not affected",
	cpuDir+"/vulnerabilities/itlb_multihit", "KVM: Mitigation: VMX disabled",
	cpuDir+"/vulnerabilities/spectre_v2", "Mitigation: Enhanced / Automatic IBRS; IBPB: conditional; BHI: BHI_DIS_S",
	cpuDir+"/vulnerabilities/spec_store_bypass", "Vulnerable",
	"sys/devices/system/node/node0/cpulist", "0-31", "sys/devices/system/node/node1/cpulist", "32-63", "sys/devices/system/node/online", "0-1",
	"sys/class/dmi/id/sys_vendor", "Dell Inc.", "sys/class/dmi/id/product_name", "PowerEdge R650",
	"sys/bus/pci/devices/0000:3b:00.0/numa_node", "1",
	"sys/bus/virtio/devices/virtio0/driver", "x",
)

var guest = tree(
	"proc/sys/kernel/osrelease", "6.1.0-28-cloud-amd64",
	"proc/cpuinfo", "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu vme hypervisor lahf_lm",
	"proc/cmdline", "quiet mitigations=off",
	cpuDir+"/online", "0-1",
	cpuDir+"/smt/active", "0",
	cpuDir+"/smt/control", "notsupported",
	cpuDir+"/isolated", "",
	cpuDir+"/vulnerabilities/spectre_v2", "Vulnerable; IBPB: disabled",
	clocks, "kvm-clock tsc acpi_pm",
)

var arm = tree(
	"proc/cpuinfo", "processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n\nprocessor\t: 1",
	cpuDir+"/cpu0/topology/thread_siblings_list", "0",
	cpuDir+"/cpu1/topology/thread_siblings_list", "1",
	cpuDir+"/vulnerabilities/meltdown", "Not affected",
	"sys/class/dmi/id/sys_vendor", "Amazon EC2", "sys/class/dmi/id/product_name", "m6g.metal",
)

// A container may hide all of /sys, and a strict one of /proc.
var container = tree("proc/cpuinfo", "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu hypervisor\nprocessor\t: 1")

func TestDescribe(t *testing.T) {
	noNIC := result.NIC{Driver: Unknown, NUMANode: -1, XDPMode: Unknown, ZeroCopy: Unknown, BusyPoll: Unknown}
	for name, c := range map[string]struct {
		files files
		want  result.Machine
	}{
		"bare metal": {metal, result.Machine{Kernel: "6.12.9-amd64", CPU: "Intel(R) Xeon(R) Gold 6338", Cores: 65, SMT: "on",
			Governor: "powersave, performance", CStates: "C1E, 10 µs to leave", Isolated: "2-5", NUMANodes: 2, Hypervisor: "none",
			Mitigations: "itlb_multihit (VMX disabled), spectre_v2 (Enhanced / Automatic IBRS); vulnerable to spec_store_bypass"}},
		"guest": {guest, result.Machine{Kernel: "6.1.0-28-cloud-amd64", CPU: "AMD EPYC", Cores: 2, SMT: "none", Governor: "none", CStates: "none",
			Isolated: "none", NUMANodes: 1, Hypervisor: "KVM", Mitigations: "switched off at boot; vulnerable to spectre_v2"}},
		"arm64": {arm, result.Machine{Kernel: Unknown, CPU: "implementer 0x41 part 0xd0c", Cores: 2, SMT: "none", Governor: "none", CStates: "none",
			Isolated: "none", NUMANodes: 1, Hypervisor: "none", Mitigations: "none needed"}},
		"container": {container, result.Machine{Kernel: Unknown, CPU: "AMD EPYC", Cores: 2, SMT: Unknown, Governor: Unknown, CStates: Unknown,
			Isolated: Unknown, Hypervisor: "yes, of unknown kind", Mitigations: Unknown}},
		"nothing": {tree(), result.Machine{Kernel: Unknown, CPU: Unknown, SMT: Unknown, Governor: Unknown, CStates: Unknown, Isolated: Unknown,
			Hypervisor: Unknown, Mitigations: Unknown}},
	} {
		c.want.NIC = noNIC
		if got := c.files.describe(); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, c.want)
		}
	}
}

func TestHypervisor(t *testing.T) {
	const x86Guest, armInfo = "flags\t: fpu hypervisor", "Features\t: fp"
	const vendor, product = "sys/class/dmi/id/sys_vendor", "sys/class/dmi/id/product_name"
	for want, f := range map[string]files{
		"QEMU Standard PC":                      tree("proc/cpuinfo", x86Guest, vendor, "QEMU", product, "Standard PC"),
		"Hyper-V":                               tree("proc/cpuinfo", x86Guest, clocks, "hyperv_clocksource_tsc_page"),
		"QEMU KVM Virtual Machine":              tree("proc/cpuinfo", armInfo, vendor, "QEMU", product, "KVM Virtual Machine"),
		"Amazon EC2 c7g.large":                  tree("proc/cpuinfo", armInfo, vendor, "Amazon EC2", product, "c7g.large"),
		"linux,kvm":                             tree("proc/cpuinfo", armInfo, "proc/device-tree/hypervisor/compatible", "linux,kvm\x00"),
		"none":                                  tree("proc/cpuinfo", armInfo, vendor, "GIGABYTE", product, "R272"),
		"Microsoft Corporation Virtual Machine": tree("proc/cpuinfo", x86Guest, vendor, "Microsoft Corporation", product, "Virtual Machine"),
	} {
		if got := f.hypervisor(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestNodeOf(t *testing.T) {
	for bus, want := range map[string]int{"0000:3b:00.0": 1, "virtio0": -1, "": -1, "../..": -1, "nothing": -1} {
		if got := metal.nodeOf(bus); got != want {
			t.Errorf("%q is at node %d, want %d", bus, got, want)
		}
	}
}

func TestCoalescing(t *testing.T) {
	for want, c := range map[string]nic.Coalesce{
		"receive 8 µs, adaptive; send 16 µs or 32 packets": {RXMicros: 8, RXAdaptive: true, TXMicros: 16, TXFrames: 32},
		"receive 0 µs; send 0 µs":                          {},
	} {
		if got := coalescing(&c); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// The Go settings are those in force, whoever set them.
func TestGoSettings(t *testing.T) {
	old, oldLimit := debug.SetGCPercent(37), debug.SetMemoryLimit(512<<20)
	defer func() { debug.SetGCPercent(old); debug.SetMemoryLimit(oldLimit) }()
	if got, procs := GoSettings(); got != "GOGC=37 GOMEMLIMIT=512 MiB" || procs < 1 {
		t.Errorf("%q, %d processors", got, procs)
	}
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(1<<63 - 1)
	if got, _ := GoSettings(); got != "GOGC=off GOMEMLIMIT=off" {
		t.Error(got)
	}
}

// This machine: something is known of it, and of loopback.
func TestDescribeThis(t *testing.T) {
	m := Describe()
	if m.Kernel == Unknown || m.Cores < 1 || m.MaxProcs < 1 || m.Date == "" {
		t.Errorf("%+v", m)
	}
	if n := NIC("lo"); n.Driver != "none" || n.MTU == 0 || n.Queues != 1 {
		t.Errorf("%+v", n)
	}
	if n := NIC("no-such-iface0"); n.Driver != Unknown {
		t.Errorf("%+v", n)
	}
}

func TestAdvise(t *testing.T) {
	note := func(check, text string, fix ...string) doctor.Finding {
		return doctor.Finding{Check: check, Level: doctor.Note, Text: text, Fix: fix}
	}
	found := []doctor.Finding{
		note("mitigations", "dear"), note("queues", "too few"), note("isolation", "shared", "echo x", "update-grub"), note("vlan", "one"),
		note("governor", "slow", "cpupower frequency-set -g performance"), {Check: "threads", Level: doctor.OK, Text: "fine"},
	}
	const all = "what was measured had all CPUs of the machine, so that whatever else ran took time from it: use one with more"
	const governor, isolation = "slow: cpupower frequency-set -g performance", "shared: echo x (and 1 more, see 'fastrpc doctor')"
	for _, c := range []struct {
		name  string
		m     Measured
		cores int
		want  []string
	}{
		{"with CPUs to spare", Measured{CPUs: []int{0, 1}, Bypass: true}, 8, []string{governor, isolation, "too few", "dear"}},
		{"without", Measured{CPUs: []int{0, 1}}, 2, []string{all, governor, "dear"}},
	} {
		if got := advise(c.m, found, c.cores); strings.Join(got, "\n") != strings.Join(c.want, "\n") {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	var many []doctor.Finding
	for _, w := range weight {
		many = append(many, note(w.check, w.check))
	}
	if got := advise(Measured{CPUs: []int{0}, Bypass: true}, many, 8); len(got) != maxAdvice || got[0] != weight[0].check {
		t.Errorf("%q", got)
	}
}

// About a lab's interface there is nothing to advise; the doctor's checks that are looked for exist.
func TestAdviceInLab(t *testing.T) {
	h := labtest.New(t, lab.Config{}).Client()
	err := h.Do(func() error {
		for _, line := range Advice(Measured{Interface: h.Interface, CPUs: []int{0}, Bypass: true}) {
			if strings.Contains(line, "queue") || strings.Contains(line, h.Interface) {
				t.Errorf("advice about a veth device: %s", line)
			}
		}
		checks := map[string]bool{}
		for _, f := range doctor.Examine(h.Interface, doctor.Options{NoProbe: true}).Findings {
			checks[f.Check] = true
		}
		for _, hardware := range []string{"pcie", "numa", "coalescing", "rss-udp", "affinity", "rings"} {
			checks[hardware] = true // of these, silent about veth
		}
		for _, w := range weight {
			if !checks[w.check] {
				t.Errorf("the doctor has no check %q: %v", w.check, checks)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
