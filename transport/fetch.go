package transport

// Fetcher is a Link over which a receiver takes parts of long messages out of the sender's memory, as RDMA reads do, instead of packets: see
// "Long messages" in docs/protocol.md. A Link that is one says so in Caps.FetchLeast. The methods belong to the Link's owner, as the Link's
// own do, and neither block nor allocate.
type Fetcher interface {
	// Exposable is how many bytes Expose takes at once for the peer of a path: 0 while it takes none.
	Exposable(p *Path) int

	// Expose copies data, of at most Exposable bytes, to where the peer of a path may read it until Withdraw, or until the connection ends
	// that the Link has with the peer. A packet that tells of it has to be sent over that connection. False: there is none, by now.
	Expose(p *Path, data []byte) (e Exposed, ok bool)

	// Withdraw ends what Expose began; the ID may be another's from here on, and the memory is, once nobody can read it any more. If the peer
	// is about to read it still, the connection ends.
	Withdraw(id uint32)

	// Memory takes n bytes, which may hold anything, for Fetch to write to; nil: not now. FreeMemory gives them back. They are valid until
	// the Link is closed.
	Memory(n int) []byte
	FreeMemory(b []byte)

	// Fetch begins to read what peers have exposed. It takes all of fs, which are the caller's again when it returns; the memory of Into is the
	// Link's until Fetched has told of the end.
	Fetch(fs []Fetch)

	// Fetched fills fs with the Tag and Err of what has ended and returns how many; every Fetch ends, with its connection at the latest.
	Fetched(fs []Fetch) int
}

// Exposed is where a peer finds something.
type Exposed struct {
	Addr uint64
	Key  uint32
	ID   uint32 // for Withdraw: small numbers
}

// Fetch is a read of what a peer has exposed.
type Fetch struct {
	Path Path   // of the packet that told of it
	Into []byte // of Memory
	Addr uint64
	Key  uint32
	Tag  uint32 // the caller's
	Err  error  // of one that has ended: why it failed
}
