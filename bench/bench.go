// Package bench measures calls between two processes, over fastrpc and over what a user would pick instead, and reports them side by side.
//
// Figures on shared machines drift, so a figure alone says little. [Compare] runs every system once a round, round after round (A B C A B C
// ...), between the same two network namespaces and on the same CPUs, and the report gives ratios within that run. Each run of a system has
// a server process and a client process of its own; the client changes the payload with every call and checks every byte that comes back.
// What it measures is the workload: the latency of one call at a time, the rate of many at once, or the bits of long messages.
//
// A [System] is one way to carry the payload; it stands in a file of its own and is known by name once [Register] was called.
package bench

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/fastrpc/fastrpc/bench/result"
	"github.com/fastrpc/fastrpc/internal/lab"
)

// Config says what Compare runs. Of the fields from Size to Rounds, 0 stands for what the workload has by itself.
type Config struct {
	Systems  []string // names, in the order of the report
	Workload string   // "" stands for Latency

	Size        int       // payload, bytes
	Outstanding int       // calls at once, over all clients
	Clients     int       // connections that share them
	Blocking    bool      // a goroutine for each call outstanding, also where a system could do without
	Along       []float64 // the points on the workload's axis, in its unit: see AxisOf
	Arrivals    string    // of an open loop: Poisson or Constant
	Seed        uint64    // of the arrivals, and of the order of the systems within each round; 0: one is chosen, and reported

	Requests int           // measured calls a round
	Duration time.Duration // of a measured round, instead of Requests
	Rounds   int           // how often each system runs

	// CPUs are the client's and the server's; empty: the first two that each machine's process may use.
	CPUs []int

	// Agent is the server's machine. Without an address both sides are here.
	Agent     AgentAddr
	Interface string // of this machine: carries the packets to the agent, or between both sides; "": the one that leads to the agent, or a lab's

	// Lab names the lab to run in, which stays. Empty: Compare makes one and takes it down.
	Lab string
	MTU int // of the lab that Compare makes, bytes; 0: 1,500, or what workload Flood's packets need

	// Child is the command of a process that calls [Child] and exits: os.Executable and hidden arguments.
	Child []string

	// LockFile keeps other comparisons off the machine while this one runs: see [Lock]. "": nothing does.
	LockFile string

	// Waiting, unless nil, is called once when another comparison runs, here or on the agent's machine; it is waited for then. Otherwise that
	// is ErrBusy.
	Waiting func(error)

	// Progress is told what runs at the moment; it may be nil.
	Progress func(Progress)
}

// Progress is where a comparison stands.
type Progress struct {
	Done, Runs    int           // a run is one system at one point in one round
	Left          time.Duration // by the runs so far; 0: nobody knows
	Round, Rounds int
	System        string
	Point         result.Point
	Step          Step // of the run
}

// Step is what a run does.
type Step string

// The steps of a run.
const (
	Starting  Step = "starts"
	WarmingUp Step = "warms up"
	Measuring Step = "measures"
)

// Bounds of a Config. Calls that do not fit into one packet would measure fragmentation, which not every system has: they are Bulk's.
const (
	MinSize        = 1
	MaxSize        = 1400
	MinBulk        = 16
	MaxBulk        = 1 << 30
	MinFlood       = 64 // of workload flood, the bytes of an IP packet
	MaxFlood       = 9000
	MaxOutstanding = 1024
	MaxRounds      = 1000
	usualRounds    = 5
)

// Errors about a Config, for errors.Is.
var (
	ErrConfig        = errors.New("bench: cannot compare")
	ErrUnknownSystem = errors.New("unknown system") // ErrConfig too
)

// usual are the systems of a comparison that does not name any.
var usual = []string{"ring", "ring-copy", "xdp", "xdp-worker", "udp", "tcp", "net-tcp", "net-udp", "unix", "spin-tcp", "spin-tcp-busy"}

// Default lists the systems of a comparison that does not name any: those of the project itself that have the workload.
func Default(workload string) []string {
	return slices.DeleteFunc(slices.Clone(usual), func(name string) bool { s, ok := systems[name]; return !ok || !has(s, workload) })
}

