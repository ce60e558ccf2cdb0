package meter

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// allowedCPUs lists the CPUs that the calling thread may run on.
func allowedCPUs() (cpus []int) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil
	}
	for cpu := range len(set) * 64 {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	return cpus
}

// cpuTimes reads /proc/stat for some CPUs.
type cpuTimes struct {
	stat file
	cpus []int
}

// cpuTime is time since boot, of the CPUs together, in ticks.
type cpuTime struct{ interrupts, steal, total uint64 }

const tickNs = 1e9 / 100 // of /proc/stat (USER_HZ, which is 100 on all that Go runs on)

func (c *cpuTimes) open(proc string, cpus []int) {
	c.stat.open(proc, "stat")
	c.cpus = cpus
}

func (c *cpuTimes) close() { c.stat.close() }

func (c *cpuTimes) read() (t cpuTime) {
	for line := range bytes.Lines(c.stat.read()) {
		fields := bytes.Fields(line)
		if len(fields) < 9 || !bytes.HasPrefix(fields[0], []byte("cpu")) {
			continue
		}
		cpu, err := strconv.Atoi(string(fields[0][len("cpu"):])) // the line without a number is their sum
		if err != nil || !slices.Contains(c.cpus, cpu) {
			continue
		}
		for i, f := range fields[1:9] { // user nice system idle iowait irq softirq steal; guest time, behind them, is in user already
			n, _ := strconv.ParseUint(string(f), 10, 64)
			t.total += n
			switch i {
			case 5, 6:
				t.interrupts += n
			case 7:
				t.steal += n
			}
		}
	}
	return t
}

func (t cpuTime) interruptsSince(before cpuTime) int64 {
	return int64(grown(before.interrupts, t.interrupts)) * tickNs
}

// stealSince is in percent.
func (t cpuTime) stealSince(before cpuTime) float64 {
	if t.total <= before.total || t.steal < before.steal {
		return 0
	}
	return 100 * float64(t.steal-before.steal) / float64(t.total-before.total)
}

// leastStolen is, in seconds, what is told from the rounding to ticks at both ends of each round.
const leastStolen = 0.03

// StealWarning says from which percentile on a run's figures are the hypervisor's, when it took that share of the CPUs' time for others, in
// measured loops of so many seconds; "" for what no figure shows. A share of s stops some s of all calls for as long as the others run, so
// that what lies beyond the percentile 1-s is more theirs than the system's.
func StealWarning(percent, seconds float64) string {
	if percent/100*seconds < leastStolen {
		return ""
	}
	for _, w := range []struct {
		from float64
		what string
	}{{5, "no figure here is the system's alone"}, {0.5, "p99 and beyond are the hypervisor's as much as the system's"},
		{0.05, "p99.9 and beyond are the hypervisor's as much as the system's"}} {
		if percent >= w.from {
			return fmt.Sprintf("the hypervisor took %.2g %% of the CPUs' time for others (steal): %s; repeat the run, or take a dedicated or bare-metal host", percent, w.what)
		}
	}
	return ""
}
