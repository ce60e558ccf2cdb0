package doctor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ParseCPUs reads a list as the kernel writes it, as in "0-3,8"; it comes back sorted, each CPU once.
func ParseCPUs(list string) ([]int, error) {
	var cpus []int
	for part := range strings.SplitSeq(strings.TrimSpace(list), ",") {
		first, last, ranged := strings.Cut(part, "-")
		lo, err := strconv.ParseUint(first, 10, 16)
		hi := lo
		if err == nil && ranged {
			hi, err = strconv.ParseUint(last, 10, 16)
		}
		if err != nil || hi < lo {
			return nil, fmt.Errorf("%q is no list of CPUs, as in 0-3,8", list)
		}
		for cpu := lo; cpu <= hi; cpu++ {
			cpus = append(cpus, int(cpu))
		}
	}
	slices.Sort(cpus)
	return slices.Compact(cpus), nil
}

// formatCPUs writes a sorted list as ParseCPUs reads it.
func formatCPUs(cpus []int) string {
	var b strings.Builder
	for i := 0; i < len(cpus); {
		j := i
		for j+1 < len(cpus) && cpus[j+1] == cpus[j]+1 {
			j++
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(cpus[i]))
		if j > i {
			fmt.Fprintf(&b, "-%d", cpus[j])
		}
		i = j + 1
	}
	return b.String()
}

// listed names members of a sorted list, as in "CPU 3" and "queues 0-3,8".
func listed(noun string, numbers []int) string {
	if len(numbers) != 1 {
		noun += "s"
	}
	return noun + " " + formatCPUs(numbers)
}

// cpuFile reads a file that holds a list of CPUs; nil where it is not there or empty.
func (m *machine) cpuFile(name string) []int {
	cpus, err := ParseCPUs(m.read(name))
	if err != nil {
		return nil
	}
	return cpus
}

// allowedCPUs finds in /proc/PID/status the CPUs that the process may run on.
func allowedCPUs(status string) []int {
	list, _ := statusField(status, "Cpus_allowed_list")
	cpus, err := ParseCPUs(list)
	if err != nil {
		return nil
	}
	return cpus
}

// statusField finds a line of /proc/PID/status.
func statusField(status, name string) (string, bool) {
	for line := range strings.Lines(status) {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(v), true
		}
	}
	return "", false
}

// without gives those CPUs of a that are not in b.
func without(a, b []int) []int {
	return slices.DeleteFunc(slices.Clone(a), func(cpu int) bool { return slices.Contains(b, cpu) })
}
