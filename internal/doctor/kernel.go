package doctor

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

func release() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// kernelVersion is a kernel's major and minor number.
type kernelVersion struct{ major, minor int }

func parseRelease(release string) (v kernelVersion, ok bool) {
	_, err := fmt.Sscanf(release, "%d.%d", &v.major, &v.minor)
	return v, err == nil
}

func (v kernelVersion) before(major, minor int) bool {
	return v.major < major || v.major == major && v.minor < minor
}

// brought is what later kernels have for AF_XDP; docs/hardware.md has the sources.
var brought = []struct {
	major, minor int
	what         string
}{
	{6, 6, "packets in several buffers"},
	{6, 8, "TX metadata"},
	{6, 13, "IRQ suspension"},
	{6, 17, "whole-ring sends in copy mode"},
	{6, 19, "busy polling by a kernel thread"},
}

// checkKernel: package afxdp needs Linux 5.11, see there.
func checkKernel(release string) Finding {
	v, known := parseRelease(release)
	switch {
	case !known:
		return note("kernel", "cannot read the kernel's version %q; it must be Linux 5.11 or later", release)
	case v.before(5, 11):
		return wrong("kernel", "Linux %s; AF_XDP as it is used here needs 5.11 or later (Debian 12 has 6.1)", release).mend("apt full-upgrade")
	}
	var lacks []string
	for _, b := range brought {
		if v.before(b.major, b.minor) {
			lacks = append(lacks, fmt.Sprintf("%s (%d.%d)", b.what, b.major, b.minor))
		}
	}
	if len(lacks) == 0 {
		return ok("kernel", "Linux %s", release)
	}
	return ok("kernel", "Linux %s; later ones have %s", release, strings.Join(lacks, ", "))
}

// checkBPF looks at the settings that make every program slower, and at who may load some (Documentation/admin-guide/sysctl/net.rst and
// kernel.rst). Files that only root may read, or only the first network namespace has, are passed over.
func (m *machine) checkBPF() Finding {
	f := ok("bpf", "no setting that slows programs down, or lets every user load some")
	for _, s := range []struct{ file, bad, text, good string }{
		{"net/core/bpf_jit_enable", "0", "programs are interpreted", "1"},
		{"net/core/bpf_jit_harden", "2", "constants are blinded in root's programs too", "1"},
		{"kernel/bpf_stats_enabled", "1", "every run of a program is timed", "0"},
		{"kernel/unprivileged_bpf_disabled", "0", "every user may load programs, which kernels have had holes by", "2"},
	} {
		if m.read("proc/sys/"+s.file) != s.bad {
			continue
		}
		if f.Level == OK {
			f = note("bpf", "%s", s.text)
		} else {
			f.worse(Note, "%s", s.text)
		}
		f = f.mend(fmt.Sprintf("sysctl -w %s=%s", strings.ReplaceAll(s.file, "/", "."), s.good))
	}
	return f
}

// stealLimit is the share of stolen time from which the tail is the hypervisor's: a thousandth, which p99.9 shows.
const stealLimit = 0.001

// checkVirtual tells a virtual machine by the CPU's flag for it, and reads how much of its time others were given
// (Documentation/filesystems/proc.rst, /proc/stat).
func (m *machine) checkVirtual() Finding {
	guest := false
	for line := range strings.Lines(m.read("proc/cpuinfo")) {
		if name, flags, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "flags" {
			guest = strings.Contains(flags+" ", " hypervisor ")
			break
		}
	}
	var label string
	var t [8]float64 // user, nice, system, idle, iowait, irq, softirq, steal, all since boot
	if _, err := fmt.Sscan(m.read("proc/stat"), &label, &t[0], &t[1], &t[2], &t[3], &t[4], &t[5], &t[6], &t[7]); err != nil {
		t = [8]float64{} // unknown, and taken for none
	}
	sum := 0.0
	for _, x := range t {
		sum += x
	}
	share := 0.0
	if sum > 0 {
		share = t[7] / sum
	}
	switch {
	case share >= stealLimit:
		return note("virtual", "a virtual machine whose host gave %.2g %% of its time since boot to others (steal), which is in every tail; measure on "+
			"a dedicated or bare-metal host", share*100)
	case guest:
		return ok("virtual", "a virtual machine; no noticeable steal time since boot")
	}
	return ok("virtual", "no sign of a hypervisor, and no steal time")
}

// checkClock finds clocks that take a system call or a slow device to read; each turn of an engine reads it once.
func (m *machine) checkClock() Finding {
	const dir = "sys/devices/system/clocksource/clocksource0/"
	clock := m.read(dir + "current_clocksource")
	switch clock {
	case "":
		return note("clock", "cannot read the clock source from /%scurrent_clocksource", dir)
	case "hpet", "acpi_pm", "jiffies", "refined-jiffies":
		f := note("clock", "%s, which takes a system call and a slow device to read", clock)
		if available := m.read(dir + "available_clocksource"); strings.Contains(" "+available+" ", " tsc ") {
			return f.mend("echo tsc > /" + dir + "current_clocksource")
		}
		f.worse(Note, "the kernel has found tsc unstable, see 'dmesg'; in a virtual machine, choose another clock in its settings")
		return f
	}
	if slices.Contains([]string{"tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter"}, clock) { // those with a vDSO mode of their own
		return ok("clock", "%s, read without a system call", clock)
	}
	return ok("clock", "%s", clock)
}

// checkMitigations names those workarounds for CPU bugs that make each system call markedly dearer: switched page tables (PTI), and IBRS written
// at each entry, which "Enhanced" IBRS spares (arch/x86/kernel/cpu/bugs.c).
func (m *machine) checkMitigations() Finding {
	var dear []string
	for _, bug := range []string{"meltdown", "retbleed", "spectre_v2"} {
		state := m.read(path.Join(cpuDir, "vulnerabilities", bug))
		for word := range strings.FieldsFuncSeq(state, func(r rune) bool { return r == ' ' || r == ';' || r == ',' }) {
			if word == "PTI" || word == "IBRS" && !strings.Contains(state, "Enhanced") {
				dear = append(dear, fmt.Sprintf("%s (%s)", bug, word))
				break
			}
		}
	}
	if len(dear) == 0 {
		return ok("mitigations", "none that makes system calls markedly dearer")
	}
	return note("mitigations", "those for %s make each system call dearer; compare only machines with the same ones, and boot with mitigations=off only "+
		"where nothing untrusted runs", strings.Join(dear, ", "))
}
