package fastrpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"

	"github.com/fastrpc/fastrpc/internal/engine"
	"github.com/fastrpc/fastrpc/transport"
)

// preference orders the drivers for auto://, best first.
var preference = []string{"rdma", "xdp", "udp"}

// opener opens a port with one driver.
type opener func(d transport.Driver, t transport.Target) (transport.Port, error)

// openPort opens a port with the driver that t's scheme names. For auto it tries the registered ones, best first; why says which was taken
// and why no better one.
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
		failed = errors.Join(failed, err)
	}
	if failed == nil {
		failed = fmt.Errorf("no driver is registered: import one, such as _ %q", "github.com/fastrpc/fastrpc/transport/udp")
	}
	return nil, "", failed
}

// parseTarget parses an address.
func parseTarget(s string) (transport.Target, error) {
	t, err := transport.ParseTarget(s)
	var malformed *url.Error // speaks of URLs, and does not say what one looks like here
	switch {
	case errors.As(err, &malformed):
		err = fmt.Errorf("%q is not of the form scheme://host:port, such as xdp://eth0:9000: %w", s, malformed.Err)
	case err == nil:
		return t, nil
	}
	return t, invalid(err)
}

// invalid says that an address is wrong wherever it is used.
func invalid(err error) error {
	return &engine.CallError{Code: engine.Code(InvalidArgument), Outcome: engine.NotExecuted, Reason: err.Error()}
}

// resolveHost finds the remote address that a target names.
func resolveHost(ctx context.Context, t transport.Target) (netip.AddrPort, error) {
	if t.Port == 0 {
		return netip.AddrPort{}, invalid(fmt.Errorf("%v names no port", t))
	}
	if a, err := netip.ParseAddr(t.Host); err == nil {
		return netip.AddrPortFrom(a.Unmap(), t.Port), nil
	}
	if t.Host == "" {
		return netip.AddrPort{}, invalid(fmt.Errorf("%v names no host", t))
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", t.Host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.AddrPortFrom(addrs[0].Unmap(), t.Port), nil
}
