package stamp

import (
	_ "unsafe" // for go:linkname
)

// Kind is the place that an [Event] tells of.
type Kind uint32

// The places. Where two have the same time, the one that stands first here was first. enum kind of kernel.c has the kernel's.
const (
	Transmitted Kind = iota + 1 // the driver has a packet to send
	Arrived                     // a packet has come from the driver: XDP begins with it, or without XDP the kernel's stack
	Copied                      // it is in the socket's RX ring, which the driver publishes when its poll ends

	CallBegun
	Received // Link.Recv, or the socket's read, has returned a packet
	HandlerBegun
	HandlerEnded
	Sent         // Link.Send, or the socket's write, begins
	Flushed      // Link.Flush begins
	CallReturned // to the caller
	CallEnded    // the reply was compared and released
	kinds
)

// NumKinds is above every Kind.
const NumKinds = int(kinds)

// An Event is one stamp.
type Event struct {
	At     int64  // CLOCK_MONOTONIC, ns
	Number uint32 // of the call, for calls and handlers; else the bytes of the packet, or 0
	Kind   Kind
}

// Now reads CLOCK_MONOTONIC, in ns.
//
// Package time gives the difference of two readings only, and clock_gettime as a system call takes ten times as long. The runtime keeps
// nanotime as it is for those who link to it (runtime/time_nofake.go in Go 1.23).
//
//go:linkname Now runtime.nanotime
func Now() int64

// A log is what one owner has recorded: it takes no lock, and no memory after it was made.
type log struct {
	events []Event
	lost   int // events for which there was no room
}

func newLog(capacity int) log { return log{events: make([]Event, 0, capacity)} }

func (l *log) add(e Event) {
	if len(l.events) == cap(l.events) {
		l.lost++
		return
	}
	l.events = append(l.events, e)
}
