package bench

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/lab"
)

// A place is where client and server run: a lab's two hosts, or loopback.
type place struct {
	network        string
	bypass         bool // AF_XDP works here
	client, server side
	pinning        string
	close          func() error
}

// A side is one process's part of a place.
type side struct {
	endpoint Endpoint // without Remote and Size
	cpu      int      // -1: not pinned
	start    func(*exec.Cmd, ...int) error
}

func (s *side) startProcess(role string, argv []string) (*process, error) {
	return startProcess(role, argv, func(cmd *exec.Cmd) error {
		if s.cpu < 0 {
			return s.start(cmd)
		}
		return s.start(cmd, s.cpu)
	})
}

// twoCPUs gives the client's and the server's CPU, -1 where there is nothing to choose from.
func twoCPUs() (client, server int, text string) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil || set.Count() < 2 {
		return -1, -1, "not pinned: a single CPU"
	}
	var found []int
	for cpu := 0; len(found) < 2; cpu++ {
		if set.IsSet(cpu) {
			found = append(found, cpu)
		}
	}
	return found[0], found[1], fmt.Sprintf("client on CPU %d, server on CPU %d", found[0], found[1])
}

// labPrefix starts the names of the labs made here; the process's id follows, so that comparisons do not meet.
const labPrefix = "fastrpc-bench-"

// removeOrphans takes down labs whose maker was killed before it could.
func removeOrphans() error {
	infos, err := lab.Status()
	if err != nil {
		return err
	}
	var errs []error
	for _, i := range infos {
		number, ours := strings.CutPrefix(i.Name, labPrefix)
		pid, err := strconv.Atoi(number)
		if ours && err == nil && len(i.Pids) == 0 && errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			errs = append(errs, lab.Down(i.Name))
		}
	}
	return errors.Join(errs...)
}

// inLab uses the lab of that name; it makes one for the time being when name is empty.
func inLab(name string, mtu int) (*place, error) {
	var l *lab.Lab
	var err error
	closer := func() error { return nil }
	if name != "" {
		l, err = lab.Open(name)
		if errors.Is(err, lab.ErrNotExist) {
			return nil, fmt.Errorf("bench: lab %q: %w; make it with 'fastrpc lab up --lab %s', or leave --lab out", name, err, name)
		}
	} else if err = removeOrphans(); err == nil {
		l, err = lab.Up(lab.Config{Name: labPrefix + strconv.Itoa(os.Getpid()), MTU: mtu})
	}
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	if name == "" {
		closer = l.Down
	}
	p := &place{network: "veth pair between two network namespaces", bypass: true, close: closer}
	var clientCPU, serverCPU int
	clientCPU, serverCPU, p.pinning = twoCPUs()
	at := func(h lab.Host, cpu int) side {
		return side{
			endpoint: Endpoint{Interface: h.Interface, Local: netip.AddrPortFrom(h.IPv4, 0)},
			cpu:      cpu,
			start:    h.Start,
		}
	}
	p.client, p.server = at(l.Client(), clientCPU), at(l.Server(), serverCPU)
	return p, nil
}

func onLoopback() *place {
	p := &place{network: "loopback", close: func() error { return nil }}
	var clientCPU, serverCPU int
	clientCPU, serverCPU, p.pinning = twoCPUs()
	at := func(cpu int) side {
		return side{
			endpoint: Endpoint{Interface: "lo", Local: netip.MustParseAddrPort("127.0.0.1:0")},
			cpu:      cpu,
			start:    startPinned,
		}
	}
	p.client, p.server = at(clientCPU), at(serverCPU)
	return p
}

// startPinned starts cmd with the given CPUs to run on. A child inherits the affinity of the thread that forks it; that thread is not used
// for anything else again.
func startPinned(cmd *exec.Cmd, cpus ...int) error {
	if len(cpus) == 0 {
		return cmd.Start()
	}
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		var set unix.CPUSet
		for _, cpu := range cpus {
			set.Set(cpu)
		}
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			result <- fmt.Errorf("pin to CPU %v: %w", cpus, err)
			return
		}
		result <- cmd.Start()
	}()
	return <-result
}

// needed are the capabilities that a lab and AF_XDP take, and for what.
var needed = []struct {
	bit     int
	name    string
	byAdmin bool // CAP_SYS_ADMIN stands in for it
}{
	{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN", false},       // network namespaces
	{unix.CAP_DAC_OVERRIDE, "CAP_DAC_OVERRIDE", false}, // their names, in root's /run/netns
	{unix.CAP_NET_RAW, "CAP_NET_RAW", false},           // AF_XDP sockets
	{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN", false},       // veth, addresses, attaching XDP
	{unix.CAP_BPF, "CAP_BPF", true},                    // loading the program
	{unix.CAP_PERFMON, "CAP_PERFMON", true},            // its arithmetic on packet pointers
}

// missingCapabilities explains why this process cannot make a lab and use AF_XDP in it, and what to do about it; empty when it can.
func missingCapabilities() string {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return fmt.Sprintf("cannot read this process's capabilities: %v", err)
	}
	return explainMissing(uint64(data[0].Effective) | uint64(data[1].Effective)<<32)
}

func explainMissing(effective uint64) string {
	var names []string
	has := func(bit int) bool { return effective&(1<<bit) != 0 }
	for _, c := range needed {
		if !has(c.bit) && !(c.byAdmin && has(unix.CAP_SYS_ADMIN)) {
			names = append(names, c.name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	program, err := os.Executable()
	if err != nil {
		program = "PROGRAM"
	}
	return fmt.Sprintf("missing %s; run as root, or grant them once: sudo setcap %s=ep %q", strings.Join(names, ", "), grant, program)
}

// grant lists them all for setcap(8), with what lifts RLIMIT_MEMLOCK from packet memory, which may be high enough as it is.
const grant = "cap_sys_admin,cap_dac_override,cap_net_raw,cap_net_admin,cap_bpf,cap_perfmon,cap_ipc_lock"
