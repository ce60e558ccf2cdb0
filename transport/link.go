// Package transport joins the protocol to the hardware: [Link] is the one interface between the session core and what moves its packets.
//
// A Link sends and receives bursts of frames without copying, blocking or allocating. Everything outside the session's own bytes, layers 2
// to 4 and their checksums, belongs to the Link. Drivers register by scheme ([Register]), as database/sql drivers do, so that a program
// links in only the drivers that it imports.
package transport

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// Time is a point on the process's monotonic clock, in nanoseconds. The zero Time stands for none.
type Time int64

var clockBase = time.Now().Add(-time.Hour) // so that every Now is positive

// Now reads the monotonic clock.
func Now() Time { return Time(time.Since(clockBase)) }

// Add returns the time d later.
func (t Time) Add(d time.Duration) Time { return t + Time(d) }

// Sub returns the duration from u to t.
func (t Time) Sub(u Time) time.Duration { return time.Duration(t - u) }

// Path says how a packet reaches a peer, or how one came from it. It is comparable; what only the Link understands stands in Opaque.
type Path struct {
	RemoteIP   [16]byte // IPv4 as an IPv4-mapped address
	LocalIP    [16]byte
	RemotePort uint16
	LocalPort  uint16
	MTU        uint16   // the largest Frame.Data that this path carries in one packet, bytes
	Opaque     [10]byte // the Link's own: MAC and VLAN, address handle, interface index, ...
}

// Remote returns the peer's address. A zone of a link-local address is not part of it.
func (p *Path) Remote() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(p.RemoteIP).Unmap(), p.RemotePort)
}

// Local returns this end's address.
func (p *Path) Local() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(p.LocalIP).Unmap(), p.LocalPort)
}

// A Frame is a lease on one of a Link's packet buffers. It is a value: its copies name the same buffer, ID.
//
// Who owns the buffer: the Link, until Alloc or Recv hands it out; the caller, until Send or Free takes it. A sent frame is in flight until
// Completed returns it; in flight its bytes may be read (for a retransmission from a copy) but not written. After Completed it is the
// caller's again, to send once more or to Free.
type Frame struct {
	// Data is the session's part of the packet. From Alloc its length is the whole capacity; the sender cuts it to the length to send
	// and never moves its start. From Recv it is exactly what was received, in one piece.
	Data  []byte
	Path  Path   // to send: the destination; received: the way back to the sender
	Stamp Time   // received: when the Link saw it (one clock reading a burst)
	ID    uint32 // the buffer's number, below Caps.Frames
	ECN   uint8  // received: the two ECN bits; to send: the codepoint to set
}

// Caps is what a Link offers; it does not change over the Link's life.
type Caps struct {
	Scheme     string // of the driver: "xdp", "udp", ...
	Name       string // for people: "xdp eth0 queue 3 (native, zero-copy)"
	Frames     int    // buffers in all; every Frame.ID is below it
	FrameBytes int    // capacity of Frame.Data, bytes
	Burst      int    // most frames that one Send or Recv takes
	Reliable   bool   // nothing sent is lost or damaged while the peer is connected; Ordered as well. See PeerClosed
	Ordered    bool   // per path
	ECN        bool   // Frame.ECN is set and honoured
	FetchLeast int    // the Link is a Fetcher, and a message of so many bytes or more is worth fetching; 0: it is none

	// BurstDelay is how long the Link itself takes to send a full burst, because the kernel copies each packet, say. Congestion control
	// does not take it for a queue in the network. 0: no time to speak of.
	BurstDelay time.Duration
}

// FrameCounts says where a Link's buffers are at this moment; the sum of all fields is Caps.Frames, always.
type FrameCounts struct {
	Free     int // in the Link, ready for Alloc
	Receive  int // in the Link, waiting to be filled by the device
	Borrowed int // handed out by Alloc, Recv or Completed
	InFlight int // taken by Send, not yet returned by Completed
}

// EventKind tells Events apart.
type EventKind uint8

// The kinds of Event.
const (
	Unreachable   EventKind = iota + 1 // the network refused a packet to Path (ICMP); Err says how
	LinkDown                           // the interface lost its carrier, or was deleted
	LinkUp                             // it is back
	MTUChanged                         // Path, or all paths where it is zero, now carry Path.MTU
	PeerConnected                      // reliable links: the connection with Path's peer stands, a new one perhaps
	PeerClosed                         // reliable links: it has ended, and what was sent last may be lost
)

// An Event is what a Link has to say beside packets.
type Event struct {
	Kind EventKind
	Path Path
	Err  error
}

// Link moves frames over one queue of a device or one socket. Unless a method says otherwise it belongs to one goroutine at a time (the
// engine that polls it) and neither blocks nor allocates. After Close, Send and Recv return ErrClosed, Alloc returns false.
//
// A reliable Link carries packets over connections, one a peer, that its caller does not see but for two Events. It opens one with the first
// Send to a peer, or in Resolve, or accepts it. When a connection ends, PeerClosed tells that frames which completed may never have arrived;
// those that had not completed do so, and are lost. The next Send to the peer opens another one, if this Link is the one that opens them, and
// otherwise loses its frames until the peer has; PeerConnected tells of it, after the PeerClosed of the last. One that cannot be opened is
// Unreachable. The Link orders packets within a connection alone, but never delivers one of an earlier connection after one of a later.
type Link interface {
	// Caps describes the Link. Callable from any goroutine.
	Caps() Caps

	// Resolve finds the path from the local address (its port counts; an unspecified IP means any) to a remote one: route, neighbour,
	// address handle. It may block, until ctx ends at the latest; callable from any goroutine.
	Resolve(ctx context.Context, local, remote netip.AddrPort) (Path, error)

	// Alloc sets f's ID and Data to a free frame to send; false when there is none. Its other fields are left as they are.
	Alloc(f *Frame) bool

	// Send takes the first n frames into flight. n < len(fs) without an error means that the device is full for now: Flush, and try
	// again later. An error concerns frame fs[n], which stays the caller's; the frames behind it were not looked at.
	Send(fs []Frame) (n int, err error)

	// Flush makes the device look at what was sent: one system call a burst at most, none where the device needs none.
	Flush() error

	// Completed fills fs with frames whose flight ended and returns how many; they are the caller's again.
	Completed(fs []Frame) int

	// Recv fills fs with received packets and returns how many; the frames are borrowed until Free.
	Recv(fs []Frame) (n int, err error)

	// Free gives back frames that came from Alloc, Recv or Completed; it looks at their IDs alone. A frame in flight, or one given back
	// already, panics.
	Free(fs []Frame)

	// Events fills es with what happened since the last call and returns how many.
	Events(es []Event) int

	// Wait parks until a packet can be received, Wake was called (since the last Wait returned), or until has come; zero means without
	// a limit. It may return early. While it waits, other goroutines may use the Link if the waiter does not touch it again before
	// they are done: Wait itself touches nothing that the other methods use.
	Wait(until Time) error

	// Wake ends the Wait in progress, or else the next one. Callable from any goroutine, also after Close.
	Wake()

	// Counts says where the frames are.
	Counts() FrameCounts

	// Close drops one reference (see Port); the last releases all that the Link holds. For that one no other method may be in use.
	Close() error
}

// ErrClosed is what a closed Link answers.
var ErrClosed = errors.New("transport: link is closed")
