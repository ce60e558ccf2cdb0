package bpf

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
)

// MaxPrefixes is the longest list that SetPrefixes takes.
const MaxPrefixes = 1024

// AllowPort makes a UDP destination port ours, on every queue of this Program's. A port that is ours already is no error. Another's program
// ([UseSocketMap]) takes the ports that it takes: AllowPort and DenyPort change nothing about it.
func (p *Program) AllowPort(port uint16) error { return p.setPort(port, true) }

// DenyPort gives a port back to the kernel. A port that is not ours is no error.
func (p *Program) DenyPort(port uint16) error { return p.setPort(port, false) }

func (p *Program) setPort(port uint16, ours bool) error {
	if port == 0 {
		return errors.New("bpf: port 0 is no port: steer the one that the kernel chose")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.checkOpen(); err != nil {
		return err
	}
	index, bit := uint32(port/64), uint64(1)<<(port%64)
	word := p.ports[index] &^ bit
	if ours {
		word |= bit
	}
	if p.objs.Ports != nil && len(p.owned) > 0 {
		keys, words := make([]uint32, len(p.owned)), make([]uint64, len(p.owned))
		for i, queue := range p.owned {
			keys[i], words[i] = queue*portWords+index, word
		}
		if _, err := p.objs.Ports.BatchUpdate(keys, words, nil); err != nil {
			return fmt.Errorf("bpf: steering of port %d: %w", port, err)
		}
	}
	p.ports[index] = word
	return nil
}

// portWords is PORT_WORDS of steer.c.
const portWords = 65536 / 64

// setPorts writes all ports of a queue.
func (p *Program) setPorts(queue uint32, words *[portWords]uint64) error {
	if p.objs.Ports == nil {
		return nil
	}
	var keys [portWords]uint32
	for i := range keys {
		keys[i] = queue*portWords + uint32(i)
	}
	if _, err := p.objs.Ports.BatchUpdate(keys[:], words[:], nil); err != nil {
		return fmt.Errorf("bpf: the ports of queue %d: %w", queue, err)
	}
	return nil
}

// SetPrefixes replaces the list of prefixes that packets for our ports may come from; those from elsewhere go to the kernel. An empty list
// allows any source, and a list without a prefix of an address family allows none of that family. The new list holds for all packets at
// once, when SetPrefixes returns at the latest; after an error the old one stays. Only a Program of [Attach] has a list of its own.
func (p *Program) SetPrefixes(prefixes []netip.Prefix) error {
	if len(prefixes) > MaxPrefixes {
		return fmt.Errorf("bpf: %d prefixes, at most %d are possible: join neighbours into shorter prefixes", len(prefixes), MaxPrefixes)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.checkOpen(); err != nil {
		return err
	}
	if p.objs.Sources == nil {
		return errors.New("bpf: a program that is shared has one list of prefixes for all, which whoever set it up decides (see 'fastrpc setup --help')")
	}
	return setPrefixes(p.objs.Sources, prefixes)
}

func setPrefixes(sources *ebpf.Map, prefixes []netip.Prefix) error {
	const slot = uint32(0)
	if len(prefixes) == 0 {
		if err := sources.Delete(slot); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("bpf: removing the list of prefixes: %w", err)
		}
		return nil
	}
	spec, err := loadSteer()
	if err != nil {
		return fmt.Errorf("bpf: %w", err)
	}
	list, err := ebpf.NewMap(spec.Maps[steerMapSources].InnerMap)
	if err != nil {
		return fmt.Errorf("bpf: a new list of prefixes: %w", err)
	}
	defer list.Close() // the slot holds it from then on
	for _, prefix := range prefixes {
		key, err := keyOf(prefix)
		if err != nil {
			return err
		}
		if err := list.Put(key, uint8(1)); err != nil {
			return fmt.Errorf("bpf: allowing prefix %v: %w", prefix, err)
		}
	}
	if err := sources.Put(slot, list); err != nil {
		return fmt.Errorf("bpf: setting the list of prefixes: %w", err)
	}
	return nil
}

// sourceKey is struct source of steer.c.
type sourceKey struct {
	PrefixLen uint32 // family included
	Family    uint32
	Addr      [16]byte
}

func keyOf(prefix netip.Prefix) (sourceKey, error) {
	if !prefix.IsValid() {
		return sourceKey{}, errors.New("bpf: an invalid prefix among those to allow: give them as 192.0.2.0/24")
	}
	addr, bits := prefix.Addr(), prefix.Bits()
	if addr.Is4In6() && bits >= 96 { // on the wire it is IPv4
		addr, bits = addr.Unmap(), bits-96
	}
	key := sourceKey{PrefixLen: 32 + uint32(bits), Family: 6}
	if addr.Is4() {
		key.Family = 4
		a := addr.As4()
		copy(key.Addr[:], a[:])
		return key, nil
	}
	key.Addr = addr.As16()
	return key, nil
}
