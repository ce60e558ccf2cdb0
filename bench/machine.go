package bench

import (
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/bench/result"
)

const unknown = "unknown"

func thisMachine() result.Machine {
	cpuinfo := readFile("/proc/cpuinfo")
	return result.Machine{
		Date:       time.Now().UTC().Format(time.RFC3339),
		Revision:   revision(),
		Go:         runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH,
		Kernel:     kernel(),
		CPU:        cpuModel(cpuinfo),
		Cores:      runtime.NumCPU(),
		Hypervisor: hypervisor(cpuinfo, readFile("/sys/class/dmi/id/sys_vendor"), readFile("/sys/class/dmi/id/product_name")),
		Governor:   governor("/sys/devices/system/cpu"),
		NIC:        result.NIC{XDPMode: unknown, ZeroCopy: unknown, BusyPoll: unknown},
	}
}

func readFile(name string) string {
	b, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func orUnknown(s string) string {
	if s == "" {
		return unknown
	}
	return s
}

func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return unknown
	}
	var rev, suffix string
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			rev = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			suffix = "+modified"
		}
	}
	if rev == "" {
		return unknown
	}
	return rev + suffix
}

func kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return unknown
	}
	return unix.ByteSliceToString(u.Release[:])
}

// cpuField gives the value of the first line "key : value" of /proc/cpuinfo.
func cpuField(cpuinfo, key string) string {
	for line := range strings.Lines(cpuinfo) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// cpuModel: arm64 kernels give no name, only the implementer's and the part's number.
func cpuModel(cpuinfo string) string {
	if name := cpuField(cpuinfo, "model name"); name != "" {
		return name
	}
	if part := cpuField(cpuinfo, "CPU part"); part != "" {
		return "implementer " + cpuField(cpuinfo, "CPU implementer") + " part " + part
	}
	return unknown
}

// hypervisor tells whether the CPU says that it is a guest's, and who the firmware says made the machine.
func hypervisor(cpuinfo, vendor, product string) string {
	flags := strings.Fields(cpuField(cpuinfo, "flags"))
	guest := false
	for _, f := range flags {
		guest = guest || f == "hypervisor"
	}
	switch {
	case !guest && len(flags) > 0:
		return "none"
	case guest && vendor+product == "":
		return "yes, of unknown kind"
	}
	return orUnknown(strings.TrimSpace(vendor + " " + product))
}

func governor(dir string) string {
	names, _ := filepath.Glob(filepath.Join(dir, "cpu[0-9]*/cpufreq/scaling_governor"))
	seen := map[string]bool{}
	var all []string
	for _, name := range names {
		if g := readFile(name); g != "" && !seen[g] {
			seen[g] = true
			all = append(all, g)
		}
	}
	return orUnknown(strings.Join(all, ", "))
}

// cpuTime is the first line of /proc/stat: time in clock ticks since boot, of all CPUs.
type cpuTime struct{ steal, total uint64 }

func parseCPUTime(stat string) (t cpuTime) {
	line, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return cpuTime{}
	}
	for i, f := range fields[1:9] { // user nice system idle iowait irq softirq steal; guest time, behind them, is in user already
		n, err := strconv.ParseUint(f, 10, 64)
		if err != nil {
			return cpuTime{}
		}
		t.total += n
		if i == 7 {
			t.steal = n
		}
	}
	return t
}

func (t cpuTime) stealSince(before cpuTime) float64 {
	if t.total <= before.total || t.steal < before.steal {
		return 0
	}
	return 100 * float64(t.steal-before.steal) / float64(t.total-before.total)
}
