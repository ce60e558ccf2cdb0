package rdma

import "net/netip"

// Port is a port's state.
type Port struct {
	Device   string
	Number   int // from 1
	Active   bool
	State    string // as libibverbs names it: "active"
	Ethernet bool   // RoCE; else InfiniBand
	MTU      int    // bytes; the largest datagram
	MaxMTU   int
	MaxBytes int    // of a message of a reliable connection
	LID      uint16 // InfiniBand
	GIDs     []GIDEntry
}

// Usable is nil for a port that is active, else an ErrNoPort.
func (p *Port) Usable() error {
	if p.Active {
		return nil
	}
	return failedAs(ErrNoPort, "ibv_query_port", 0, "port %d of %s is %s: is its cable in, and its network interface up ('rdma link', 'ip link')?",
		p.Number, p.Device, p.State)
}

// GID chooses the row of the port's GID table with an index, or the best one for a peer (see ChooseGID) if index is negative. The error is an
// ErrNoGID.
func (p *Port) GID(index int, peer netip.Addr) (GIDEntry, error) {
	if index < 0 {
		if e, ok := ChooseGID(p.GIDs, peer); ok {
			return e, nil
		}
		return GIDEntry{}, failedAs(ErrNoGID, "ibv_query_gid_table", 0, "port %d of %s has no address that reaches %v: give its network interface one "+
			"of that IP version ('ip addr add')", p.Number, p.Device, peer)
	}
	rows := make([]string, 0, len(p.GIDs))
	for _, e := range p.GIDs {
		if e.Index == index {
			return e, nil
		}
		rows = append(rows, e.String())
	}
	return GIDEntry{}, failedAs(ErrNoGID, "ibv_query_gid_table", 0, "port %d of %s has no GID with index %d; it has %q", p.Number, p.Device, index, rows)
}

// Row is the best row of the port's table with a GID, such as Route.GID tells: RoCE has one for each version. The error is an ErrNoGID.
func (p *Port) Row(gid GID) (GIDEntry, error) {
	var rows []GIDEntry
	for _, e := range p.GIDs {
		if e.GID == gid {
			rows = append(rows, e)
		}
	}
	if e, ok := ChooseGID(rows, netip.Addr{}); ok {
		return e, nil
	}
	return GIDEntry{}, failedAs(ErrNoGID, "ibv_query_gid_table", 0, "port %d of %s has no GID %v", p.Number, p.Device, gid)
}
