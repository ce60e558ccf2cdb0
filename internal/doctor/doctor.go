// Package doctor finds out whether an interface of this machine is fit for xdp://, or its RDMA devices for rdma://, and what would make it
// faster. It changes nothing, except that it attaches the steering program for a moment to see what the kernel grants, if the caller does not
// forbid it.
package doctor

import (
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"

	"github.com/vishvananda/netlink"
)

// Options are the settings of Examine.
type Options struct {
	// NoProbe forbids to attach the steering program. A network card may reset its link for some seconds when a program comes or goes.
	NoProbe bool
	// CPUs are those that are to poll. Without any, they are those that this process may run on, and what is said of them is advice.
	CPUs []int
}

// machine is where the checks look: the kernel's files, and the device with its answers.
type machine struct {
	root   fs.FS // holds proc/ and sys/
	device device
	cpus   []int // that are to poll
	chosen bool  // by the caller
}

// Examine checks the interface of that name in the calling thread's network namespace. What cannot be found out is a finding too.
func Examine(name string, o Options) Report {
	runtime.LockOSThread() // one network namespace throughout
	defer runtime.UnlockOSThread()

	r := Report{Version: Version, Scheme: "xdp", Interface: name}
	m := machine{root: os.DirFS("/"), device: device{name: name}, cpus: o.CPUs, chosen: len(o.CPUs) > 0}
	status := m.read("proc/self/status")
	if !m.chosen {
		m.cpus = allowedCPUs(status)
	}
	r.add(Kernel, checkKernel(release()), checkCapabilities(status, m.read("proc/self/uid_map"), name, m.setUp()))
	link, err := netlink.LinkByName(name)
	if err != nil {
		r.add(Interface, wrong("interface", "%s: %v; the interfaces are %s", name, err, strings.Join(interfaces(), ", ")).mend("ip link show"))
		return r
	}
	is := checkInterface(link)
	r.add(Interface, is)
	if is.Level == Wrong && is.Fix == nil { // nothing makes it fit
		r.add(XDP, notProbed(false, false))
		return r
	}
	m.device = ask(link)
	r.add(Kernel, checkMemlock(status, memlockLimit(), m.device.queues, m.device.mtu, m.setUp()), m.checkBPF(), m.checkVirtual(), m.checkClock(), m.checkMitigations())
	r.add(Interface, m.checkDriver(), m.checkPCI(), m.checkMTU(os.Getpagesize(), release()), m.checkVLANs(), m.checkOffloads(), m.checkChecksums(),
		m.checkQueues(), m.checkRSS(), m.checkHash(), m.checkSteering(), m.checkRings(), m.checkCoalescing(), m.checkRDMAHere())
	m.examineXDP(&r, o.NoProbe)
	r.add(Interrupts, m.checkIRQBalance(), m.checkAffinity(), m.checkBusyPoll())
	r.add(CPU, m.checkGovernor(), m.checkSleep(), m.checkThreads(), m.checkIsolation())
	r.add(Memory, m.checkNUMA(), m.checkHugePages())
	return r
}

// Machine checks what does not depend on an interface: settings of the kernel, and the CPUs. It changes nothing.
func Machine(cpus []int) []Finding {
	m := machine{root: os.DirFS("/"), cpus: cpus, chosen: len(cpus) > 0}
	if !m.chosen {
		m.cpus = allowedCPUs(m.read("proc/self/status"))
	}
	var r Report
	r.add(Kernel, m.checkBPF(), m.checkVirtual(), m.checkClock(), m.checkMitigations())
	r.add(CPU, m.checkGovernor(), m.checkSleep(), m.checkThreads(), m.checkIsolation())
	return r.Findings
}

func (m *machine) examineXDP(r *Report, noProbe bool) {
	attached, inUse := m.checkAttached()
	r.add(XDP, m.checkFeatures(), attached, m.checkFirewall())
	switch {
	case inUse:
		r.add(XDP, m.checkSockets(), notProbed(r.Fit, inUse))
	case !r.Fit || noProbe:
		r.add(XDP, notProbed(r.Fit, inUse))
	default:
		findings, granted := m.probe(os.Getpagesize())
		r.Granted = granted
		r.add(XDP, findings...)
	}
}

// read gives a file's content without the space around it; "" stands for a file that is not there or may not be read.
func (m *machine) read(name string) string {
	b, err := fs.ReadFile(m.root, name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// number reads a file that holds one decimal number.
func (m *machine) number(name string) (n int, ok bool) {
	_, err := fmt.Sscan(m.read(name), &n)
	return n, err == nil
}

func interfaces() []string {
	links, err := netlink.LinkList()
	if err != nil {
		return nil
	}
	var names []string
	for _, l := range links {
		names = append(names, l.Attrs().Name)
	}
	return names
}
