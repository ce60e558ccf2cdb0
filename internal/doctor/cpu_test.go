package doctor

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestParseCPUs(t *testing.T) {
	for list, want := range map[string][]int{"0": {0}, "0-3,8": {0, 1, 2, 3, 8}, "8,0-1\n": {0, 1, 8}, "1,1-2": {1, 2}} {
		if got, err := ParseCPUs(list); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v, want %v", list, got, err, want)
		}
	}
	for _, list := range []string{"", "x", "3-1", "0-", "-1", "0-99999", "1,,2"} {
		if got, err := ParseCPUs(list); err == nil {
			t.Errorf("%q is taken for %v", list, got)
		}
	}
	for _, list := range []string{"0", "0-3,8", "1,3,5-6"} {
		cpus, _ := ParseCPUs(list)
		if got := formatCPUs(cpus); got != list {
			t.Errorf("%q comes back as %q", list, got)
		}
	}
	if got := allowedCPUs(statusRoot); !slices.Equal(got, []int{0, 1, 2, 3, 8}) {
		t.Errorf("allowed are %v", got)
	}
}

// each gives a file to CPUs 0 to 3.
func each(format string, contents ...string) (files []string) {
	for cpu, c := range contents {
		files = append(files, fmt.Sprintf(format, cpu), c)
	}
	return files
}

func TestGovernor(t *testing.T) {
	const file = cpuDir + "cpu%d/cpufreq/scaling_governor"
	want(t, onMachine().checkGovernor(), OK, "no frequency scaling")
	want(t, onMachine(each(file, "performance", "performance", "performance", "performance")...).checkGovernor(), OK)
	mixed := onMachine(each(file, "performance", "schedutil", "performance", "powersave")...)
	want(t, mixed.checkGovernor(), Note, "2 of 4", "cpupower frequency-set -g performance")
	want(t, mixed.polling(0, 2).checkGovernor(), OK) // the others may sleep
}

func TestSleepStates(t *testing.T) {
	// Of an Intel server: POLL, C1, C1E, C6.
	states := func(c6 string) []string {
		const dir = cpuDir + "cpu0/cpuidle/"
		return []string{dir + "state0/name", "POLL", dir + "state0/latency", "0", dir + "state0/disable", "0",
			dir + "state1/name", "C1", dir + "state1/latency", "2", dir + "state1/disable", "0",
			dir + "state2/name", "C1E", dir + "state2/latency", "10", dir + "state2/disable", "1",
			dir + "state3/name", "C6", dir + "state3/latency", "133", dir + "state3/disable", c6}
	}
	want(t, onMachine(states("0")...).checkSleep(), Note, "C6 takes 133 µs", "cpupower idle-set -D 10")
	want(t, onMachine(states("1")...).checkSleep(), OK)
	shallower := append(states("0"), cpuDir+"cpu1/cpuidle/state0/name", "C2", cpuDir+"cpu1/cpuidle/state0/latency", "50", cpuDir+"cpu1/cpuidle/state0/disable", "0")
	want(t, onMachine(shallower...).checkSleep(), Note, "C6 takes 133 µs")
	want(t, onMachine(shallower...).polling(1).checkSleep(), Note, "C2 takes 50 µs")
	want(t, onMachine().checkSleep(), OK, "virtual machine")
}

func TestHyperThreads(t *testing.T) {
	siblings := each(cpuDir+"cpu%d/topology/thread_siblings_list", "0,16", "1,17", "2-3", "2-3")
	want(t, onMachine(siblings...).checkThreads(), Note, "3 pairs", "echo off > /sys/devices/system/cpu/smt/control")
	want(t, onMachine(siblings...).polling(0, 1).checkThreads(), Note, "16-17", "echo 0 > /sys/devices/system/cpu/cpu16/online", "cpu17/online")
	want(t, onMachine(siblings...).polling(2, 3).checkThreads(), Note, "1 pair", "half")
	want(t, onMachine(each(cpuDir+"cpu%d/topology/thread_siblings_list", "0", "1", "2", "3")...).checkThreads(), OK)
	want(t, onMachine().checkThreads(), OK)
}

func TestIsolation(t *testing.T) {
	const isolated, tickless = cpuDir + "isolated", cpuDir + "nohz_full"
	want(t, onMachine(isolated, "", tickless, "(null)").checkIsolation(), OK, "no CPU is isolated", "--cpus")
	want(t, onMachine(isolated, "2-3").checkIsolation(), OK, "2-3")
	want(t, onMachine(isolated, "2-3", tickless, "2-3").polling(2, 3).checkIsolation(), OK, "2-3")
	want(t, onMachine(isolated, "2-3", tickless, "(null)").polling(2, 3).checkIsolation(), Note, "timer", "nohz_full=2-3", "update-grub")
	want(t, onMachine(isolated, "2-3").polling(2, 3).checkIsolation(), OK, "without NO_HZ_FULL")
	if f := onMachine(isolated, "").polling(2, 3).checkIsolation(); strings.Contains(f.Fix[0], "nohz_full") {
		t.Errorf("%q asks for what the kernel does not have", f.Fix)
	}
	want(t, onMachine(isolated, "").polling(3).checkIsolation(), Note, "scheduled on CPU 3", "isolcpus=3 rcu_nocbs=3")
	want(t, onMachine(isolated, "3", tickless, "2-3").polling(2, 3).checkIsolation(), Note, "scheduled on CPU 2", "isolcpus=2-3")
}
