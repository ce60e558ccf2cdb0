package doctor

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
)

// ExamineRDMA checks whether rdma:// works over the RDMA device of that name, or over any when name is empty, in the calling thread's network
// namespace. It changes nothing, and needs neither the tag rdma nor libraries; with the tag it also opens the devices as rdma:// does.
func ExamineRDMA(name string, o Options) Report {
	runtime.LockOSThread() // one network namespace throughout
	defer runtime.UnlockOSThread()

	m := machine{root: os.DirFS("/"), cpus: o.CPUs, chosen: len(o.CPUs) > 0}
	if !m.chosen {
		m.cpus = allowedCPUs(m.read("proc/self/status"))
	}
	r := m.examineRDMA(name, askRDMA())
	r.add(Kernel, m.checkVirtual(), m.checkClock(), m.checkMitigations())
	r.add(CPU, m.checkGovernor(), m.checkSleep(), m.checkThreads(), m.checkIsolation())
	m.device.name = "" // huge pages of the machine
	r.add(Memory, m.checkHugePages())
	return r
}

// RDMADevices lists the RDMA devices that the calling thread's network namespace sees. It only reads.
func RDMADevices() []RDMADevice {
	m := machine{root: os.DirFS("/")}
	devices := m.rdmaDevices(askMTU)
	for i := range devices {
		devices[i].Driver = provider(askDriver(devices[i].Name))
	}
	return devices
}

func (m *machine) examineRDMA(name string, a rdmaAnswers) Report {
	r := Report{Version: Version, Scheme: "rdma", RDMA: m.rdmaDevices(a.mtu)}
	names := make([]string, len(r.RDMA))
	for i := range r.RDMA {
		names[i] = r.RDMA[i].Name
	}
	r.add(Kernel, checkBuilt(a.built), m.checkModules(len(r.RDMA)), m.checkManager(a.open), m.checkLibrary(a.built), m.checkNamespaces(a.netns))
	if name != "" {
		r.RDMA = slices.DeleteFunc(r.RDMA, func(d RDMADevice) bool { return d.Name != name })
	}
	if len(r.RDMA) == 0 {
		r.add(RDMA, noDevice(name, names))
		return r
	}
	one := false
	findings := make([][]Finding, len(r.RDMA))
	for i := range r.RDMA {
		findings[i] = m.examineDevice(&r.RDMA[i], a)
		one = one || !slices.ContainsFunc(findings[i], func(f Finding) bool { return f.Level == Wrong })
	}
	for i := range findings {
		for _, f := range findings[i] {
			if f.Device = r.RDMA[i].Name; f.Level == Wrong && name == "" && one {
				f.Level = Note // another device works
			}
			r.add(RDMA, f)
		}
	}
	r.add(Kernel, checkPinned(m.read("proc/self/status"), a.memlock, r.RDMA))
	return r
}

func noDevice(name string, names []string) Finding {
	switch {
	case name != "" && len(names) > 0:
		return wrong("device", "%s is no RDMA device; there are %s", name, strings.Join(names, ", ")).mend("rdma link")
	case name != "":
		return wrong("device", "%s is no RDMA device, and there is none at all", name).mend("rdma link")
	}
	return wrong("device", "none: this machine has no RDMA network card, its driver is not loaded ('lspci -k'; for mlx5: mlx5_ib), or the device belongs to "+
		"another network namespace ('rdma system'). For a test without a card, soft-RoCE over an Ethernet interface").
		mend("modprobe rdma_rxe", "rdma link add rxe0 type rxe netdev eth0")
}

// examineDevice checks one device and its ports.
func (m *machine) examineDevice(d *RDMADevice, a rdmaAnswers) []Finding {
	id := a.driver(d.Name)
	d.Driver = provider(id)
	v := answer[verbs]{err: errNotBuilt}
	findings := []Finding{checkIdentity(d, id), checkDeviceFile(d, a.open)}
	m.device.name, m.device.class = d.Name, "infiniband"
	findings = append(findings, m.checkPCI(), m.checkNUMA())
	for i := range d.Ports {
		p := &d.Ports[i]
		v = a.verbs(d.Name, p.Number)
		if v.err == nil {
			p.MTU = v.v.mtu
		}
		ports := []Finding{
			checkPort(d, p), checkGID(p, a.mtu), checkRDMAMTU(p), checkFlowControl(p, a), m.checkMarking(d, p), m.checkManagerDefaults(d, p), m.checkLosses(d, p),
		}
		for _, f := range ports {
			if f.Check != "" && len(d.Ports) > 1 {
				f.Text = fmt.Sprintf("port %d: %s", p.Number, f.Text)
			}
			findings = append(findings, f)
		}
	}
	return append(findings, m.checkProvider(d, v.err), checkLimits(d, v))
}
