package page

import (
	"fmt"

	"github.com/fastrpc/fastrpc/bench/result"
)

// machine is the environment of one side.
type machine struct {
	Name  string
	Facts []fact
}

type fact struct{ Name, Value string }

// machines says where it was measured.
func (s *section) machines() {
	r := s.report
	name := "Machine"
	if r.Server != nil {
		name = "Client"
	}
	s.Machines = append(s.Machines, machine{name, facts(&r.Machine)})
	s.Advice = r.Machine.Advice
	if r.Server == nil {
		return
	}
	s.Machines = append(s.Machines, machine{"Server", facts(r.Server)})
	s.Advice = nil
	for _, a := range r.Machine.Advice {
		s.Advice = append(s.Advice, "Client: "+a)
	}
	for _, a := range r.Server.Advice {
		s.Advice = append(s.Advice, "Server: "+a)
	}
}

func facts(m *result.Machine) []fact {
	var out []fact
	say := func(name, value string) {
		if value != "" {
			out = append(out, fact{name, value})
		}
	}
	number := func(name string, n int) {
		if n > 0 {
			say(name, count(float64(n)))
		}
	}
	say("date", m.Date)
	say("revision", m.Revision)
	say("Go", m.Go)
	say("collector", m.GoGC)
	number("GOMAXPROCS", m.MaxProcs)
	say("kernel", m.Kernel)
	say("mitigations", m.Mitigations)
	say("processor", m.CPU)
	number("cores", m.Cores)
	say("SMT", m.SMT)
	number("NUMA nodes", m.NUMANodes)
	say("governor", m.Governor)
	say("C-states", m.CStates)
	say("isolated CPUs", m.Isolated)
	say("pinning", m.Pinning)
	say("counts instructions", m.Counters)
	say("hypervisor", m.Hypervisor)
	say("steal", short(m.StealPercent)+" %")
	say("network", m.Network)
	for _, r := range m.RDMA {
		say("RDMA", r.String())
	}
	n := m.NIC
	say("driver", n.Driver)
	say("firmware", n.Firmware)
	say("bus", n.Bus)
	if n.MTU > 0 {
		say("MTU", fmt.Sprint(n.MTU))
	}
	if n.Driver != "" && n.NUMANode >= 0 {
		say("NUMA node of the card", fmt.Sprint(n.NUMANode))
	}
	number("queues", n.Queues)
	say("coalescing", n.Coalescing)
	say("XDP mode", n.XDPMode)
	say("zero-copy", n.ZeroCopy)
	say("busy polling", n.BusyPoll)
	return out
}
