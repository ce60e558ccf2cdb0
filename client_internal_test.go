package fastrpc

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/fastrpc/fastrpc/internal/engine"
	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/sim"
)

var errRelease = errors.New("the port cannot be released")

// stuckDriver's ports lead nowhere, and their Close fails.
type stuckDriver struct{}

type stuckPort struct{ link transport.Link }

func init() { transport.Register("stuck", stuckDriver{}) }

func (stuckDriver) Listen(context.Context, transport.Target) (transport.Port, error) {
	return nil, errors.ErrUnsupported
}

func (stuckDriver) Dial(context.Context, transport.Target, netip.AddrPort) (transport.Port, error) {
	near, far := sim.Pipe(sim.LinkOptions{})
	return stuckPort{near}, far.Close()
}

func (p stuckPort) Links() []transport.Link { return []transport.Link{p.link} }
func (p stuckPort) Local() netip.AddrPort   { return netip.MustParseAddrPort("192.0.2.1:9000") }
func (p stuckPort) Close() error            { return errRelease }

// What goes wrong in giving a port up after a failed dial is told with the dial's own error.
func TestFailedDialTellsFailedRelease(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Dial(ctx, "stuck://192.0.2.7:9000", WithInsecure(), WithPark())
	if !errors.Is(err, errRelease) || CodeOf(err) != Canceled {
		t.Errorf("%v (%v), want Canceled and %q", err, CodeOf(err), errRelease)
	}
}

// An error that stands beside a call's is not lost, and its code and outcome stay.
func TestWrapKeepsWhatStandsBeside(t *testing.T) {
	refused := &engine.CallError{Code: engine.Code(ResourceExhausted), Outcome: engine.NotExecuted, Reason: "too many sessions"}
	err := wrap("dial", Unavailable, OutcomeUnknown, errors.Join(refused, errRelease))
	if CodeOf(err) != ResourceExhausted || OutcomeOf(err) != NotExecuted || !errors.Is(err, errRelease) ||
		!strings.Contains(err.Error(), "too many sessions") {
		t.Errorf("%v (%v, %v)", err, CodeOf(err), OutcomeOf(err))
	}
	if got := wrap("dial", Unavailable, OutcomeUnknown, refused).Error(); got != "fastrpc: dial: ResourceExhausted: too many sessions" {
		t.Errorf("alone: %q", got)
	}
}
