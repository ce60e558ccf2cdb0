// Package meter counts what a process, with those that it has started, uses while it is measured, and what the network of its namespace counts
// meanwhile.
package meter

import (
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/bench/result"
)

// Config says what a Meter looks at beside the process itself.
type Config struct {
	Interface string // whose packets to count, in the calling thread's network namespace; "": none's
	CPUs      []int  // whose steal time, interrupts and drops to count; nil: those that the calling thread may run on
	// Own gives what the system that is measured counts itself, since any moment in the past, by who counts it; nil: nothing. What is new when
	// Stop asks began at 0.
	Own func() map[string]Own
}

// Own is what a system counts itself.
type Own struct {
	Retransmissions uint64
	Drops           map[string]uint64 // by cause
}

// Counts is what one side counted between Start and Stop.
type Counts struct {
	Use          result.Use     `json:"use"`           // without Calls, Instructions and Cycles
	StealPercent float64        `json:"steal_percent"` // of the time of Config.CPUs
	Namespace    string         `json:"namespace"`     // names the network namespace, among those of all machines
	Kernel       result.Network `json:"kernel"`        // by the kernel, for all processes of the namespace
	Own          Own            `json:"own"`
}

// A Meter belongs to one goroutine, whose thread must be in the network namespace that it was made in only during New.
type Meter struct {
	config     Config
	kernel     kernel
	cpus       cpuTimes
	before     snapshot
	beforeMem  runtime.MemStats
	afterMem   runtime.MemStats
	began      time.Time
	beforeUsed unix.Rusage
	afterUsed  unix.Rusage
}

// snapshot is what is not the process's use.
type snapshot struct {
	cpus   cpuTime
	kernel kernelCounts
	xsk    xskCounts
	own    map[string]Own
	others map[int]childUse
}

// New opens what is read. What this machine does not have, or this process may not see, is not counted.
func New(c Config) *Meter { return newMeter(c, "/proc") }

func newMeter(c Config, proc string) *Meter {
	if c.CPUs == nil {
		c.CPUs = allowedCPUs()
	}
	m := &Meter{config: c}
	m.cpus.open(proc, c.CPUs)
	m.kernel.open(proc, c.Interface, c.CPUs)
	return m
}

// Close closes what New opened.
func (m *Meter) Close() {
	m.cpus.close()
	m.kernel.close()
}

// Start begins to count. What it allocates and computes itself is not counted, and what is exact begins last: the process's own use.
func (m *Meter) Start() {
	m.before = m.look()
	runtime.ReadMemStats(&m.beforeMem)
	m.began = time.Now()
	_ = unix.Getrusage(unix.RUSAGE_SELF, &m.beforeUsed) // fails for bad arguments only
}

// Stop gives what was counted since Start.
func (m *Meter) Stop() Counts {
	_ = unix.Getrusage(unix.RUSAGE_SELF, &m.afterUsed)
	seconds := time.Since(m.began).Seconds()
	runtime.ReadMemStats(&m.afterMem)
	after := m.look()
	c := Counts{
		Use:          used(&m.beforeUsed, &m.afterUsed),
		StealPercent: after.cpus.stealSince(m.before.cpus),
		Namespace:    m.kernel.namespace,
		Kernel:       after.kernel.since(&m.before.kernel, m.config.Interface != ""),
	}
	c.Use.Seconds = seconds
	c.Use.InterruptNs = after.cpus.interruptsSince(m.before.cpus)
	addChildren(&c.Use, m.before.others, after.others)
	collected(&c.Use, &m.beforeMem, &m.afterMem)
	for who, own := range after.own {
		c.Own.add(own.since(m.before.own[who]))
	}
	for cause, n := range after.xsk.since(m.before.xsk) {
		c.Own.drop(cause, n)
	}
	return c
}

func (m *Meter) look() (s snapshot) {
	if m.config.Own != nil {
		s.own = m.config.Own()
	}
	s.xsk = countXSK()
	s.others = lookAtChildren()
	s.kernel = m.kernel.read()
	s.cpus = m.cpus.read()
	return s
}

// since is what was counted from before on. A counter that went back is that of something new, which counts from 0.
func (o Own) since(before Own) (d Own) {
	d.Retransmissions = grown(before.Retransmissions, o.Retransmissions)
	for cause, n := range o.Drops {
		d.drop(cause, grown(before.Drops[cause], n))
	}
	return d
}

func (o *Own) add(d Own) {
	o.Retransmissions += d.Retransmissions
	for cause, n := range d.Drops {
		o.drop(cause, n)
	}
}

func (o *Own) drop(cause string, n uint64) {
	if n == 0 {
		return
	}
	if o.Drops == nil {
		o.Drops = map[string]uint64{}
	}
	o.Drops[cause] += n
}

func grown(before, after uint64) uint64 {
	if after < before {
		return after
	}
	return after - before
}

// used: the kernel knows the sum of user and system time to the microsecond, of all threads, also of those that have ended. Unless it is built
// with VIRT_CPU_ACCOUNTING, it divides it as the timer's ticks found the process (kernel/sched/cputime.c, cputime_adjust).
func used(before, after *unix.Rusage) result.Use {
	return result.Use{
		UserNs:      after.Utime.Nano() - before.Utime.Nano(),
		SystemNs:    after.Stime.Nano() - before.Stime.Nano(),
		Voluntary:   after.Nvcsw - before.Nvcsw,
		Involuntary: after.Nivcsw - before.Nivcsw,
	}
}

// collected fills in what the Go runtime did.
func collected(u *result.Use, before, after *runtime.MemStats) {
	u.Allocs = after.Mallocs - before.Mallocs
	u.AllocBytes = after.TotalAlloc - before.TotalAlloc
	u.GCs = after.NumGC - before.NumGC
	u.GCPauseUs = float64(after.PauseTotalNs-before.PauseTotalNs) / 1e3
	for i := range min(u.GCs, uint32(len(after.PauseNs))) {
		pause := after.PauseNs[(after.NumGC-1-i)%uint32(len(after.PauseNs))]
		u.GCMaxPauseUs = max(u.GCMaxPauseUs, float64(pause)/1e3)
	}
}

// file is one of the kernel's that is read again and again into the same memory. The zero value, and what could not be opened, is empty.
//
// It is none of package os: those of proc(5) can be polled, so that they would be registered with the runtime's poller, whose checks are
// then on the way of every system that yields: 0.3 µs a round trip, seen.
type file struct {
	fd  int // 0: none
	buf []byte
}

func (f *file) open(path ...string) {
	if fd, err := unix.Open(filepath.Join(path...), unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
		f.fd, f.buf = fd, make([]byte, 1<<14)
	}
}

// read gives what is in it now, until the next read.
func (f *file) read() []byte {
	if f.fd == 0 {
		return nil
	}
	n := 0
	for {
		if n == len(f.buf) {
			f.buf = append(f.buf, make([]byte, len(f.buf))...)
		}
		got, err := unix.Pread(f.fd, f.buf[n:], int64(n))
		if err == unix.EINTR {
			continue
		}
		if err != nil || got == 0 {
			return f.buf[:n]
		}
		n += got
	}
}

func (f *file) close() {
	if f.fd > 0 {
		_ = unix.Close(f.fd)
		f.fd = 0
	}
}
