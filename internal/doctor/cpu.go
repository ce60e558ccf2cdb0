package doctor

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

const cpuDir = "sys/devices/system/cpu/"

// checkGovernor looks at how the CPUs that poll choose their frequency.
func (m *machine) checkGovernor() Finding {
	counts, all := map[string]int{}, 0
	for _, cpu := range m.cpus {
		if g := m.read(fmt.Sprintf("%scpu%d/cpufreq/scaling_governor", cpuDir, cpu)); g != "" {
			counts[g]++
			all++
		}
	}
	n := counts["performance"]
	switch {
	case all == 0:
		return ok("governor", "no frequency scaling, as in most virtual machines")
	case n == all:
		return ok("governor", "performance, on %s", listed("CPU", m.cpus))
	}
	return note("governor", "performance on %d of %d CPUs; the others slow down while they wait, which shows in the tail", n, all).
		mend("cpupower frequency-set -g performance")
}

// sleepLimit is the exit latency, in µs, from which a sleep state shows in a round trip of single-digit microseconds.
const sleepLimit = 10

// checkSleep looks for sleep states (C-states) that take long to leave (Documentation/admin-guide/pm/cpuidle.rst).
func (m *machine) checkSleep() Finding {
	deepest, name, seen := -1, "", false
	for _, cpu := range m.cpus {
		states, _ := fs.Glob(m.root, fmt.Sprintf("%scpu%d/cpuidle/state*", cpuDir, cpu))
		for _, s := range states {
			latency, known := m.number(s + "/latency")
			seen = seen || known
			if known && latency > deepest && m.read(s+"/disable") == "0" {
				deepest, name = latency, m.read(s+"/name")
			}
		}
	}
	switch {
	case !seen:
		return ok("c-states", "no sleep states, as in most virtual machines")
	case deepest < sleepLimit:
		return ok("c-states", "none that takes %d µs or more to leave", sleepLimit)
	}
	return note("c-states", "%s takes %d µs to leave, which the first packet after a pause waits for", name, deepest).
		mend(fmt.Sprintf("cpupower idle-set -D %d", sleepLimit))
}

// checkThreads looks for CPUs that share a core with one that polls.
func (m *machine) checkThreads() Finding {
	shared := map[string]bool{}
	var others []int // siblings that are not to poll
	for _, cpu := range m.cpus {
		siblings := m.cpuFile(fmt.Sprintf("%scpu%d/topology/thread_siblings_list", cpuDir, cpu))
		if len(siblings) < 2 {
			continue
		}
		shared[formatCPUs(siblings)] = true
		others = append(others, without(siblings, m.cpus)...)
	}
	if len(shared) == 0 {
		return ok("threads", "no hyper-threads beside %s", listed("CPU", m.cpus))
	}
	if m.chosen && len(others) > 0 {
		slices.Sort(others)
		others = slices.Compact(others)
		f := note("threads", "%s, on the cores of those that poll, can take half of them (hyper-threads)", listed("CPU", others))
		for _, cpu := range others {
			f = f.mend(fmt.Sprintf("echo 0 > /%scpu%d/online", cpuDir, cpu))
		}
		return f
	}
	return note("threads", "%s of hyper-threads; two that poll on one core have half of it each", plural(len(shared), "pair")).
		mend("echo off > /" + cpuDir + "smt/control")
}

// checkIsolation looks at what keeps the kernel's own work off the CPUs that poll (Documentation/admin-guide/kernel-parameters.txt).
func (m *machine) checkIsolation() Finding {
	isolated, tickless := m.cpuFile(cpuDir+"isolated"), m.cpuFile(cpuDir+"nohz_full")
	canStop := m.read(cpuDir+"nohz_full") != "" // CONFIG_NO_HZ_FULL
	list := formatCPUs(m.cpus)
	switch {
	case !m.chosen && len(isolated) == 0:
		return ok("isolation", "no CPU is isolated; --cpus checks those that are to poll")
	case !m.chosen:
		return ok("isolation", "%s isolated; --cpus checks those that are to poll", listed("CPU", isolated))
	case len(without(m.cpus, isolated)) == 0 && !canStop:
		return ok("isolation", "%s isolated; the timer ticks, because this kernel is built without NO_HZ_FULL", listed("CPU", m.cpus))
	case len(without(m.cpus, isolated)) == 0 && len(without(m.cpus, tickless)) == 0:
		return ok("isolation", "%s isolated, and without a timer tick", listed("CPU", m.cpus))
	}
	var lacks []string
	if rest := without(m.cpus, isolated); len(rest) > 0 {
		lacks = append(lacks, "other work is scheduled on "+listed("CPU", rest))
	}
	parameters := fmt.Sprintf("isolcpus=%s rcu_nocbs=%[1]s", list)
	if rest := without(m.cpus, tickless); canStop && len(rest) > 0 {
		parameters += " nohz_full=" + list
		lacks = append(lacks, "the timer ticks on "+listed("CPU", rest))
	}
	return note("isolation", "%s; after these commands (on Debian and Ubuntu), reboot", strings.Join(lacks, ", and ")).mend(
		fmt.Sprintf(`echo 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX %s"' > /etc/default/grub.d/fastrpc.cfg`, parameters),
		"update-grub")
}
