// Package result is what a benchmark gives: figures round by round, in a JSON form that stays readable, with the statistics over them.
//
// It measures nothing and draws nothing. Times are microseconds where the name ends in _us, else as it says; what was not measured is left
// out, so that a zero is a measured zero. docs/benchmarks.md describes the form for readers in other languages.
package result

// Schema is the version of the JSON form. It changes when a field goes away or means something else; new fields do not change it.
const Schema = 1

// Report is one run of a benchmark, whole or as far as it came.
type Report struct {
	Schema      int      `json:"schema"`
	Machine     Machine  `json:"machine"`          // the client's, or both sides'
	Server      *Machine `json:"server,omitempty"` // where it is another machine
	Run         Run      `json:"run"`
	Results     []Result `json:"results"`
	Notes       []string `json:"notes,omitempty"`       // what the reader must know to read the figures
	Knees       []Knee   `json:"knees,omitempty"`       // of workload sweep
	Interrupted string   `json:"interrupted,omitempty"` // why rounds are missing at the end
}

// Run is what was asked for.
type Run struct {
	Workload string   `json:"workload"`
	Axis     Axis     `json:"axis,omitempty"` // which field of Point differs between the results of a system
	Systems  []string `json:"systems"`        // in the order they were named
	Rounds   int      `json:"rounds"`
	Seed     uint64   `json:"seed"` // of the order of the systems within each round, and of arrivals
	Requests int      `json:"requests,omitempty"`
	Seconds  float64  `json:"seconds,omitempty"` // measured, a round
}

// Axis names the field of Point along which a workload goes.
type Axis string

// The axes.
const (
	AxisNone     Axis = ""
	AxisRPS      Axis = "rps"
	AxisLoad     Axis = "load"
	AxisSize     Axis = "size"
	AxisSessions Axis = "sessions"
	AxisSenders  Axis = "senders"
	AxisLoss     Axis = "loss"
	AxisPause    Axis = "pause"
)

// Point is where on its axes a result stands.
type Point struct {
	Size        int     `json:"size"`                  // payload, bytes
	Outstanding int     `json:"outstanding,omitempty"` // calls at once, of all clients together
	Clients     int     `json:"clients,omitempty"`     // connections that share them
	Blocking    bool    `json:"blocking,omitempty"`    // a goroutine for each call outstanding, where a system could do without
	RPS         float64 `json:"rps,omitempty"`         // offered load, calls a second
	Load        float64 `json:"load,omitempty"`        // offered load, as a share of what the system had carried in a closed loop just before
	Arrivals    string  `json:"arrivals,omitempty"`    // of the offered load: "poisson" or "constant"
	Sessions    int     `json:"sessions,omitempty"`
	Senders     int     `json:"senders,omitempty"`
	Loss        float64 `json:"loss,omitempty"` // share of packets dropped on purpose
	PauseMs     float64 `json:"pause_ms,omitempty"`
}

// Result is one system at one point.
type Result struct {
	System string  `json:"system"`
	Point  Point   `json:"point"`
	Rounds []Round `json:"rounds"`
	Error  string  `json:"error,omitempty"`   // why rounds are missing
	Absent bool    `json:"missing,omitempty"` // the system is not on this machine; Error says why
}

// Round is what one run of one system gave.
type Round struct {
	Number  int     `json:"round"` // from 1
	Place   int     `json:"place"` // among the systems of the round, from 1: the order differs from round to round
	Ops     int64   `json:"ops"`   // calls, messages, or packets of a flood
	Seconds float64 `json:"seconds"`
	PerSec  float64 `json:"ops_per_s"`
	Gbit    float64 `json:"gbit_per_s,omitempty"`    // one way: of payload, or with a flood of whole IP packets
	Offered float64 `json:"offered_per_s,omitempty"` // calls that came due a second, of an open loop; PerSec are those that ended

	// Latency of the calls; of an open loop from the moment that the call was due. Nil for a flood.
	Latency *Latency `json:"latency,omitempty"`

	// Uncorrected is what an open loop's calls took from the moment that they were sent: without the time that a call
	// waited for those before it, which is the error called coordinated omission.
	Uncorrected *Latency `json:"uncorrected,omitempty"`

	// Parts are other times of the workload, by name: "first" (call after a pause), "dial", "call", "close", "bulk", and
	// "late": how late the generator of an open loop was where it had waited for a call to be due.
	Parts map[string]*Latency `json:"parts,omitempty"`

	Stages  []Stage `json:"stages,omitempty"`        // of a round trip, in order; workload anatomy
	Unclear int64   `json:"unclear_calls,omitempty"` // calls whose stamps could not be told apart, left out of Stages
	Client  Use     `json:"client"`
	Server  Use     `json:"server"`
	Network Network `json:"network"`
	Steal   float64 `json:"steal_percent"` // taken by the hypervisor for others, of the time of both sides' CPUs
}