// check completes the defaults, too.
func (c *Config) check() error {
	if c.Workload == "" {
		c.Workload = Latency
	}
	w, err := workloadOf(c.Workload)
	if err == nil {
		c.complete(w)
		err = c.problem(w)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return nil
}

// Runs is how many runs Compare makes of c, if all systems go through: see [Progress]. A mistake in c is [ErrConfig].
func (c Config) Runs() (int, error) {
	if err := c.check(); err != nil {
		return 0, err
	}
	return c.Rounds * len(c.Systems) * len(c.points()), nil
}

// complete fills in what the workload has by itself.
func (c *Config) complete(w *workload) {
	if c.Size == 0 {
		c.Size = w.size
	}
	if c.Outstanding == 0 {
		c.Outstanding = max(w.outstanding, 1)
	}
	if c.Clients == 0 {
		c.Clients = 1
	}
	if len(c.Along) == 0 {
		c.Along = w.along
	}
	if c.Arrivals == "" && w.open {
		c.Arrivals = Poisson
	}
	if c.Rounds == 0 {
		c.Rounds = cmp.Or(w.rounds, usualRounds)
	}
	if c.Requests == 0 && c.Duration == 0 {
		c.Requests, c.Duration = w.requests, w.duration
	}
	if c.MTU == 0 && c.ownLab() {
		c.MTU = lab.DefaultMTU
		if c.Workload == Flood {
			c.MTU = max(c.MTU, c.Size)
		}
	}
	for c.Seed == 0 {
		c.Seed = uint64(rand.Uint32()) // a JSON number that every reader has room for
	}
}

// ownLab tells whether Compare makes the lab, where it may.
func (c *Config) ownLab() bool { return c.Lab == "" && c.Agent.Addr == "" }

func (c *Config) problem(w *workload) error {
	if len(c.Systems) == 0 {
		return fmt.Errorf("no systems; choose from %s", strings.Join(Names(), ", "))
	}
	for i, name := range c.Systems {
		if _, is := absent(name); is {
			continue
		}
		if _, err := Lookup(name); err != nil {
			return err
		}
		if slices.Contains(c.Systems[:i], name) {
			return fmt.Errorf("system %q is named twice", name)
		}
	}
	if err := c.loadProblem(w); err != nil {
		return err
	}
	switch {
	case c.Rounds < 1 || c.Rounds > MaxRounds:
		return fmt.Errorf("%d rounds are not between 1 and %d", c.Rounds, MaxRounds)
	case c.Requests < 0 || c.Duration < 0 || (c.Requests == 0) == (c.Duration == 0):
		return errors.New("give either a number of requests or a duration, above zero")
	case c.Requests != 0 && !w.counted:
		return fmt.Errorf("workload %s is bounded by a duration, not by a number of requests", c.Workload)
	case c.MTU != 0 && !c.ownLab():
		return errors.New("an MTU is chosen for a lab that is made; a lab that is there, and an agent's machine, have theirs")
	case c.ownLab() && (c.MTU < lab.MinMTU || c.MTU > lab.MaxMTU):
		return fmt.Errorf("an MTU of %d bytes is not between %d and %d", c.MTU, lab.MinMTU, lab.MaxMTU)
	case c.Workload == Flood && c.MTU != 0 && c.Size > c.MTU:
		return fmt.Errorf("packets of %d bytes do not fit into an MTU of %d", c.Size, c.MTU)
	case len(c.CPUs) != 0 && (len(c.CPUs) != 2 || slices.Min(c.CPUs) < 0):
		return errors.New("give two CPUs: the client's and the server's")
	case len(c.CPUs) != 0 && c.CPUs[0] == c.CPUs[1] && c.Agent.Addr == "":
		return fmt.Errorf("client and server cannot share CPU %d: both may spin; give each its own", c.CPUs[0])
	case c.Agent.Addr != "" && c.Lab != "":
		return errors.New("give either a lab or an agent")
	case c.Lab != "" && c.Interface != "":
		return errors.New("give either a lab, which has interfaces of its own, or an interface")
	case len(c.Child) == 0:
		return errors.New("no command for the child processes")
	}
	for i, cpu := range c.CPUs {
		if i == 0 || c.Agent.Addr == "" { // else it is the agent's
			if err := onCPUs([]int{cpu}, func() error { return nil }); err != nil {
				return fmt.Errorf("%w; 'taskset -cp $$' tells which ones may be used here", err)
			}
		}
	}
	return nil
}

// loadProblem looks at what shall be outstanding, and where the points are.
func (c *Config) loadProblem(w *workload) error {
	shared := w.outstanding > 0 && w.axis != result.AxisSessions
	switch {
	case c.Size < w.least || c.Size > w.most:
		return fmt.Errorf("a payload of %d bytes is not between %d and %d, the bounds of workload %s", c.Size, w.least, w.most, c.Workload)
	case c.Workload == Anatomy && (c.Duration != 0 || c.Requests > MaxAnatomyCalls):
		return fmt.Errorf("workload %s takes a number of requests, up to %d a round: their stamps stand in memory", Anatomy, MaxAnatomyCalls)
	case w.outstanding == 0 && c.Outstanding != 1:
		return fmt.Errorf("workload %s has one call outstanding; choose workload %s for more", c.Workload, Rate)
	case c.Outstanding < 1 || c.Outstanding > MaxOutstanding:
		return fmt.Errorf("%d calls outstanding are not between 1 and %d", c.Outstanding, MaxOutstanding)
	case c.Workload == Bulk && c.Outstanding*c.Size > MaxBulk:
		return fmt.Errorf("%d messages of %d bytes outstanding are more than %d bytes", c.Outstanding, c.Size, MaxBulk)
	case !shared && (c.Clients != 1 || c.Blocking):
		return fmt.Errorf("workload %s does not share its calls out: there are neither clients nor blocking calls to choose", c.Workload)
	case c.Clients < 1:
		return fmt.Errorf("%d clients are fewer than one", c.Clients)
	case c.Clients > c.Outstanding:
		return fmt.Errorf("%d clients are more than the %d calls outstanding, which they share", c.Clients, c.Outstanding)
	case w.open && c.Arrivals != Poisson && c.Arrivals != Constant:
		return fmt.Errorf("unknown arrivals %q; choose %s or %s", c.Arrivals, Poisson, Constant)
	case !w.open && c.Arrivals != "":
		return fmt.Errorf("workload %s is no open loop: its calls do not arrive by themselves; choose workload %s or %s", c.Workload, Open, Sweep)
	case w.axis == result.AxisNone && len(c.Along) != 0:
		return fmt.Errorf("workload %s has a single point", c.Workload)
	case w.axis != result.AxisNone && len(c.Along) == 0:
		return fmt.Errorf("workload %s needs a load; give calls a second, --rps", c.Workload)
	}
	a := axes[w.axis]
	for i, x := range c.Along {
		if err := a.check(x); err != nil {
			return err
		}
		if slices.Contains(c.Along[:i], x) {
			return fmt.Errorf("%v %s: named twice", x, a.what)
		}
	}
	return nil
}
