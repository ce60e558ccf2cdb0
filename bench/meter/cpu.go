package meter

import (
	"bytes"
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
