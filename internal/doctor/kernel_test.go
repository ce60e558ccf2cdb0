package doctor

import (
	"strings"
	"testing"
)

func TestKernel(t *testing.T) {
	want(t, checkKernel("6.1.0-28-amd64"), OK, "6.1.0-28-amd64", "several buffers (6.6)", "TX metadata (6.8)", "IRQ suspension (6.13)")
	want(t, checkKernel("5.11.0"), OK)
	want(t, checkKernel("5.10.0-9-cloud"), Wrong, "5.11", "apt")
	want(t, checkKernel("4.19"), Wrong)
	want(t, checkKernel("unreadable"), Note)
	if f := checkKernel("7.0.1"); f.Text != "Linux 7.0.1" {
		t.Errorf("%q: a kernel that lacks nothing", f.Text)
	}
}

const statusRoot = "Name:\tx\nCapInh:\t0000000000000000\nCapPrm:\t000001ffffffffff\nCapEff:\t000001ffffffffff\nCpus_allowed:\tff\nCpus_allowed_list:\t0-3,8\n"

func status(caps string) string {
	return strings.Replace(statusRoot, "CapEff:\t000001ffffffffff", "CapEff:\t"+caps, 1)
}

const (
	noCaps    = "0000000000000000"
	lacksBPF  = "0000000000003000" // NET_ADMIN, NET_RAW
	lacksPerf = "0000008000003000" // and BPF
	fourCaps  = "000000c000003000" // and PERFMON
	oldStyle  = "0000000000203000" // SYS_ADMIN stands in for BPF and PERFMON
	hostMap   = "         0          0 4294967295"
)

func TestCapabilities(t *testing.T) {
	want(t, checkCapabilities(statusRoot, hostMap, "eth7", false), OK)
	want(t, checkCapabilities(status(fourCaps), hostMap, "eth7", false), OK)
	want(t, checkCapabilities(status(oldStyle), hostMap, "eth7", false), OK)
	want(t, checkCapabilities(status(fourCaps), "", "eth7", false), OK)
	want(t, checkCapabilities(status(lacksBPF), hostMap, "eth7", false), Wrong, "missing CAP_BPF, CAP_PERFMON", "setcap")
	want(t, checkCapabilities(status(lacksPerf), hostMap, "eth7", false), Wrong, "missing CAP_PERFMON", "cap_perfmon")
	want(t, checkCapabilities(status(noCaps), hostMap, "eth7", false), Wrong, "CAP_NET_RAW, CAP_NET_ADMIN, CAP_BPF, CAP_PERFMON")
	want(t, checkCapabilities("", hostMap, "eth7", false), Note)
	// Rootless Podman: all capabilities, over a namespace that counts for nothing here.
	want(t, checkCapabilities(statusRoot, "         0       1000          1\n         1     100000      65536", "eth7", false), Wrong, "user namespace")
	want(t, checkCapabilities(status(lacksBPF), hostMap, "eth7", true), OK, "program=pinned")
	want(t, checkCapabilities(status(noCaps), hostMap, "eth7", true), Wrong, "fastrpc setup eth7")
	if f := checkCapabilities(status(lacksBPF), hostMap, "eth7", false); strings.Contains(f.Text, "CAP_NET_RAW,") {
		t.Errorf("%q names a capability that is there", f.Text)
	}
}

func TestMemlock(t *testing.T) {
	want(t, checkMemlock(status(fourCaps), 8<<20, 1, 1500, false), OK, "8 MiB for 1 queue")
	want(t, checkMemlock(status(fourCaps), 8<<20, 2, 1500, false), Wrong, "16 MiB", "8192 KiB", "ulimit -l 16384", "cap_ipc_lock")
	want(t, checkMemlock(status(fourCaps), 8<<20, 2, 1500, true), Wrong, "setcap cap_net_raw,cap_ipc_lock=ep")
	want(t, checkMemlock(statusRoot, 0, 4, 1500, false), OK, "32 MiB", "CAP_IPC_LOCK")
	want(t, checkMemlock(status(fourCaps), 16<<20, 1, 3498, false), OK, "16 MiB") // chunks of 4 KiB
	want(t, checkMemlock(status(fourCaps), 24<<20, 1, 4000, false), OK, "24 MiB") // two of them for each packet to send
	want(t, checkMemlock(status(fourCaps), 16<<20, 1, 9000, false), Wrong, "40 MiB")
}

