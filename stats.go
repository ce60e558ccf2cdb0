package fastrpc

import "github.com/fastrpc/fastrpc/internal/engine"

// QueueStats are the counters of one queue: of everything in the process that uses it, servers and clients. They count up from when the
// queue was opened, but for Sessions.
type QueueStats struct {
	Queue    string // "xdp eth0 queue 3 (native, zero-copy)"
	Sessions int    // open now

	// Packets.
	Packets uint64 // received
	Sent    uint64

	// Received packets that were dropped, by reason.
	Malformed      uint64 // of no known layout, or contradicting themselves
	Corrupt        uint64 // with a wrong checksum
	WrongPath      uint64 // of a session, from another address than its peer's
	UnknownSession uint64
	Misdirected    uint64 // of another queue of this process, which gets them
	Stale          uint64 // answers to a handshake that is over, or never was
	Duplicates     uint64 // packets, requests or replies received before

	// Recovery.
	Lost          uint64 // sent packets that count as lost
	Retransmitted uint64 // messages and fragments sent again
	Spurious      uint64 // packets that counted as lost and were only late
	ProbeTimeouts uint64 // times that no acknowledgement came when it should have
	Probes        uint64 // for overdue replies
	Unsendable    uint64 // packets that the link refused

	// Calls of clients, requests to servers.
	Calls             uint64            // started by clients
	CallsFailed       uint64            // of these, ended without a reply of the server's
	Requests          uint64            // whole requests that arrived
	Expired           uint64            // of these, refused because their deadline had passed
	CallsRefused      uint64            // over WithMaxCalls: calls refused, packets of requests dropped
	NoFrame           uint64            // times that the link had no free frame
	ReassemblyRefused uint64            // messages over WithReassembly
	Stalled           uint64            // long messages given up: their sender, or their receiver, did not go on
	Exposed           uint64            // parts of long messages that the peer may read out of this memory (RDMA)
	Fetched           uint64            // of these, read by this end out of the peer's
	FetchesFailed     uint64            // reads that failed: the part came in packets instead
	SlowHandlers      map[string]uint64 // by method: times that a handler of HandleInline held up its queue for over a millisecond

	// Sessions.
	SessionsAccepted  uint64
	SessionsRefused   uint64 // over WithMaxSessions
	SessionsClosed    uint64
	HandshakesRefused uint64 // for any reason
	Retries           uint64 // handshakes that had to prove their address first: many were under way
	AnswersDropped    uint64 // to handshakes, for want of room
	PeersSilent       uint64 // peers given up for missing heartbeats
	Migrations        uint64 // sessions that followed their client to another address
	PathsNarrowed     uint64 // times that a session went on with shorter packets

	// The polling loop.
	Parks        uint64 // times that it slept for want of work
	Forwarded    uint64 // packets handed to the queue that they belong to
	InboxDropped uint64 // packets that another queue handed over, for want of room
	LinkErrors   uint64 // that the link reported
}

// Stats returns the server's counters, a row for each queue.
func (s *Server) Stats() []QueueStats {
	s.mu.Lock()
	ports := s.ports
	s.mu.Unlock()
	var rows []QueueStats
	for _, p := range ports {
		rows = append(rows, queueStats(p.engines)...)
	}
	return rows
}

// Stats returns the client's counters, a row for each queue.
func (c *Client) Stats() []QueueStats { return queueStats(c.engines) }

func queueStats(engines []*engine.Engine) []QueueStats {
	rows := make([]QueueStats, 0, len(engines))
	for _, e := range engines {
		open, _ := e.Sessions()
		rows = append(rows, newQueueStats(e.Link().Caps().Name, open, e.Stats()))
	}
	return rows
}

func newQueueStats(queue string, open int, e engine.Stats) QueueStats {
	s := e.Session
	return QueueStats{
		Queue:    queue,
		Sessions: open,

		Packets: s.Packets,
		Sent:    s.Sent,

		Malformed:      s.Malformed,
		Corrupt:        s.Corrupt,
		WrongPath:      s.WrongPath,
		UnknownSession: s.UnknownSession,
		Misdirected:    s.Misdirected,
		Stale:          s.Stale,
		Duplicates:     s.Duplicates,

		Lost:          s.Lost,
		Retransmitted: s.Retransmitted,
		Spurious:      s.Spurious,
		ProbeTimeouts: s.ProbeTimeouts,
		Probes:        s.Probes,
		Unsendable:    s.Unsendable,

		Calls:             s.Calls,
		CallsFailed:       s.CallsFailed,
		Requests:          s.Requests,
		Expired:           s.Expired,
		CallsRefused:      s.CallsRefused,
		NoFrame:           s.NoFrame,
		ReassemblyRefused: s.ReassemblyRefused,
		Stalled:           s.Stalled,
		Exposed:           s.Exposed,
		Fetched:           s.Fetched,
		FetchesFailed:     s.FetchesFailed,
		SlowHandlers:      e.SlowHandlers,

		SessionsAccepted:  s.SessionsAccepted,
		SessionsRefused:   s.SessionsRefused,
		SessionsClosed:    s.SessionsClosed,
		HandshakesRefused: s.HandshakesRefused,
		Retries:           s.Retries,
		AnswersDropped:    s.AnswersDropped,
		PeersSilent:       s.PeersSilent,
		Migrations:        s.Migrations,
		PathsNarrowed:     s.PathsNarrowed,

		Parks:        e.Parks,
		Forwarded:    e.Forwarded,
		InboxDropped: e.InboxDropped,
		LinkErrors:   e.LinkErrors,
	}
}
