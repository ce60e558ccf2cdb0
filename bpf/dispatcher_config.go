package bpf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// What libxdp's protocol fixes (headers/xdp/prog_dispatcher.h and lib/libxdp/protocol.org of xdp-tools).
const (
	dispatcherVersion = 2   // xdp-tools 1.3 to 1.5
	dispatcherMagic   = 236 // 'X' + 'D' + 'P'; version 1 had none
	dispatcherSlots   = 10
	emptySlot         = 31 // the action of a slot without a program: on to the next

	defaultPriority = 50 // of a program that says nothing; filters such as xdp-filter's have 10
	xdpActionPass   = 2  // include/uapi/linux/bpf.h, XDP_PASS
)

// dispatcherConfig is struct xdp_dispatcher_config of dispatcher.c.
type dispatcherConfig struct {
	Magic, Version   uint8
	Programs         uint8
	Frags            uint8                   // 1: the dispatcher takes packets of several buffers
	ChainCallActions [dispatcherSlots]uint32 // bit a: the next program is asked at action a
	RunPrios         [dispatcherSlots]uint32 // ascending
	ProgramFlags     [dispatcherSlots]uint32 // BPF_F_XDP_HAS_FRAGS, which the kernel does not keep of a program in a slot
}

// errNotDispatcher says that a program is none of libxdp's dispatchers, or not one that may be looked into.
var errNotDispatcher = errors.New("no libxdp dispatcher")

// readDispatcher returns the frozen configuration of a dispatcher, which is complete for version 2 only.
func readDispatcher(prog *ebpf.Program) (c dispatcherConfig, err error) {
	info, err := prog.Info()
	if err != nil {
		return c, fmt.Errorf("bpf: %w", err)
	}
	maps, _ := info.MapIDs()
	if info.Name != dispatcherProgXdpDispatcher || len(maps) != 1 {
		return c, errNotDispatcher
	}
	m, err := ebpf.NewMapFromID(maps[0])
	if err != nil {
		return c, fmt.Errorf("bpf: the dispatcher's configuration: %w", err)
	}
	defer m.Close()
	if m.KeySize() != 4 || m.MaxEntries() != 1 || m.ValueSize() < 2 {
		return c, errNotDispatcher
	}
	raw, err := m.LookupBytes(uint32(0))
	if err != nil || raw == nil {
		return c, fmt.Errorf("bpf: the dispatcher's configuration: %w", errors.Join(err, errNotDispatcher))
	}
	if raw[0] != dispatcherMagic {
		c.Version = 1
		return c, nil
	}
	c.Version = raw[1]
	if c.Version != dispatcherVersion {
		return c, nil
	}
	if len(raw) != binary.Size(c) {
		return c, fmt.Errorf("bpf: a dispatcher of version %d with %d bytes of configuration, not %d: %w", c.Version, len(raw), binary.Size(c), errNotDispatcher)
	}
	if err := binary.Read(bytes.NewReader(raw), binary.NativeEndian, &c); err != nil {
		return c, fmt.Errorf("bpf: the dispatcher's configuration: %w", err)
	}
	if c.Programs > dispatcherSlots {
		return c, fmt.Errorf("bpf: a dispatcher of %d programs: %w", c.Programs, errNotDispatcher)
	}
	return c, nil
}
