package session

// Stats counts what an endpoint did, and why it dropped what it dropped.
type Stats struct {
	Packets uint64 // received
	Sent    uint64 // packets

	Malformed      uint64 // of no known layout, or contradicting themselves
	Corrupt        uint64 // with a wrong checksum
	WrongPath      uint64 // of a session, from another address than its peer's
	UnknownSession uint64
	Misdirected    uint64 // of another endpoint of this process
	Stale          uint64 // answers to a handshake that is over, or never was
	Duplicates     uint64 // packets, requests or replies received before

	Lost          uint64 // sent packets that count as lost
	Retransmitted uint64 // messages and fragments sent again
	Spurious      uint64 // packets that counted as lost and were only late
	ProbeTimeouts uint64
	Probes        uint64 // for overdue replies
	Unsendable    uint64 // packets that the link refused

	Calls             uint64 // started by this end's clients
	CallsFailed       uint64 // of these, ended without a reply of the server's
	Requests          uint64 // whole requests that arrived
	Expired           uint64 // of these, refused because their deadline had passed
	CallsRefused      uint64 // for want of a record: Config.Calls
	NoFrame           uint64 // times that the link had no free frame
	ReassemblyRefused uint64 // messages over the budget
	Stalled           uint64 // long messages given up: their sender, or their receiver, did not go on

	Exposed       uint64 // parts of messages that receivers were to fetch
	Fetched       uint64 // parts that this end has
	FetchesFailed uint64

	SessionsAccepted  uint64
	SessionsRefused   uint64 // for want of room
	SessionsClosed    uint64
	HandshakesRefused uint64 // for any reason
	Retries           uint64 // Hellos answered with a token
	AnswersDropped    uint64 // to handshakes, for want of room in the burst
	PeersSilent       uint64 // peers given up for missing heartbeats
	Migrations        uint64 // sessions whose client has moved to another address
	PathsNarrowed     uint64 // times that a session went on with shorter packets
}

// Stats returns the counters.
func (e *Endpoint) Stats() Stats { return e.stats }