func TestBPF(t *testing.T) {
	const jit, harden, stats, users = "proc/sys/net/core/bpf_jit_enable", "proc/sys/net/core/bpf_jit_harden", "proc/sys/kernel/bpf_stats_enabled",
		"proc/sys/kernel/unprivileged_bpf_disabled"
	want(t, onMachine(jit, "1", harden, "0", stats, "0", users, "2").checkBPF(), OK)
	want(t, onMachine().checkBPF(), OK) // another network namespace, and not root
	want(t, onMachine(jit, "0").checkBPF(), Note, "interpreted", "sysctl -w net.core.bpf_jit_enable=1")
	want(t, onMachine(harden, "2").checkBPF(), Note, "blinded", "sysctl -w net.core.bpf_jit_harden=1")
	want(t, onMachine(stats, "1", users, "0").checkBPF(), Note, "timed", "every user", "kernel.bpf_stats_enabled=0", "kernel.unprivileged_bpf_disabled=2")
}

func TestVirtual(t *testing.T) {
	const metal = "processor\t: 0\nflags\t\t: fpu vme sse2 constant_tsc nonstop_tsc"
	const guest = metal + " hypervisor lahf_lm"
	want(t, onMachine("proc/cpuinfo", metal, "proc/stat", "cpu  500 0 300 9200 0 0 0 0 0 0\ncpu0 1 2 3").checkVirtual(), OK, "no sign")
	want(t, onMachine("proc/cpuinfo", guest, "proc/stat", "cpu  500 0 300 99999 0 0 0 10 0 0").checkVirtual(), OK, "virtual machine")
	want(t, onMachine("proc/cpuinfo", guest, "proc/stat", "cpu  500 0 300 9200 0 0 0 310 0 0").checkVirtual(), Note, "steal", "3 %")
	want(t, onMachine().checkVirtual(), OK)
}

func TestClock(t *testing.T) {
	const current, available = "sys/devices/system/clocksource/clocksource0/current_clocksource", "sys/devices/system/clocksource/clocksource0/available_clocksource"
	want(t, onMachine(current, "tsc").checkClock(), OK, "tsc")
	want(t, onMachine(current, "kvm-clock").checkClock(), OK, "without a system call")
	if f := onMachine(current, "xen").checkClock(); f.Text != "xen" {
		t.Errorf("%q promises what is not known", f.Text)
	}
	want(t, onMachine(current, "hpet", available, "tsc hpet acpi_pm").checkClock(), Note, "hpet", "echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource")
	if f := onMachine(current, "acpi_pm", available, "acpi_pm").checkClock(); f.Level != Note || f.Fix != nil || !strings.Contains(f.Text, "unstable") {
		t.Errorf("without a TSC: %+v", f)
	}
	want(t, onMachine().checkClock(), Note)
}

func TestMitigations(t *testing.T) {
	const dir = cpuDir + "vulnerabilities/"
	want(t, onMachine(dir+"meltdown", "Not affected", dir+"retbleed", "Not affected",
		dir+"spectre_v2", "Mitigation: Enhanced / Automatic IBRS; IBPB: conditional; PBRSB-eIBRS: SW sequence; BHI: BHI_DIS_S").checkMitigations(), OK)
	want(t, onMachine(dir+"meltdown", "Mitigation: PTI", dir+"retbleed", "Mitigation: IBRS", dir+"spectre_v2", "Mitigation: IBRS; IBPB: conditional").checkMitigations(),
		Note, "meltdown (PTI), retbleed (IBRS), spectre_v2 (IBRS)", "mitigations=off")
	want(t, onMachine().checkMitigations(), OK)
}
