package machine

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

const cpuDir = "sys/devices/system/cpu"

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
func (f files) cpuModel() string {
	cpuinfo := f.read("proc/cpuinfo")
	if name := cpuField(cpuinfo, "model name"); name != "" {
		return name
	}
	if part := cpuField(cpuinfo, "CPU part"); part != "" {
		return "implementer " + cpuField(cpuinfo, "CPU implementer") + " part " + part
	}
	return Unknown
}

// cores counts the logical CPUs that are online; 0 where nothing tells.
func (f files) cores() (n int) {
	for part := range strings.SplitSeq(f.read(cpuDir+"/online"), ",") {
		first, last, ranged := strings.Cut(part, "-")
		lo, err := strconv.Atoi(first)
		hi := lo
		if err == nil && ranged {
			hi, err = strconv.Atoi(last)
		}
		if err == nil && hi >= lo {
			n += hi - lo + 1
		}
	}
	if n > 0 {
		return n
	}
	for line := range strings.Lines(f.read("proc/cpuinfo")) {
		if key, _, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "processor" {
			n++
		}
	}
	return n
}

// smt says whether cores carry several threads now (Documentation/ABI/testing/sysfs-devices-system-cpu).
func (f files) smt() string {
	switch f.read(cpuDir + "/smt/active") {
	case "1":
		return "on"
	case "0":
		if control := f.read(cpuDir + "/smt/control"); control == "off" || control == "forceoff" {
			return "off"
		}
		return "none"
	}
	lists := f.each(cpuDir + "/cpu[0-9]*/topology/thread_siblings_list")
	if len(lists) == 0 {
		return Unknown
	}
	for _, l := range lists {
		if strings.ContainsAny(l, ",-") {
			return "on"
		}
	}
	return "none"
}

// governor lists who chooses the CPUs' frequency, each once.
func (f files) governor() string {
	all := f.each(cpuDir + "/cpu[0-9]*/cpufreq/scaling_governor")
	if len(all) == 0 {
		return f.none()
	}
	return strings.Join(all, ", ")
}

// cStates names the sleep state that takes the longest to leave, of those that are enabled (Documentation/admin-guide/pm/cpuidle.rst).
func (f files) cStates() string {
	deepest, name := 0, ""
	states, _ := fs.Glob(f.FS, cpuDir+"/cpu[0-9]*/cpuidle/state*")
	for _, s := range states {
		latency, err := strconv.Atoi(f.read(s + "/latency"))
		if err == nil && latency > deepest && f.read(s+"/disable") == "0" {
			deepest, name = latency, f.read(s+"/name")
		}
	}
	if name == "" {
		return f.none()
	}
	return fmt.Sprintf("%s, %d µs to leave", name, deepest)
}

// none tells "there is none" from "nobody says".
func (f files) none() string {
	if _, err := fs.Stat(f.FS, cpuDir); err != nil {
		return Unknown
	}
	return "none"
}

// isolated lists the CPUs that the scheduler keeps free.
func (f files) isolated() string {
	if list := f.read(cpuDir + "/isolated"); list != "" {
		return list
	}
	return f.none()
}

// numaNodes counts them; 0 where nothing tells.
func (f files) numaNodes() int {
	nodes, _ := fs.Glob(f.FS, "sys/devices/system/node/node[0-9]*")
	if len(nodes) == 0 && f.none() != Unknown {
		return 1 // CONFIG_NUMA=n
	}
	return len(nodes)
}

// mitigations sums up what the kernel does about the CPU's bugs, and what it leaves (drivers/base/cpu.c, arch/x86/kernel/cpu/bugs.c).
func (f files) mitigations() string {
	const dir = cpuDir + "/vulnerabilities"
	bugs, err := fs.ReadDir(f.FS, dir)
	if err != nil || len(bugs) == 0 {
		return Unknown
	}
	var done, open []string
	for _, bug := range bugs {
		state := f.read(path.Join(dir, bug.Name()))
		how, mitigated := strings.CutPrefix(strings.TrimPrefix(state, "KVM: "), "Mitigation: ")
		switch {
		case mitigated:
			how, _, _ = strings.Cut(how, ";")
			done = append(done, fmt.Sprintf("%s (%s)", bug.Name(), how))
		case strings.Contains(state, "Vulnerable"):
			open = append(open, bug.Name())
		}
	}
	var parts []string
	if slices.Contains(strings.Fields(f.read("proc/cmdline")), "mitigations=off") {
		parts = append(parts, "switched off at boot")
	}
	if len(done) > 0 {
		parts = append(parts, strings.Join(done, ", "))
	}
	if len(open) > 0 {
		parts = append(parts, "vulnerable to "+strings.Join(open, ", "))
	}
	if len(parts) == 0 {
		return "none needed"
	}
	return strings.Join(parts, "; ")
}
