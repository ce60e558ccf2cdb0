package bpf

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// member is a program in a slot of a dispatcher, or about to be.
type member struct {
	prog     *ebpf.Program
	id       ebpf.ProgramID
	name     string
	actions  uint32
	priority uint32
	flags    uint32
}

// dispatcher is one in the kernel, with the programs in its slots.
type dispatcher struct {
	prog    *ebpf.Program
	version uint8
	mode    Mode
	dir     string
	members []member
}

func (d *dispatcher) close() {
	if d == nil {
		return
	}
	for _, m := range d.members {
		m.prog.Close()
	}
	d.prog.Close()
}

// running returns the dispatcher that an interface runs; nil when no program is there, and an AttachedError when it is another one.
func (d dispatchDir) running(dev device) (_ *dispatcher, err error) {
	a, ok := dev.attached()
	if !ok {
		return nil, nil
	}
	prog, err := ebpf.NewProgramFromID(ebpf.ProgramID(a.ProgramID))
	if errors.Is(err, unix.ENOENT) {
		return nil, errChanged
	}
	if err != nil {
		return nil, fmt.Errorf("bpf: the program of %s, which only CAP_SYS_ADMIN may look at: %w", dev.name, err)
	}
	now := &dispatcher{prog: prog, mode: a.Mode, dir: d.of(dev.index, ebpf.ProgramID(a.ProgramID))}
	defer func() {
		if err != nil {
			now.close()
		}
	}()
	config, err := readDispatcher(prog)
	if errors.Is(err, errNotDispatcher) || err == nil && (config.size() == 0 || a.LinkID != 0) {
		return nil, &AttachedError{a, pinDirOf(a)}
	}
	if err != nil {
		return nil, err
	}
	if config.DeviceBound != 0 {
		a.Dispatcher = 0 // none to join
		return nil, fmt.Errorf("%w; its dispatcher takes programs only that are bound to the device, which ours is not", &AttachedError{Attachment: a})
	}
	now.version = config.Version
	for slot := range int(config.Programs) {
		prog, err := ebpf.LoadPinnedProgram(progPin(now.dir, slot), nil)
		if err != nil {
			a.Dispatcher = 0 // none to join
			return nil, fmt.Errorf("%w; what its dispatcher calls should be in %s, or where the environment's LIBXDP_BPFFS says: %w",
				&AttachedError{Attachment: a}, now.dir, err)
		}
		m := member{prog: prog, actions: config.ChainCallActions[slot], priority: config.RunPrios[slot], flags: config.ProgramFlags[slot]}
		now.members = append(now.members, m)
		info, err := prog.Info()
		if err != nil {
			return nil, fmt.Errorf("bpf: %w", err)
		}
		now.members[slot].name = info.Name
		now.members[slot].id, _ = info.ID()
	}
	return now, nil
}

// errChanged says that somebody else was quicker.
var errChanged = errors.New("bpf: the interface's program changed meanwhile")

// insert puts a program where its priority says, behind its equals; of equal priorities, names decide, as with libxdp.
func insert(members []member, m member) []member {
	at := slices.IndexFunc(members, func(other member) bool {
		return other.priority > m.priority || other.priority == m.priority && other.name > m.name
	})
	if at < 0 {
		at = len(members)
	}
	return slices.Insert(members, at, m)
}

// configOf is the configuration of a dispatcher for these programs.
func configOf(version uint8, members []member) dispatcherConfig {
	c := dispatcherConfig{Magic: dispatcherMagic, Version: version, Programs: uint8(len(members)), Frags: 1}
	for slot, m := range members {
		c.ChainCallActions[slot] = m.actions | 1<<emptySlot
		c.RunPrios[slot] = m.priority
		c.ProgramFlags[slot] = m.flags
		if m.flags&unix.BPF_F_XDP_HAS_FRAGS == 0 {
			c.Frags = 0 // a program that takes the first buffer for the packet must see no others
		}
	}
	return c
}

// loader gets the program that is to enter into the kernel, for a function of a dispatcher.
type loader func(dispatcher *ebpf.Program, function string) (*ebpf.Program, error)

// build loads a dispatcher, puts the programs into its slots and pins them.
func (d dispatchDir) build(ifindex int, version uint8, members []member, load loader) (_ *dispatcher, err error) {
	config := configOf(version, members)
	spec, err := config.spec()
	if err != nil {
		return nil, err
	}
	var objs dispatcherPrograms
	if err := loadPrivileged(spec, &objs); err != nil {
		return nil, err
	}
	next := &dispatcher{prog: objs.XdpDispatcher}
	defer func() {
		if err != nil {
			next.prog.Close()
			if next.dir != "" {
				err = errors.Join(err, removeDispatcher(next.dir))
			}
		}
	}()
	id, err := idOf(next.prog)
	if err != nil {
		return nil, err
	}
	next.dir = d.of(ifindex, id)
	if err := unix.Mkdir(next.dir, 0o700); err != nil {
		return nil, fmt.Errorf("bpf: %s: %w", next.dir, err)
	}
	for slot, m := range members {
		function := fmt.Sprintf("prog%d", slot)
		if m.prog == nil {
			if m.prog, err = load(next.prog, function); err != nil {
				return nil, err
			}
		}
		if err := enter(m.prog, next, slot, function); err != nil {
			return nil, fmt.Errorf("bpf: program %q in slot %d of a new dispatcher: %w", m.name, slot, err)
		}
	}
	return next, nil
}

// enter replaces a function of the dispatcher. The pins keep it so.
func enter(prog *ebpf.Program, into *dispatcher, slot int, function string) error {
	l, err := link.AttachFreplace(into.prog, function, prog)
	if err != nil {
		return err
	}
	defer l.Close()
	// Program.Pin would move a pin that the program has already, which the dispatcher before still needs.
	if err := l.Pin(linkPin(into.dir, slot)); err != nil {
		return err
	}
	clone, err := prog.Clone()
	if err != nil {
		return err
	}
	defer clone.Close()
	return clone.Pin(progPin(into.dir, slot))
}
