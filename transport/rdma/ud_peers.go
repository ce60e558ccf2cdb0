//go:build rdma

package rdma

import (
	"sync"

	verbs "github.com/fastrpc/fastrpc/rdma"
	"github.com/fastrpc/fastrpc/transport"
)

// peers are the hosts that a Link knows, by address. They belong to its owner, but for what others tell.
type peers struct {
	known map[[16]byte]*peer
	last  *peer // most packets come from the same as the one before

	mu   sync.Mutex
	told map[[16]byte]told
}

// peer is a host: all its queue pairs have one way to them.
type peer struct {
	ip [16]byte
	ah *verbs.AH // nil: not made yet
	told
}

// told is what is known of a host.
type told struct {
	mtu uint16 // that it said it has
	lid uint16 // of its port, over InfiniBand
}

// maxPeers bounds them; a host that comes above makes the Link forget all.
const maxPeers = 4096

func newPeers() peers {
	return peers{known: map[[16]byte]*peer{}, told: map[[16]byte]told{}}
}

// get finds the peer of an address, or begins one; nil: there are too many.
func (p *peers) get(l *UD, ip *[16]byte) *peer {
	if p.last != nil && p.last.ip == *ip {
		return p.last
	}
	found := p.known[*ip]
	if found == nil {
		if len(p.known) >= maxPeers && !p.forget(l) {
			return nil
		}
		found = &peer{ip: *ip, told: p.toldOf(l, ip)}
		p.known[*ip] = found
	}
	p.last = found
	return found
}

// find is get for somebody to send to. nil without an error: not now. It makes the address handle the first time, which may wait for the
// host's MAC address.
func (p *peers) find(l *UD, path *transport.Path) (*peer, error) {
	found := p.get(l, &path.RemoteIP)
	if found == nil || found.ah != nil {
		return found, nil
	}
	ah, err := l.pd.CreateAH(l.spot.from.To(l.spot.port, verbs.GID(path.RemoteIP), found.lid))
	if err != nil {
		return nil, err
	}
	found.ah = ah
	return found, nil
}

// heard notes whose datagram came from which LID, and gives the host's MTU in bytes.
func (p *peers) heard(l *UD, ip *[16]byte, lid uint16) uint16 {
	if found := p.get(l, ip); found != nil {
		found.lid = lid
		return found.mtu
	}
	return uint16(l.mtu)
}

// forget drops all peers; false: frames are in flight, which the card still needs the handles for.
func (p *peers) forget(l *UD) bool {
	if l.posted.len > 0 {
		return false
	}
	p.close()
	clear(p.known)
	p.last = nil
	return true
}

func (p *peers) close() {
	for _, k := range p.known {
		if k.ah != nil {
			_ = k.ah.Close() // what it fails for is the device's end, which others report
		}
	}
}

// tell remembers what a host said about itself. Callable from any goroutine.
func (p *peers) tell(ip [16]byte, mtu, lid uint16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.told) >= maxPeers {
		clear(p.told)
	}
	p.told[ip] = told{mtu, lid}
}

func (p *peers) toldOf(l *UD, ip *[16]byte) told {
	p.mu.Lock()
	defer p.mu.Unlock()
	about, ok := p.told[*ip]
	if !ok || about.mtu > uint16(l.mtu) {
		about.mtu = uint16(l.mtu)
	}
	return about
}
