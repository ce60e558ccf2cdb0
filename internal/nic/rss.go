package nic

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// RSS is how receive-side scaling chooses a queue: a hash of the packet's addresses and ports, cut to the size of the indirection table,
// which names the queue.
type RSS struct {
	Key   []byte   // of the hash; 40 bytes for most. Empty where the device does not tell
	Table []uint32 // queue by the hash's low bits
	Hash  HashFunc
	// Input is changed before it is hashed, so that both directions of a flow have the same hash (RXH_XFRM_*; Linux 6.8); 0 for most.
	Symmetric uint8
}

// HashFunc is the function that RSS uses.
type HashFunc uint8

// The hash functions of linux/ethtool.h and include/linux/ethtool.h (ETH_RSS_HASH_*), whose bits they are.
const (
	HashToeplitz HashFunc = 1 << iota
	HashXOR
	HashCRC32
)

func (h HashFunc) String() string {
	switch h {
	case HashToeplitz:
		return "toeplitz"
	case HashXOR:
		return "xor"
	case HashCRC32:
		return "crc32"
	}
	return fmt.Sprintf("function %d", uint8(h))
}

// struct ethtool_rxfh (linux/ethtool.h): u32 cmd, rss_context, indir_size, key_size, u8 hfunc, u8 input_xfrm, u8 rsvd8[2], u32 rsvd32,
// then the table and the key.
const (
	rxfhContext   = 4
	rxfhTableSize = 8
	rxfhKeySize   = 12
	rxfhFunc      = 16
	rxfhInput     = 17
	rxfhBytes     = 24

	maxRSSTable = 1 << 16 // bounds what a driver may claim; the largest known have 4,096
	maxRSSKey   = 1 << 10
)

// RSS asks for the key and the indirection table of the device's default context.
func (d *Device) RSS() (RSS, error) {
	const what = "receive-side scaling"
	head := request(unix.ETHTOOL_GRSSH, rxfhBytes)
	if err := d.ask(what, head); err != nil { // sizes of zero: it answers with those that it has
		return RSS{}, err
	}
	table, key := binary.NativeEndian.Uint32(head[rxfhTableSize:]), binary.NativeEndian.Uint32(head[rxfhKeySize:])
	if table > maxRSSTable || key > maxRSSKey {
		return RSS{}, fmt.Errorf("nic: %s of interface %d: a table of %d entries and a key of %d bytes cannot be", what, d.index, table, key)
	}
	if table == 0 && key == 0 {
		return RSS{}, fmt.Errorf("nic: %s of interface %d: %w", what, d.index, errors.ErrUnsupported)
	}
	r := request(unix.ETHTOOL_GRSSH, int(rxfhBytes+4*table+key))
	binary.NativeEndian.PutUint32(r[rxfhTableSize:], table)
	binary.NativeEndian.PutUint32(r[rxfhKeySize:], key)
	if err := d.ask(what, r); err != nil {
		return RSS{}, err
	}
	s := RSS{Hash: HashFunc(r[rxfhFunc]), Symmetric: r[rxfhInput], Table: make([]uint32, table), Key: r[rxfhBytes+4*table:]}
	for i := range s.Table {
		s.Table[i] = binary.NativeEndian.Uint32(r[rxfhBytes+4*i:])
	}
	return s, nil
}

// HashFields say what of a packet goes into the hash (RXH_*, linux/ethtool.h).
type HashFields uint64

// The fields. Fragments have no ports, so drivers often leave them out of UDP's hash by default.
const (
	HashIPSource HashFields = 1 << 4
	HashIPDest   HashFields = 1 << 5
	HashPorts    HashFields = 1<<6 | 1<<7 // both; RXH_L4_B_0_1 and RXH_L4_B_2_3
)

// UDPHashFields asks what of a UDP packet is hashed. 'ethtool -N eth0 rx-flow-hash udp4 sdfn' has the ports in.
func (d *Device) UDPHashFields(ipv6 bool) (HashFields, error) {
	r := request(unix.ETHTOOL_GRXFH, rxnfcBytes)
	binary.NativeEndian.PutUint32(r[rxnfcFlow:], udpFlow(ipv6))
	if err := d.ask("hash fields", r); err != nil {
		return 0, err
	}
	return HashFields(binary.NativeEndian.Uint64(r[rxnfcData:])), nil
}

const newContext = 0xffffffff // ETH_RXFH_CONTEXT_ALLOC

// AddContext makes an RSS context: an indirection table of its own, over the given queues in turn, for the packets that rules send to it. Few
// drivers have them.
func (d *Device) AddContext(queues []int) (context uint32, err error) {
	s, err := d.RSS()
	if err != nil {
		return 0, err
	}
	if len(s.Table) == 0 {
		return 0, fmt.Errorf("nic: RSS context of interface %d: no indirection table: %w", d.index, errors.ErrUnsupported)
	}
	r := request(unix.ETHTOOL_SRSSH, rxfhBytes+4*len(s.Table))
	binary.NativeEndian.PutUint32(r[rxfhContext:], newContext)
	binary.NativeEndian.PutUint32(r[rxfhTableSize:], uint32(len(s.Table)))
	for i := range s.Table {
		binary.NativeEndian.PutUint32(r[rxfhBytes+4*i:], uint32(queues[i%len(queues)]))
	}
	if err := d.ask(fmt.Sprintf("RSS context over queues %v", queues), r); err != nil {
		return 0, err
	}
	return binary.NativeEndian.Uint32(r[rxfhContext:]), nil
}

// DeleteContext removes an RSS context that no rule uses any more; it is no error when there is none.
func (d *Device) DeleteContext(context uint32) error {
	r := request(unix.ETHTOOL_SRSSH, rxfhBytes) // a table of no entries deletes
	binary.NativeEndian.PutUint32(r[rxfhContext:], context)
	if err := d.ask(fmt.Sprintf("deleting RSS context %d", context), r); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}
