package meter

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/bench/result"
)

// A system in another language is a process that the measured one has started, and what it uses is that one's.

// children lists the processes that this one has started and that run (CONFIG_PROC_CHILDREN, which distributions have).
func children() (pids []int) {
	tasks, _ := os.ReadDir("/proc/self/task")
	for _, t := range tasks {
		list, _ := os.ReadFile("/proc/self/task/" + t.Name() + "/children")
		for _, field := range strings.Fields(string(list)) {
			if pid, err := strconv.Atoi(field); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// childUse is what a child used since its start.
type childUse struct {
	cpu                    time.Duration // exact
	user, system           uint64        // ticks, which divide it
	voluntary, involuntary int64
}

// lookAtChildren asks for all of them, by process.
func lookAtChildren() map[int]childUse {
	var all map[int]childUse
	for _, pid := range children() {
		// The clock of another process (include/linux/posix-timers.h, make_process_cpuclock with CPUCLOCK_SCHED, Linux 6.18).
		var t unix.Timespec
		if err := unix.ClockGettime(int32(^pid<<3|2), &t); err != nil {
			continue // it has ended
		}
		u := childUse{cpu: time.Duration(t.Nano())}
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		_, behindName, _ := strings.Cut(string(stat), ") ")
		if f := strings.Fields(behindName); len(f) > 12 { // from the third on (proc_pid_stat(5)): utime is the 14th, stime the 15th
			u.user, _ = strconv.ParseUint(f[11], 10, 64)
			u.system, _ = strconv.ParseUint(f[12], 10, 64)
		}
		for _, task := range tasksOf(strconv.Itoa(pid)) {
			status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/status", pid, task))
			for line := range strings.Lines(string(status)) {
				name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
				n, _ := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
				switch name {
				case "voluntary_ctxt_switches":
					u.voluntary += n
				case "nonvoluntary_ctxt_switches":
					u.involuntary += n
				}
			}
		}
		if all == nil {
			all = map[int]childUse{}
		}
		all[pid] = u
	}
	return all
}

// addChildren adds what children used between two looks.
func addChildren(u *result.Use, before, after map[int]childUse) {
	for _, pid := range slices.Sorted(maps.Keys(after)) {
		b, a := before[pid], after[pid] // one that is new has used all of it since
		cpu, user, system := int64(a.cpu-b.cpu), float64(a.user-b.user), float64(a.system-b.system)
		inUser := cpu
		if user+system > 0 {
			inUser = int64(float64(cpu) * user / (user + system))
		}
		u.UserNs += inUser
		u.SystemNs += cpu - inUser
		u.Voluntary += a.voluntary - b.voluntary
		u.Involuntary += a.involuntary - b.involuntary
	}
}

// tasksOf lists the threads of a process.
func tasksOf(pid string) (tids []int) {
	tasks, _ := os.ReadDir("/proc/" + pid + "/task")
	for _, t := range tasks {
		if tid, err := strconv.Atoi(t.Name()); err == nil {
			tids = append(tids, tid)
		}
	}
	return tids
}