// Latency is the distribution of a time, in microseconds.
type Latency struct {
	Count  int64   `json:"count"`
	P50    float64 `json:"p50_us"`
	P90    float64 `json:"p90_us"`
	P99    float64 `json:"p99_us"`
	P999   float64 `json:"p999_us"`
	P9999  float64 `json:"p9999_us"`
	P99999 float64 `json:"p99999_us"`
	Max    float64 `json:"max_us"`
	Mean   float64 `json:"mean_us"`
	StdDev float64 `json:"stddev_us"`

	// Histogram has it all: nanoseconds, in HdrHistogram's compressed V2 encoding, base64.
	Histogram string `json:"histogram,omitempty"`
}

// Stage is a part of a round trip. The stages of each call follow each other in time without gap or overlap, from its begin to its end, so that
// they add up to it exactly; their medians add up to the median of the round trip only about.
//
// In order: the way to the server ([StageSession], [StageTX] on the client, [StageWire], [StageRX], [StageSession] on the server),
// [StageHandler], the same stages back, [StageApplication] on the client. A system without a session has no such stages, and what a system's
// stamps cannot tell apart is one stage.
type Stage struct {
	Name string  `json:"name"`
	Side string  `json:"side"` // SideClient, SideServer or SideWire
	P50  float64 `json:"p50_us"`
	P99  float64 `json:"p99_us"`
	Mean float64 `json:"mean_us"`

	// KernelP50 is how much of the stage the kernel's code takes, at the median; the rest is the process's own. Nil: the stamps do not tell.
	KernelP50 *float64 `json:"kernel_p50_us,omitempty"`
}

// The names of stages.
const (
	StageApplication = "application"       // client: the reply is compared and released
	StageSession     = "session"           // from the call, or the handler's end, to Link.Send; from Link.Recv to the handler, or the call's return
	StageTX          = "TX to wire"        // from Link.Send, or the socket's write, until the driver has the packet
	StageWire        = "wire"              // from driver to driver
	StageRX          = "RX to application" // from the driver to what Link.Recv, or the socket's read, returns
	StageHandler     = "handler"           // server
)

// The sides of stages.
const (
	SideClient = "client"
	SideServer = "server"
	SideWire   = "wire"
)

// PartUnstamped is the name in Round.Parts of the calls of workload anatomy that were made without stamps, in the same processes: what
// stamps cost is the difference.
const PartUnstamped = "unstamped"

// Use is what one side's process used in the measured loop. Calls outside of it that the process could not tell apart are in Calls, too.
type Use struct {
	Calls        int64    `json:"calls"`             // to divide the rest by
	Seconds      float64  `json:"seconds,omitempty"` // over which it was counted; a server's begin before the client's loop
	UserNs       int64    `json:"user_ns"`
	SystemNs     int64    `json:"system_ns"`
	InterruptNs  int64    `json:"interrupt_ns"` // of interrupts, hard and soft, on the CPUs that the process may run on, whoever they were for
	Allocs       uint64   `json:"allocs"`       // heap objects
	AllocBytes   uint64   `json:"alloc_bytes"`
	GCs          uint32   `json:"gcs"`
	GCPauseUs    float64  `json:"gc_pause_us"` // all together
	GCMaxPauseUs float64  `json:"gc_max_pause_us"`
	Voluntary    int64    `json:"voluntary_switches"`
	Involuntary  int64    `json:"involuntary_switches"`
	Instructions *float64 `json:"instructions,omitempty"` // nil where the machine does not count them; Machine.Counters says why
	Cycles       *float64 `json:"cycles,omitempty"`       // likewise
}

// Network is what the network counted in the measured loop.
type Network struct {
	Sent            uint64            `json:"sent_packets"`     // by the client's interface
	Received        uint64            `json:"received_packets"` // by the client's interface
	Retransmissions *uint64           `json:"retransmissions,omitempty"`
	Drops           map[string]uint64 `json:"drops,omitempty"` // by cause; causes that did not occur are left out
}
