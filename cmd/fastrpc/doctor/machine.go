package doctor

import (
	"fmt"
	"io/fs"
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

// checkKernel: package afxdp needs Linux 5.11, see there.
func checkKernel(release string) Finding {
	f := Finding{Check: "kernel", Level: OK, Text: "Linux " + release}
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		f.Level, f.Text = Note, fmt.Sprintf("cannot read the kernel's version %q; it must be Linux 5.11 or later", release)
		return f
	}
	if major < 5 || major == 5 && minor < 11 {
		f.Level = Wrong
		f.Text += "; AF_XDP as it is used here needs Linux 5.11 or later"
		f.Fix = "apt full-upgrade   # or your distribution's way to a newer kernel; Debian 12 has 6.1"
	}
	return f
}

// checkHugePages reads /sys/kernel/mm/transparent_hugepage/enabled, as in "always [madvise] never". Packet memory on transparent huge pages
// saves TLB misses.
func checkHugePages(enabled string) Finding {
	f := Finding{Check: "hugepages", Level: OK}
	switch {
	case enabled == "":
		f.Level, f.Text = Note, "the kernel tells of no transparent huge pages; packet memory stands on small ones"
	case strings.Contains(enabled, "[never]"):
		f.Level = Note
		f.Text = "transparent ones are off; packet memory stands on small pages, at the price of some TLB misses"
		f.Fix = "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"
	default:
		f.Text = "transparent ones: " + enabled
	}
	return f
}

// checkGovernor looks at how the CPUs choose their frequency.
func checkGovernor(root fs.FS) Finding {
	f := Finding{Check: "governor", Level: OK}
	names, _ := fs.Glob(root, "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor")
	counts := map[string]int{}
	for _, name := range names {
		counts[readFile(root, name)]++
	}
	switch n := counts["performance"]; {
	case len(names) == 0:
		f.Text = "no frequency scaling here, as is usual in a virtual machine"
	case n == len(names):
		f.Text = "performance, on all CPUs"
	default:
		f.Level = Note
		f.Text = fmt.Sprintf("performance on %d of %d CPUs; the others slow down while they wait, which shows in the tail", n, len(names))
		f.Fix = "cpupower frequency-set -g performance"
	}
	return f
}

// checkBusyPoll looks at what lets an application drive the device's receive loop instead of interrupts (Documentation/networking/napi.rst,
// "Busy polling" and "IRQ mitigation").
func checkBusyPoll(root fs.FS, name string) Finding {
	f := Finding{Check: "busy-poll", Level: OK}
	dir := "sys/class/net/" + name + "/"
	deferred, timeout := readFile(root, dir+"napi_defer_hard_irqs"), readFile(root, dir+"gro_flush_timeout")
	if deferred == "" || timeout == "" {
		f.Level = Note
		f.Text = "cannot read napi_defer_hard_irqs and gro_flush_timeout; is /sys the one of this network namespace?"
		return f
	}
	f.Text = fmt.Sprintf("napi_defer_hard_irqs %s, gro_flush_timeout %s ns, net.core.busy_poll %s µs, net.core.busy_read %s µs",
		deferred, timeout, orUnknown(readFile(root, "proc/sys/net/core/busy_poll")), orUnknown(readFile(root, "proc/sys/net/core/busy_read")))
	if deferred == "0" || timeout == "0" {
		f.Level = Note
		f.Text += "; with busy polling, both of the first should be set, so that interrupts stay off"
		f.Fix = fmt.Sprintf("echo 2 > /%snapi_defer_hard_irqs; echo 200000 > /%sgro_flush_timeout", dir, dir)
	}
	return f
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}
