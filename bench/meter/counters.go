package meter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Counters count what the processor does for this process, and those that it has started: in all threads, also those that start meanwhile.
//
// They are for calls beside the measured loop, not in it. While they count, each switch from one thread to another saves and loads them, by
// writes to registers that a hypervisor may have to carry out: systems that park would pay for that, and those that poll would not.
type Counters struct {
	scope string
	fds   [][]int // by event, then by thread
}

// Counted is what was counted, an estimate where other programs had the processor's counters for part of the time.
type Counted struct {
	Instructions float64 `json:"instructions"`
	Cycles       float64 `json:"cycles"`
}

// event is a type and a config of perf_event_open(2).
type event struct {
	kind   uint32
	config uint64
}

// events are those of Counted, in order.
var events = []event{{unix.PERF_TYPE_HARDWARE, unix.PERF_COUNT_HW_INSTRUCTIONS}, {unix.PERF_TYPE_HARDWARE, unix.PERF_COUNT_HW_CPU_CYCLES}}

// The scopes of counters. kernel.perf_event_paranoid above 1 keeps the kernel's part from those without CAP_PERFMON.
const (
	userAndKernel = "user and kernel"
	userOnly      = "user"
)

// CountersScope says whether this process may count, and what: "user and kernel" or "user". Otherwise it says why not.
func CountersScope() (scope string, ok bool) {
	c, err := OpenCounters()
	if err != nil {
		return err.Error(), false
	}
	c.close()
	return c.scope, true
}

// OpenCounters begins to count.
func OpenCounters() (*Counters, error) {
	c := &Counters{scope: userAndKernel}
	err := c.open(unix.PerfBitDisabled | unix.PerfBitInherit)
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		c.scope = userOnly
		err = c.open(unix.PerfBitDisabled | unix.PerfBitInherit | unix.PerfBitExcludeKernel)
	}
	switch {
	case err == nil:
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENODEV):
		return nil, errors.New("the processor's counters are not there, as in most virtual machines")
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM), errors.Is(err, unix.ENOSYS):
		return nil, fmt.Errorf("the processor's counters may not be used (%w): run as root, or 'sysctl kernel.perf_event_paranoid=2'", err)
	default:
		return nil, fmt.Errorf("the processor's counters: %w", err)
	}
	for _, fds := range c.fds {
		for _, fd := range fds {
			if err := unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_ENABLE, 0); err != nil {
				c.close()
				return nil, fmt.Errorf("the processor's counters: %w", err)
			}
		}
	}
	return c, nil
}

// openTries bounds how often open begins anew.
const openTries = 20

// open opens all events for all threads. Each counts for the threads that its own starts from then on, too. So if a thread came up meanwhile
// nobody knows whether it is counted, not, or twice, and the whole begins anew.
func (c *Counters) open(bits uint64) error {
	for range openTries {
		before := threads()
		err := c.openFor(before, bits)
		if err == nil && !slices.ContainsFunc(threads(), func(tid int) bool { return !slices.Contains(before, tid) }) {
			return nil
		}
		c.close()
		if err != nil && !errors.Is(err, unix.ESRCH) { // one that has ended meanwhile
			return err
		}
	}
	return errors.New("the process's threads come and go too fast to count them")
}

func (c *Counters) openFor(tids []int, bits uint64) error {
	c.fds = make([][]int, len(events))
	for i, e := range events {
		attr := unix.PerfEventAttr{Type: e.kind, Config: e.config, Bits: bits, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{})),
			Read_format: unix.PERF_FORMAT_TOTAL_TIME_ENABLED | unix.PERF_FORMAT_TOTAL_TIME_RUNNING}
		for _, tid := range tids {
			fd, err := unix.PerfEventOpen(&attr, tid, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
			if err != nil {
				return err
			}
			c.fds[i] = append(c.fds[i], fd)
		}
	}
	return nil
}

// threads lists those of this process and of its children.
func threads() []int {
	tids := tasksOf("self")
	for _, pid := range children() {
		tids = append(tids, tasksOf(strconv.Itoa(pid))...)
	}
	return tids
}

// Stop ends the counting and frees the counters.
func (c *Counters) Stop() (Counted, error) {
	defer c.close()
	var sums [2]float64
	for i, fds := range c.fds {
		for _, fd := range fds {
			n, err := read(fd)
			if err != nil {
				return Counted{}, fmt.Errorf("the processor's counters: %w", err)
			}
			sums[i] += n
		}
	}
	return Counted{Instructions: sums[0], Cycles: sums[1]}, nil
}

// read reads one, which the kernel sums up over the threads that inherited it. A counter that had to share the processor's was on it for a part
// of the time that it was meant to be, and is scaled up.
func read(fd int) (float64, error) {
	var b [3 * 8]byte
	if n, err := unix.Read(fd, b[:]); err != nil || n != len(b) {
		return 0, errors.Join(err, fmt.Errorf("%d bytes", n))
	}
	value, enabled, running := binary.NativeEndian.Uint64(b[:]), binary.NativeEndian.Uint64(b[8:]), binary.NativeEndian.Uint64(b[16:])
	if running == 0 {
		return 0, nil
	}
	return float64(value) * float64(enabled) / float64(running), nil
}

func (c *Counters) close() {
	for _, fds := range c.fds {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	}
	c.fds = nil
}
