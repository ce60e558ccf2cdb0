package bpf

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
)

// MaxPrefixes is the longest list that SetPrefixes takes.
const MaxPrefixes = 1024

// AllowPort makes a UDP destination port ours. A port that is ours already is no error.
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
	index, bit := port/64, uint64(1)<<(port%64)
	word := p.ports[index] &^ bit
	if ours {
		word |= bit
	}
	if err := p.objs.Ports.Put(uint32(index), word); err != nil {
		return fmt.Errorf("bpf: steering of port %d: %w", port, err)
	}
	p.ports[index] = word
	return nil
}

// SetPrefixes replaces the list of prefixes that packets for our ports may come from; those from elsewhere go to the kernel. An empty list
// allows any source, and a list without a prefix of an address family allows none of that family. The new list holds for all packets at
// once, when SetPrefixes returns at the latest; after an error the old one stays.
func (p *Program) SetPrefixes(prefixes []netip.Prefix) error {
	if len(prefixes) > MaxPrefixes {
		return fmt.Errorf("bpf: %d prefixes, at most %d are possible: join neighbours into shorter prefixes", len(prefixes), MaxPrefixes)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.checkOpen(); err != nil {
		return err
	}
	const slot = uint32(0)
	if len(prefixes) == 0 {
		if err := p.objs.Sources.Delete(slot); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("bpf: removing the list of prefixes: %w", err)
		}
		return nil
	}
	list, err := ebpf.NewMap(p.list)
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
	if err := p.objs.Sources.Put(slot, list); err != nil {
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
