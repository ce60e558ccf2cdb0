// Package linktest is the conformance suite that every transport.Link passes: one subtest for each clause of the contract.
package linktest

import (
	"net/netip"
	"testing"

	"github.com/fastrpc/fastrpc/transport"
)

// Pair is two open Links that reach each other. Nothing else uses them, and all their frames are at home.
type Pair struct {
	A, B         transport.Link
	AddrA, AddrB netip.AddrPort // what the other side resolves

	// Unreachable is an address that A cannot resolve; the zero value leaves that clause out.
	Unreachable netip.AddrPort
	// Clock is the time of Links in virtual time, both ends of which belong to one goroutine together. Nil: transport.Now, and two goroutines.
	Clock func() transport.Time
	// Inject sends raw bytes to B from outside, as from a stranger; nil: B gets garbage from A alone.
	Inject func(packet []byte)
}

// Run tests the Links that open returns, a fresh pair for each subtest. Run closes them, unless a subtest has done so already.
func Run(t *testing.T, open func(t *testing.T) Pair) {}
