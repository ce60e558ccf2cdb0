package fastrpc_test

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"

	"github.com/fastrpc/fastrpc/transport"
)

// audited is the scheme of UDP links that tell, when they are closed, whether every frame had come back.
const audited = "audited"

func init() { transport.Register(audited, auditedDriver{}) }

type auditedDriver struct{}

func (auditedDriver) Listen(ctx context.Context, t transport.Target) (transport.Port, error) {
	d, err := transport.Open("udp")
	if err != nil {
		return nil, err
	}
	return audit(d.Listen(ctx, t))
}

func (auditedDriver) Dial(ctx context.Context, t transport.Target, remote netip.AddrPort) (transport.Port, error) {
	d, err := transport.Open("udp")
	if err != nil {
		return nil, err
	}
	return audit(d.Dial(ctx, t, remote))
}

func audit(p transport.Port, err error) (transport.Port, error) {
	if err != nil {
		return nil, err
	}
	return auditedPort{p, []transport.Link{&auditedLink{p.Links()[0]}}}, nil
}

type auditedPort struct {
	transport.Port
	links []transport.Link
}

func (p auditedPort) Links() []transport.Link { return p.links }

type auditedLink struct{ transport.Link }

var audits struct {
	sync.Mutex
	closed int
	lost   []string
}

// Close comes when the engine has stopped, so that nobody else uses the link.
func (l *auditedLink) Close() error {
	c := l.Counts()
	audits.Lock()
	audits.closed++
	if c.Borrowed != 0 || c.InFlight != 0 || c.Free+c.Receive != l.Caps().Frames {
		audits.lost = append(audits.lost, fmt.Sprintf("%+v", c))
	}
	audits.Unlock()
	return l.Link.Close()
}

// framesReturn checks, when all of the test's own cleaning up is done, that so many audited links were closed with every frame back.
func framesReturn(t testing.TB, links int) {
	t.Helper()
	audits.Lock()
	audits.closed, audits.lost = 0, nil
	audits.Unlock()
	t.Cleanup(func() {
		audits.Lock()
		defer audits.Unlock()
		if audits.closed != links || audits.lost != nil {
			t.Errorf("%d links of %d were closed; of these, frames were out: %v", audits.closed, links, audits.lost)
		}
	})
}
