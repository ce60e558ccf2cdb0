package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/fastrpc/fastrpc/bench/meter"
	"github.com/fastrpc/fastrpc/bench/result"
)

// A System is one way to carry a payload to another process and back.
type System interface {
	// Name is what the user calls it: lower case, no spaces.
	Name() string

	// Bypass says that it needs AF_XDP: the privileges for it, and an interface other than loopback.
	Bypass() bool

	// Serve sends every payload back, until ctx ends; it calls ready once, when clients can connect. It returns nil after ctx ended. The
	// echo loop must not allocate, or the report will say so.
	Serve(ctx context.Context, e Endpoint, ready func(Ready)) error

	// Connect readies a client of the server at e.Remote. ctx bounds the set-up only.
	Connect(ctx context.Context, e Endpoint) (Caller, error)
}

// A Caller makes calls, one at a time and from one goroutine; where Endpoint.Outstanding says more than one and it is no [Pipeline], so many
// at once, from as many goroutines.
type Caller interface {
	// Call sends payload, waits for the answer and compares it with what it has to be, as Endpoint.Verify does: byte by byte. The payload is
	// the caller's again when it returns.
	Call(payload []byte) error

	Close() error
}

// A Pipeline is a Caller with many calls outstanding, used from one goroutine: for systems whose users can call so. Connect returns one where
// Endpoint.Piped asks for it and the system can.
type Pipeline interface {
	Caller

	// Begin begins call slot, which is not outstanding; it leaves with the next Wait at the latest. Slots are begun in turn: 0, 1, ...,
	// Endpoint.Slots()-1, 0, 1, ... payload is not written until the call has ended.
	Begin(slot int, payload []byte) error

	// Wait waits until calls have ended, at least one, compares their answers, writes their slots to ended, in any order, and returns
	// how many. ended has room for all that are outstanding.
	Wait(ended []int) (n int, err error)
}

// A Poller is a Pipeline that can look for what has ended without waiting. Open loops spin over it; over a system without it they make
// blocking calls from many goroutines. Connect returns one where Endpoint.Polled asks for it and the system can.
type Poller interface {
	Pipeline

	// Poll is Wait, but for returning at once, with 0, where nothing has ended.
	Poll(ended []int) (n int, err error)
}

// A Measurer is a Caller with a measurement of its own in the place of calls: a flood, or a loop in a program of another language.
type Measurer interface {
	Caller

	// Measure makes requests calls, or measures for d; the other is 0. It records latencies, if it has any, in rec, and leaves
	// them out of the Round.
	Measure(requests int, d time.Duration, rec *Recorder) (result.Round, error)
}

// Counting is implemented by Callers whose system counts drops and retransmissions itself.
type Counting interface {
	// Counters gives what was counted so far, by who counted it: what several callers share counts once.
	Counters() map[string]meter.Own
}

// Noter is implemented by Callers with something to say that a reader of its figures must know.
type Noter interface {
	Note() string // after the measured calls
}

// needsRDMA tells whether a system needs an RDMA device: those that do say so by a method.
func needsRDMA(s System) bool {
	r, is := s.(interface{ RDMA() bool })
	return is && r.RDMA()
}

func noteOf(c Caller) string {
	if n, ok := c.(Noter); ok {
		return n.Note()
	}
	return ""
}

// Endpoint says where one side of a System stands, and what is asked of it. For a client's connection Outstanding is what that connection
// carries at once, for a server it is that of all.
type Endpoint struct {
	Interface string         `json:"interface"`      // in the process's network namespace
	Local     netip.AddrPort `json:"local"`          // this side; port 0: any
	Remote    netip.AddrPort `json:"remote"`         // the server, for a client
	RemoteMAC string         `json:"mac,omitempty"`  // of the server, for a client
	Path      string         `json:"path,omitempty"` // of the server's socket, for a client, where it has no address

	Workload string `json:"workload"`
	Seed     uint64 `json:"seed"`
	result.Point
}

// Piped tells whether a client makes its calls over a [Pipeline], if the system has one.
func (e *Endpoint) Piped() bool {
	switch e.Workload {
	case Rate, Bulk:
		return !e.Blocking
	case Loss:
		return !e.Blocking && e.Outstanding > 1
	}
	return false
}

// Polled tells whether a client makes its calls over a [Poller], if the system has one.
func (e *Endpoint) Polled() bool { return (e.Workload == Open || e.Workload == Sweep) && !e.Blocking }

// calls is how many calls there are at once at most, over all connections.
func (e *Endpoint) calls() int { return max(e.Outstanding, e.Senders, 1) }

// connectLimit is how long a client may take for its connections.
func (e *Endpoint) connectLimit() time.Duration {
	return callLimit + time.Duration(max(e.Sessions, e.Senders, e.Clients))*slowestDial
}

const slowestDial = 10 * time.Millisecond // on average

// Ready is what a server tells about itself once it can be called.
type Ready struct {
	Addr netip.AddrPort `json:"addr"`           // where it listens
	Path string         `json:"path,omitempty"` // in the place of Addr: of a socket in the file system

	MAC string `json:"mac,omitempty"` // of Endpoint.Interface; filled in by the harness

	// Counters is that of [Counting], for the server; it may be nil.
	Counters func() map[string]meter.Own `json:"-"`

	// What the kernel granted; empty for systems without AF_XDP.
	XDPMode  string `json:"xdp_mode,omitempty"`  // "native" or "generic"
	ZeroCopy string `json:"zero_copy,omitempty"` // "yes" or "no"
	BusyPoll string `json:"busy_poll,omitempty"` // "yes" or "no"
}

// ErrEcho says that the echo is not what was sent.
var ErrEcho = errors.New("the echo differs from the payload")

func verify(got, want []byte) error {
	if bytes.Equal(got, want) {
		return nil
	}
	return fmt.Errorf("%w: sent %d bytes %.16x..., received %d bytes %.16x...", ErrEcho, len(want), want, len(got), got)
}

// systems is filled by init functions and read-only afterwards.
var systems = map[string]System{}

// Register makes a system available by its name. It is called from init functions, and panics when the name is taken.
func Register(s System) {
	if _, dup := systems[s.Name()]; dup {
		panic("bench: Register called twice for system " + s.Name())
	}
	systems[s.Name()] = s
}

// Names lists the registered systems in alphabetical order.
func Names() []string {
	names := make([]string, 0, len(systems))
	for name := range systems {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Lookup finds a system by its name.
func Lookup(name string) (System, error) {
	s, ok := systems[name]
	if !ok {
		known := slices.Concat(Names(), Peers())
		slices.Sort(known)
		return nil, fmt.Errorf("%w %q; choose from %s", ErrUnknownSystem, name, strings.Join(slices.Compact(known), ", "))
	}
	return s, nil
}
