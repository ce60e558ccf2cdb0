package xdp

import (
	"github.com/fastrpc/fastrpc/afxdp"
	"github.com/fastrpc/fastrpc/bpf"
)

// Stats says what a Link was granted and what became of its packets. Reach it through interface{ Stats() Stats }.
type Stats struct {
	Interface  string
	Queue      int
	Mode       bpf.Mode // native or generic
	ZeroCopy   bool
	WhyGeneric error `json:"-"` // why native mode was refused, where it was asked for and refused
	WhyUnseen  error `json:"-"` // why 'fastrpc capture' and 'fastrpc stats' cannot look at the interface, where they cannot

	Received      uint64 // packets from the queue that Recv handed out
	ReceivedBytes uint64 // from the queue, headers included, also of packets that were dropped
	Sent          uint64 // packets into the queue
	SentBytes     uint64 // into the queue, likewise
	ViaKernel     uint64 // of Recv: packets that came through the kernel's socket: fragments, local senders, queues without a socket
	SentViaKernel uint64 // packets of Send that went out through it, because what they answer had come through it

	Malformed   uint64 // dropped: headers that do not fit the packet
	NotOurs     uint64 // dropped: for an address that no Port listens on
	Denied      uint64 // dropped: from outside of the allowed prefixes, which the program left to the kernel's socket
	TooLong     uint64 // dropped: a packet of several buffers, or of a kernel socket, that does not fit into a frame
	SendDropped uint64 // dropped: refused by the kernel's socket
	NoFrame     uint64 // times that Alloc or a kernel socket's packet found no frame, or one of several buffers, which is then dropped, too few
	TxFull      uint64 // times that Send found the TX ring full
	KickRetries uint64 // times that Flush had to leave packets in the TX ring for the next one
	EventsLost  uint64 // events that nobody collected in time

	Rules        int    // n-tuple rules of ours at the card, of the whole interface: what sends our ports' packets to our queues, if those are not all
	RulesRefused uint64 // times that the card, or its driver, refused a rule or a setting
	WhyRefused   string // the latest refusal
	Polling      Polling

	Socket   afxdp.Stats  // the queue's XDP_STATISTICS
	Steering bpf.Counters // of the whole interface: what became of everything that it received
}

// Stats belongs to the Link's owner like the methods of transport.Link. It makes system calls.
func (l *Link) Stats() Stats {
	s := l.stats
	s.Interface, s.Queue = l.dev.name, l.queue
	s.Mode, s.ZeroCopy, s.WhyGeneric = l.dev.prog.Mode(), l.zeroCopy, l.dev.prog.WhyGeneric()
	s.WhyUnseen = l.dev.whyUnseen
	s.EventsLost = l.events.lostCount()
	s.Rules, s.RulesRefused, s.WhyRefused = l.dev.card.report()
	s.Polling = l.measurePolling(l.napi, s.Received)
	s.Socket, _ = l.socket.Stats()        // zero once closed
	s.Steering, _ = l.dev.prog.Counters() // zero once detached
	return s
}
