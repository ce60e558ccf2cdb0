package transport

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"sync"
)

// A Target is a parsed address such as xdp://eth0:9000?mode=generic.
type Target struct {
	Scheme string
	Host   string     // an interface's name, a host's name, an IP address, or empty for all
	Port   uint16     // 0 when absent: any
	Query  url.Values // the driver's settings; it refuses those that it does not know
}

func (t Target) String() string {
	u := url.URL{Scheme: t.Scheme, Host: fmt.Sprintf("%s:%d", t.Host, t.Port), RawQuery: t.Query.Encode()}
	if addr, err := netip.ParseAddr(t.Host); err == nil && addr.Is6() {
		u.Host = netip.AddrPortFrom(addr, t.Port).String()
	}
	return u.String()
}

// ParseTarget parses scheme://host[:port][?settings].
func ParseTarget(s string) (Target, error) {
	u, err := url.Parse(s)
	if err != nil {
		if malformed := (*url.Error)(nil); errors.As(err, &malformed) { // it repeats s
			err = malformed.Err
		}
		return Target{}, fmt.Errorf("transport: not of the form scheme://host:port, such as xdp://eth0:9000: %w", err)
	}
	if u.Scheme == "" || u.Host == "" || (u.Path != "" && u.Path != "/") || u.User != nil || u.Fragment != "" {
		return Target{}, errors.New("transport: not of the form scheme://host:port, such as xdp://eth0:9000")
	}
	t := Target{Scheme: u.Scheme, Host: u.Hostname(), Query: u.Query()}
	if p := u.Port(); p != "" {
		var n uint64
		if _, err := fmt.Sscanf(p, "%d", &n); err != nil || n > 65535 {
			return Target{}, fmt.Errorf("transport: port %q is not between 0 and 65535", p)
		}
		t.Port = uint16(n)
	}
	return t, nil
}

// A Port is a local address held on one or more Links (one for each queue). Links are shared: two Ports of one process on the same
// interface hold the same Link values, and whoever polls a Link serves them all, telling them apart by Path.LocalPort.
//
// Each Port holds one reference to each of its Links, to be dropped with Link.Close: a Link that n Ports hold is released by its n-th
// Close. A Port is closed before its Links are, so that nothing is steered to a socket that is gone.
type Port interface {
	Links() []Link         // of Dial: first the one on which the Driver expects the answers; they may come on another
	Local() netip.AddrPort // the IP is unspecified when the Port receives on several addresses
	Close() error          // gives the address up; the Links stay
}

// A Driver opens Ports for one scheme. Its errors match ErrInvalid, ErrNotFound or ErrPrecondition (errors.Is) where trying again does not
// help, fs.ErrPermission where a privilege is missing, and none of them where it may help. They do not repeat the target: the caller has it.
type Driver interface {
	// Listen holds t's address. ctx bounds the set-up only.
	Listen(ctx context.Context, t Target) (Port, error)
	// Dial holds an address of this host from which remote can be reached; t gives the settings, its host and port are remote's.
	Dial(ctx context.Context, t Target, remote netip.AddrPort) (Port, error)
}

// What a Driver refuses an address for. Drivers Mark their own errors, which say more, with these.
var (
	// ErrInvalid: the address is wrong for this driver: a setting that it does not know, a value out of range, a host that it cannot serve.
	ErrInvalid = errors.New("transport: the address is wrong")
	// ErrNotFound: what the address names is not there, such as an interface.
	ErrNotFound = errors.New("transport: what the address names does not exist")
	// ErrNotBuilt: the program was built without the driver, which needs a build tag.
	ErrNotBuilt = errors.New("transport: the program was built without the driver")
	// ErrPrecondition: the address is right, but something on this host has to change first: the port or a queue is taken, say.
	ErrPrecondition = errors.New("transport: this host is not ready for the address")
)

// Mark returns an error that says what err says, matches all that err matches, and kind besides.
func Mark(kind, err error) error { return &marked{err, kind} }

type marked struct{ err, kind error }

func (m *marked) Error() string   { return m.err.Error() }
func (m *marked) Unwrap() []error { return []error{m.err, m.kind} }

var (
	driversMu sync.RWMutex
	drivers   = map[string]Driver{}
)

// Register makes a driver available under a scheme. It panics when the scheme is taken. Drivers call it from init.
func Register(scheme string, d Driver) {
	driversMu.Lock()
	defer driversMu.Unlock()
	if _, dup := drivers[scheme]; dup {
		panic("transport: Register called twice for scheme " + scheme)
	}
	drivers[scheme] = d
}

// Open returns the driver registered for scheme.
func Open(scheme string) (Driver, error) {
	driversMu.RLock()
	defer driversMu.RUnlock()
	if d, ok := drivers[scheme]; ok {
		return d, nil
	}
	return nil, fmt.Errorf("transport: no driver for scheme %q (registered: %v); import its package, such as _ %q",
		scheme, schemesLocked(), "github.com/fastrpc/fastrpc/transport/"+scheme)
}

// Schemes lists the registered schemes in alphabetical order.
func Schemes() []string {
	driversMu.RLock()
	defer driversMu.RUnlock()
	return schemesLocked()
}

func schemesLocked() []string {
	s := make([]string, 0, len(drivers))
	for k := range drivers {
		s = append(s, k)
	}
	slices.Sort(s)
	return s
}
