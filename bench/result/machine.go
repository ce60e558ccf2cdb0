package result

import "fmt"

// Machine is what is needed to judge the figures beside it. What could not be found out is "unknown", or left out.
type Machine struct {
	Date     string `json:"date"` // RFC 3339
	Revision string `json:"revision"`
	Go       string `json:"go"`
	GoGC     string `json:"gogc"`       // GOGC and GOMEMLIMIT, as set
	MaxProcs int    `json:"gomaxprocs"` // of the processes that were measured
	Kernel   string `json:"kernel"`

	CPU         string `json:"cpu"`
	Cores       int    `json:"cores"`
	SMT         string `json:"smt"`
	Governor    string `json:"governor"`
	CStates     string `json:"c_states"`
	Isolated    string `json:"isolated_cpus"`
	NUMANodes   int    `json:"numa_nodes"`
	Mitigations string `json:"mitigations"`
	Hypervisor  string `json:"hypervisor"` // "none" on bare metal
	Pinning     string `json:"pinning"`
	Counters    string `json:"counters"` // what the CPU counts of instructions: "user and kernel", "user", or why nothing

	Network string `json:"network"` // between client and server
	NIC     NIC    `json:"nic"`     // the client's
	RDMA    []RDMA `json:"rdma,omitempty"`

	StealPercent float64  `json:"steal_percent"` // taken by the hypervisor for others, of the CPUs' time in the measured loops
	Advice       []string `json:"advice,omitempty"`
}

// NIC is the interface that carried the packets, and how.
type NIC struct {
	Driver     string `json:"driver"`
	Firmware   string `json:"firmware,omitempty"`
	Bus        string `json:"bus,omitempty"`
	MTU        int    `json:"mtu"`
	NUMANode   int    `json:"numa_node"` // -1: none
	Queues     int    `json:"queues"`
	Coalescing string `json:"coalescing,omitempty"`
	XDPMode    string `json:"xdp_mode"`
	ZeroCopy   string `json:"zero_copy"` // granted: "yes" or "no"
	BusyPoll   string `json:"busy_poll"`
}

// RDMA is a port of an RDMA device that the machine has, whether it was used or not.
type RDMA struct {
	Device   string `json:"device"`
	Driver   string `json:"driver,omitempty"` // as rdma-core names its part for it
	Firmware string `json:"firmware,omitempty"`
	Port     int    `json:"port"`
	State    string `json:"state"`
	Rate     string `json:"rate"` // with the width: "100 Gb/sec (4X EDR)"
	MTU      int    `json:"mtu"`  // active, bytes; 0: unknown
}

func (r RDMA) String() string {
	s := fmt.Sprintf("%s port %d, %s, %s", r.Device, r.Port, r.State, r.Rate)
	if r.MTU > 0 {
		s += fmt.Sprintf(", MTU %d", r.MTU)
	}
	if r.Driver != "" {
		s += ", " + r.Driver
	}
	if r.Firmware != "" {
		s += ", firmware " + r.Firmware
	}
	return s
}
