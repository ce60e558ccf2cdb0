package xdp

import (
	"encoding/binary"

	"github.com/fastrpc/fastrpc/internal/netpath"
	"github.com/fastrpc/fastrpc/transport"
)

// Path.Opaque says how a packet to a peer leaves. There are three forms, told apart by the flags:
//
//	0             bytes 0-5 the next hop's MAC, 6-7 the VLAN ID: the way back of a received packet
//	followed      bytes 0-3 the number of a peer in device.peers, whose MAC and VLAN follow the neighbour table: a resolved path
//	viaKernel     bytes 0-3 the interface's index: the packet came through the kernel's socket, and so do replies
const (
	opaqueVLAN  = 6
	opaqueFlags = 8

	viaKernel = 1
	followed  = 2
)

func putNextHop(opaque *[10]byte, mac [6]byte, vlan uint16) {
	*(*[6]byte)(opaque[:6]) = mac
	binary.BigEndian.PutUint16(opaque[opaqueVLAN:], vlan)
	opaque[opaqueFlags], opaque[opaqueFlags+1] = 0, 0
}

func kernelPath(p *transport.Path, ifindex uint32) {
	binary.BigEndian.PutUint32(p.Opaque[:], ifindex)
	p.Opaque[opaqueFlags] = viaKernel
}

func kernelIfindex(p *transport.Path) uint32 { return binary.BigEndian.Uint32(p.Opaque[:]) }

func followPeer(p *transport.Path, peer uint32) {
	binary.BigEndian.PutUint32(p.Opaque[:], peer)
	p.Opaque[opaqueFlags] = followed
}

// headerCacheSize is the number of paths whose headers stay prepared: 32 KiB, what a core's first-level cache holds.
const headerCacheSize = 256

// headerCache keeps the prepared headers of the paths that were used last, by a hash of the path. A path that is not there costs some 50 ns.
type headerCache struct {
	generation uint64 // of device.generation that the entries were made with
	entries    [headerCacheSize]struct {
		path   transport.Path
		header netpath.Header
	}
}

// follow forgets everything when a neighbour or the interface itself has another address than before.
func (c *headerCache) follow(d *device) {
	if now := d.generation.Load(); now != c.generation {
		c.generation = now
		clear(c.entries[:])
	}
}

// of returns the headers of packets to p.
func (c *headerCache) of(p *transport.Path, d *device) (*netpath.Header, error) {
	hash := (binary.NativeEndian.Uint32(p.RemoteIP[12:]) ^ uint32(p.RemotePort)<<16 ^ uint32(p.LocalPort)) * 0x9e3779b1 // Fibonacci hashing
	e := &c.entries[hash>>24]
	if e.path != *p || e.header.Len() == 0 {
		h, err := d.makeHeader(p)
		if err != nil {
			return nil, err
		}
		e.path, e.header = *p, h
	}
	return &e.header, nil
}

func (d *device) makeHeader(p *transport.Path) (netpath.Header, error) {
	f := netpath.Flow{
		SrcMAC: unpackMAC(d.mac.Load()), SrcIP: p.LocalIP, DstIP: p.RemoteIP, SrcPort: p.LocalPort, DstPort: p.RemotePort,
	}
	if p.Opaque[opaqueFlags]&followed != 0 {
		f.DstMAC, f.VLAN = d.peers.nextHop(binary.BigEndian.Uint32(p.Opaque[:]))
	} else {
		f.DstMAC, f.VLAN = [6]byte(p.Opaque[:6]), binary.BigEndian.Uint16(p.Opaque[opaqueVLAN:])
	}
	return netpath.MakeHeader(f)
}

// packMAC makes a MAC and a VLAN ID one word, to be replaced at once.
func packMAC(mac [6]byte, vlan uint16) uint64 {
	return uint64(vlan)<<48 | uint64(binary.BigEndian.Uint16(mac[:]))<<32 | uint64(binary.BigEndian.Uint32(mac[2:]))
}

func unpackMAC(w uint64) (mac [6]byte) {
	binary.BigEndian.PutUint16(mac[:], uint16(w>>32))
	binary.BigEndian.PutUint32(mac[2:], uint32(w))
	return mac
}
