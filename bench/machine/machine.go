// Package machine finds out what is needed to judge a benchmark's figures: the machine, its kernel, its network interface, and what would have
// made them better. It changes nothing.
package machine

import (
	"cmp"
	"fmt"
	"io/fs"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fastrpc/fastrpc/bench/result"
	"github.com/fastrpc/fastrpc/internal/doctor"
)

// Unknown stands for what could not be found out.
const Unknown = "unknown"

// Describe tells of the machine that it runs on: hardware, kernel, and this program. What belongs to a run is left to the caller: Pinning,
// Network, NIC, StealPercent, Advice, and the Go settings if other processes than this one were measured.
func Describe() result.Machine {
	m := files{os.DirFS("/")}.describe()
	m.Date = time.Now().UTC().Format(time.RFC3339)
	m.Revision = Revision()
	m.Go = runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH
	m.GoGC, m.MaxProcs = GoSettings()
	m.RDMA = ports(doctor.RDMADevices())
	m.Cores = cmp.Or(m.Cores, runtime.NumCPU())
	return m
}

// GoSettings tells of the calling process how eager its garbage collector is, whatever set that, and its GOMAXPROCS.
func GoSettings() (gogc string, maxProcs int) {
	s := []metrics.Sample{{Name: "/gc/gogc:percent"}, {Name: "/gc/gomemlimit:bytes"}}
	metrics.Read(s)
	percent, limit := "off", "off"
	if p := s[0].Value.Uint64(); p <= math.MaxInt32 {
		percent = strconv.FormatUint(p, 10)
	}
	if l := s[1].Value.Uint64(); l < math.MaxInt64 {
		limit = fmt.Sprintf("%d MiB", l>>20)
	}
	return "GOGC=" + percent + " GOMEMLIMIT=" + limit, runtime.GOMAXPROCS(0)
}

// built names the source that the program was built from, where the linker was told: see the Makefile.
var built string

// Revision is that of the source that the program was built from, with "+modified" behind it where files had been changed.
func Revision() string {
	if built != "" {
		return built
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return Unknown
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
		return Unknown
	}
	return rev + suffix
}

// files are the kernel's: proc/ and sys/.
type files struct{ fs.FS }

func (f files) describe() result.Machine {
	return result.Machine{
		Kernel:      cmp.Or(f.read("proc/sys/kernel/osrelease"), Unknown),
		CPU:         f.cpuModel(),
		Cores:       f.cores(),
		SMT:         f.smt(),
		Governor:    f.governor(),
		CStates:     f.cStates(),
		Isolated:    f.isolated(),
		NUMANodes:   f.numaNodes(),
		Mitigations: f.mitigations(),
		Hypervisor:  f.hypervisor(),
		NIC:         result.NIC{Driver: Unknown, NUMANode: -1, XDPMode: Unknown, ZeroCopy: Unknown, BusyPoll: Unknown},
	}
}

// read gives a file's content without the space around it; "" stands for a file that is not there or may not be read.
func (f files) read(name string) string {
	b, err := fs.ReadFile(f.FS, name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// each gives the contents of the files of a pattern, those that differ, in order.
func (f files) each(pattern string) (contents []string) {
	names, _ := fs.Glob(f.FS, pattern)
	for _, name := range names {
		if c := f.read(name); c != "" && !slices.Contains(contents, c) {
			contents = append(contents, c)
		}
	}
	return contents
}
