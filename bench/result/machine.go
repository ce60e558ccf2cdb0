package result

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
