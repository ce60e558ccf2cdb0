package fastrpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/fastrpc/fastrpc/internal/engine"
	"github.com/fastrpc/fastrpc/transport"
)

// preference orders the drivers for auto://, best first.
var preference = []string{"rdma", "xdp", "udp"}

// opener opens a port with one driver.
type opener func(d transport.Driver, t transport.Target) (transport.Port, error)

// openPort opens a port with the driver that t's scheme names. For auto it tries the registered ones, best first; why says which was taken
// and why no better one. When none can open it, the error tells of them all and has the code of the last, which asks least of the host;
// unless that one does not know the settings of a better one, which then is what has to be helped.
func openPort(t transport.Target, open opener) (p transport.Port, why string, err error) {
	if t.Scheme != "auto" {
		d, err := transport.Open(t.Scheme)
		if err != nil {
			return nil, "", invalid(err)
		}
		p, err = open(d, t)
		return p, "", err
	}
	registered := transport.Schemes()
	var failed error
	code := Unavailable
	for _, scheme := range preference {
		if !slices.Contains(registered, scheme) {
			continue
		}
		d, _ := transport.Open(scheme)
		t.Scheme = scheme
		p, err := open(d, t)
		if err == nil {
			if failed != nil {
				why = fmt.Sprintf("%s, because: %v", scheme, failed)
			}
			return p, why, nil
		}
		if errors.Is(err, transport.ErrNotBuilt) { // nobody asked for that one
			continue
		}
		if c := codeFor(err, Unavailable); failed == nil || c != InvalidArgument {
			code = c
		}
		failed = errors.Join(failed, err)
	}
	if failed == nil {
		return nil, "", invalid(fmt.Errorf("no driver is registered: import one, such as _ %q", "github.com/fastrpc/fastrpc/transport/udp"))
	}
	return nil, "", &engine.CallError{Code: engine.Code(code), Outcome: engine.NotExecuted, Err: failed}
}

// parseTarget parses an address.
func parseTarget(s string) (transport.Target, error) {
	t, err := transport.ParseTarget(s)
	if err != nil {
		return t, invalid(err)
	}
	return t, nil
}

// invalid says that an address is wrong wherever it is used.
func invalid(err error) error {
	return &engine.CallError{Code: engine.Code(InvalidArgument), Outcome: engine.NotExecuted, Reason: err.Error()}
}

// resolveHost finds the remote address that a target names.
func resolveHost(ctx context.Context, t transport.Target) (netip.AddrPort, error) {
	if t.Port == 0 {
		return netip.AddrPort{}, invalid(errors.New("the address names no port"))
	}
	if a, err := netip.ParseAddr(t.Host); err == nil {
		return netip.AddrPortFrom(a.Unmap(), t.Port), nil
	}
	if t.Host == "" {
		return netip.AddrPort{}, invalid(errors.New("the address names no host"))
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", t.Host)
	if unknown := (*net.DNSError)(nil); errors.As(err, &unknown) && unknown.IsNotFound {
		return netip.AddrPort{}, transport.Mark(transport.ErrNotFound, err)
	} else if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.AddrPortFrom(addrs[0].Unmap(), t.Port), nil
}
