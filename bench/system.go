package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/fastrpc/fastrpc/bench/meter"
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

// A Caller makes calls, one at a time and from one goroutine.
type Caller interface {
	// Call sends payload, waits for its echo and compares the two, byte by byte; an echo that differs is [ErrEcho]. The payload is the
	// caller's again when it returns.
	Call(payload []byte) error

	Close() error
}

// Counting is implemented by Callers whose system counts drops and retransmissions itself.
type Counting interface {
	Counters() meter.Own // so far
}

// Noter is implemented by Callers with something to say that a reader of its figures must know.
type Noter interface {
	Note() string // after the measured calls
}

func noteOf(c Caller) string {
	if n, ok := c.(Noter); ok {
		return n.Note()
	}
	return ""
}

// Endpoint says where one side of a System stands.
type Endpoint struct {
	Interface string         `json:"interface"`      // in the process's network namespace
	Local     netip.AddrPort `json:"local"`          // this side; port 0: any
	Remote    netip.AddrPort `json:"remote"`         // the server, for a client
	RemoteMAC string         `json:"mac,omitempty"`  // of the server, for a client
	Path      string         `json:"path,omitempty"` // of the server's socket, for a client, where it has no address
	Size      int            `json:"size"`           // payload, bytes

	Workload    string `json:"workload"`
	Outstanding int    `json:"outstanding"` // calls at once
}

// Ready is what a server tells about itself once it can be called.
type Ready struct {
	Addr netip.AddrPort `json:"addr"`           // where it listens
	Path string         `json:"path,omitempty"` // in the place of Addr: of a socket in the file system

	MAC string `json:"mac,omitempty"` // of Endpoint.Interface; filled in by the harness

	// Counters tells what the server counted so far; it may be nil.
	Counters func() meter.Own `json:"-"`

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
		return nil, fmt.Errorf("%w %q; choose from %s", ErrUnknownSystem, name, strings.Join(Names(), ", "))
	}
	return s, nil
}
