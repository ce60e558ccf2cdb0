// Package linktest is the conformance suite that every transport.Link passes: one subtest for each clause of the contract.
//
//	func TestLink(t *testing.T) {
//		linktest.Run(t, func(t *testing.T) linktest.Pair { ... })
//	}
//
// Links that lose, repeat or reorder packets are fine, ones that damage them are not: where the contract allows a loss, the suite sends
// again, a bounded number of times. It never sleeps; what it waits for, it waits for with Link.Wait.
package linktest

import (
	"net/netip"
	"testing"

	"github.com/fastrpc/fastrpc/transport"
)

// Pair is two open Links that reach each other. Nothing else uses them, and all their frames are at home.
type Pair struct {
	A, B         transport.Link
	AddrA, AddrB netip.AddrPort // where each listens, as the other sees it

	// Unreachable is an address that A.Resolve must refuse, when its context ends at the latest; the zero value leaves that clause out.
	Unreachable netip.AddrPort
	// Clock is the time of Links in virtual time (see RunVirtual); nil: transport.Now.
	Clock func() transport.Time
	// Inject sends raw bytes to B from outside, as from a stranger; nil: B gets garbage from A alone.
	Inject func(packet []byte)
}

type clause struct {
	name string
	run  func(*pair)
}

var clauses = []clause{
	{"Caps", testCaps},
	{"Bytes/EverySize", testEverySize},
	{"Bytes/Burst", testBurst},
	{"Bytes/MoreThanTheDeviceHolds", testOverload},
	{"Bytes/ECN", testECN},
	{"Bytes/Garbage", testGarbage},
	{"Path/Reply", testReply},
	{"Path/Stable", testStablePath},
	{"Path/Resolve", testResolve},
	{"Path/Oversize", testOversize},
	{"Frames/Accounting", testAccounting},
	{"Frames/Exhausted", testExhausted},
	{"Frames/CompletedOnce", testCompletedOnce},
	{"Frames/ReceiverStarved", testStarved},
	{"Frames/FreePanics", testFreePanics},
	{"Frames/NoAllocation", testNoAllocation},
	{"Wait/Packet", testWaitPacket},
	{"Wait/Until", testWaitUntil},
	{"Wait/Wake", testWake},
	{"Close", testClose},
	{"Soak", testSoak},
}

// concurrent are the clauses about Links whose ends belong to a goroutine each.
var concurrent = []clause{
	{"Wait/OthersUseTheLink", testWaitShared},
	{"TwoGoroutines", testTwoGoroutines},
}

// Run tests the Links that open returns, a fresh pair for each subtest. Run closes them.
func Run(t *testing.T, open func(t *testing.T) Pair) {
	run(t, open, append(clauses[:len(clauses):len(clauses)], concurrent...))
}

// RunVirtual is Run for Links in virtual time, both ends of which belong to one goroutine together.
func RunVirtual(t *testing.T, open func(t *testing.T) Pair) { run(t, open, clauses) }

func run(t *testing.T, open func(t *testing.T) Pair, clauses []clause) {
	for _, c := range clauses {
		t.Run(c.name, func(t *testing.T) {
			p := newPair(t, open(t))
			defer p.close()
			c.run(p)
			p.settle()
		})
	}
}
