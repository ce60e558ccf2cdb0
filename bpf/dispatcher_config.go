package bpf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// What libxdp's protocol fixes (headers/xdp/prog_dispatcher.h and lib/libxdp/protocol.org of xdp-tools).
const (
	dispatcherVersion = 2   // of a dispatcher of ours where there is none: xdp-tools 1.3 to 1.5
	dispatcherNewest  = 3   // xdp-tools from 1.6 on, which enter no older one
	dispatcherMagic   = 236 // 'X' + 'D' + 'P'; version 1 had none
	dispatcherSlots   = 10
	emptySlot         = 31 // the action of a slot without a program: on to the next

	defaultPriority = 50 // of a program that says nothing; filters such as xdp-filter's have 10
	xdpActionPass   = 2  // include/uapi/linux/bpf.h, XDP_PASS
)

// dispatcherConfig is struct xdp_dispatcher_config of version 3; version 2 ends with ProgramFlags.
type dispatcherConfig struct {
	Magic, Version   uint8
	Programs         uint8
	Frags            uint8                   // 1: the dispatcher takes packets of several buffers
	ChainCallActions [dispatcherSlots]uint32 // bit a: the next program is asked at action a
	RunPrios         [dispatcherSlots]uint32 // ascending
	ProgramFlags     [dispatcherSlots]uint32 // BPF_F_XDP_HAS_FRAGS, which the kernel does not keep of a program in a slot
	DeviceBound      uint8                   // 1: loaded for one device (BPF_F_XDP_DEV_BOUND_ONLY), with all of its programs
	_                [3]uint8
}

// size is that of the configuration, in bytes; 0 for a version that is not known.
func (c *dispatcherConfig) size() int {
	switch c.Version {
	case dispatcherVersion:
		return binary.Size(c) - 4
	case dispatcherNewest:
		return binary.Size(c)
	}
	return 0
}

// spec is the dispatcher with this configuration.
func (c *dispatcherConfig) spec() (*ebpf.CollectionSpec, error) {
	spec, err := loadDispatcher()
	if err != nil {
		return nil, fmt.Errorf("bpf: %w", err)
	}
	raw := new(bytes.Buffer)
	if err := binary.Write(raw, binary.NativeEndian, c); err != nil {
		return nil, fmt.Errorf("bpf: the dispatcher's configuration: %w", err)
	}
	delete(spec.Variables, dispatcherVarConf) // and what else the object says of the map is of version 2
	m := spec.Maps[dispatcherMapRodata]
	m.Key, m.Value = nil, nil
	m.ValueSize, m.Contents = uint32(c.size()), []ebpf.MapKV{{Key: uint32(0), Value: raw.Bytes()[:c.size()]}}
	if c.Frags != 0 {
		spec.Programs[dispatcherProgXdpDispatcher].Flags |= unix.BPF_F_XDP_HAS_FRAGS
	}
	return spec, nil
}

// dispatcherMapRodata is what the compiler calls the map.
const dispatcherMapRodata = ".rodata"

// errNotDispatcher says that a program is none of libxdp's dispatchers, or not one that may be looked into.
var errNotDispatcher = errors.New("no libxdp dispatcher")

// readDispatcher returns the frozen configuration of a dispatcher; of a version that is not known, nothing else.
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
	size := c.size()
	if size == 0 {
		return c, nil
	}
	if len(raw) != size {
		return c, fmt.Errorf("bpf: a dispatcher of version %d with %d bytes of configuration, not %d: %w", c.Version, len(raw), size, errNotDispatcher)
	}
	raw = append(raw, make([]byte, binary.Size(c)-size)...)
	if err := binary.Read(bytes.NewReader(raw), binary.NativeEndian, &c); err != nil {
		return c, fmt.Errorf("bpf: the dispatcher's configuration: %w", err)
	}
	if c.Programs > dispatcherSlots {
		return c, fmt.Errorf("bpf: a dispatcher of %d programs: %w", c.Programs, errNotDispatcher)
	}
	return c, nil
}
