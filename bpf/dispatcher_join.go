package bpf

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// membership is the place of a steering program in an interface's dispatcher.
type membership struct {
	pins  dispatchDir
	rtnl  *rtnl
	netns uint64
	id    ebpf.ProgramID // of the steering program
	claim *claim         // nil until the program is loaded
}

// attachBeside is Attach into a dispatcher.
func attachBeside(dev device, o Options) (_ *Program, err error) {
	p, spec, err := prepare(o.Queues, o.MultiBuffer)
	if err != nil {
		return nil, err
	}
	p.device = dev
	m := &membership{}
	if m.pins, err = openDispatchDir(); err != nil {
		return nil, err
	}
	if m.netns, err = netnsInode(); err != nil {
		return nil, err
	}
	if m.rtnl, err = openRTNL(); err != nil {
		return nil, err
	}
	p.member = m
	if err := m.enter(p, spec, o); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// enter gets the program into the kernel and into a slot.
func (m *membership) enter(p *Program, spec *ebpf.CollectionSpec, o Options) error {
	lock, err := m.pins.lock()
	if err != nil {
		return err
	}
	defer lock.Close()
	swept := m.sweep()

	steer := spec.Programs[steerProgFastrpcSteer]
	ours := member{name: steerProgFastrpcSteer, actions: 1 << xdpActionPass, priority: defaultPriority, flags: steer.Flags & unix.BPF_F_XDP_HAS_FRAGS}
	steer.Flags &^= unix.BPF_F_XDP_HAS_FRAGS // the dispatcher has it instead
	steer.Type, steer.AttachType = ebpf.Extension, ebpf.AttachNone
	load := func(target *ebpf.Program, function string) (_ *ebpf.Program, err error) {
		steer.AttachTarget, steer.AttachTo = target, function
		if err := loadPrivileged(spec, &p.objs); err != nil {
			return nil, err
		}
		if m.id, err = idOf(p.objs.FastrpcSteer); err != nil {
			return nil, err
		}
		m.claim, err = m.pins.claim(m.netns, m.id)
		return p.objs.FastrpcSteer, err
	}
	add := func(members []member) []member {
		ours.prog = p.objs.FastrpcSteer
		return insert(members, ours)
	}
	p.mode, p.whyGeneric, err = m.change(p.device.index, o.Mode, add, load)
	if err != nil {
		return errors.Join(err, swept)
	}
	return nil
}

// leave takes the program out of the dispatcher. When it cannot, the program stays, passes everything, and goes when the next joins.
func (m *membership) leave() error {
	defer m.rtnl.close()
	if m.claim == nil {
		return nil
	}
	lock, err := m.pins.lock()
	if err != nil {
		return errors.Join(err, m.claim.locked.Close())
	}
	defer lock.Close()
	return m.retire(m.id, m.claim)
}

// sweep does for processes that were killed what they could not do.
func (m *membership) sweep() error {
	claims, err := m.pins.dead(m.netns)
	errs := []error{err}
	for id, c := range claims {
		errs = append(errs, m.retire(id, c))
	}
	return errors.Join(errs...)
}

// retire takes a program out of all dispatchers. The one that an interface runs comes first: from then on nobody can attach one that was
// made from it, and is pinned already.
func (m *membership) retire(id ebpf.ProgramID, c *claim) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, c.locked.Close()) // the next tries again
		} else {
			err = c.release()
		}
	}()
	drop := func(members []member) []member {
		return slices.DeleteFunc(members, func(m member) bool { return m.id == id })
	}
	found, err := m.pins.holding(id)
	if err != nil {
		return err
	}
	for _, p := range found {
		if m.runs(p) {
			if _, _, err := m.change(p.ifindex, Auto, drop, nil); err != nil {
				return err
			}
		}
	}
	for _, p := range found {
		if !m.runs(p) {
			if err := removeDispatcher(p.dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// runs tells whether the interface runs this dispatcher.
func (m *membership) runs(p dispatchEntry) bool {
	dev, err := m.rtnl.lookup(p.ifindex)
	return err == nil && dev.xdp.Attached && ebpf.ProgramID(dev.xdp.ProgId) == p.id
}

// change has an interface run what edit makes of the programs that its dispatcher has, and says in which mode. The caller has the lock, which
// keeps the pins still, but not the interface's program: others may swap it meanwhile.
func (m *membership) change(ifindex int, want Mode, edit func([]member) []member, load loader) (mode Mode, why, err error) {
	const attempts = 10
	for range attempts {
		if mode, why, err = m.tryChange(ifindex, want, edit, load); !errors.Is(err, errChanged) {
			break
		}
	}
	return mode, why, err
}

func (m *membership) tryChange(ifindex int, want Mode, edit func([]member) []member, load loader) (mode Mode, why, err error) {
	dev, err := m.rtnl.lookup(ifindex)
	if err != nil {
		return 0, nil, err
	}
	old, err := m.pins.running(dev)
	if err != nil {
		return 0, nil, err
	}
	defer old.close()
	var members []member
	version := uint8(dispatcherVersion)
	if old != nil {
		if want != Auto && want != old.mode {
			return 0, nil, fmt.Errorf("bpf: %s runs a dispatcher in %v mode, and %v was asked for: see 'xdp-loader status %[1]s'", dev.name, old.mode, want)
		}
		members, want, version = slices.Clone(old.members), old.mode, old.version
	}
	if members = edit(members); len(members) > dispatcherSlots {
		return 0, nil, fmt.Errorf("bpf: all %d slots of the dispatcher of %s are taken: see 'xdp-loader status %[2]s'", dispatcherSlots, dev.name)
	}
	var next *dispatcher
	if len(members) > 0 {
		if next, err = m.pins.build(ifindex, version, members, load); err != nil {
			return 0, nil, err
		}
		defer next.prog.Close()
	}
	if mode, why, err = m.swap(dev, want, old, next); err != nil {
		if next != nil {
			err = errors.Join(err, removeDispatcher(next.dir))
		}
		return 0, nil, err
	}
	if old != nil {
		err = removeDispatcher(old.dir)
	}
	return mode, why, err
}

// swap has the interface run next instead of old, either of which may be nil, in the mode that is asked for; why is native mode's refusal.
func (m *membership) swap(dev device, want Mode, old, next *dispatcher) (got Mode, why, err error) {
	if want != Generic {
		why = m.rtnl.swap(dev.index, Native, old, next)
		if why == nil {
			return Native, nil, nil
		}
		if why = m.refusal(why, dev, Native); want == Native || errors.Is(why, errChanged) {
			return Native, nil, why
		}
	}
	if err := m.rtnl.swap(dev.index, Generic, old, next); err != nil {
		return Generic, nil, errors.Join(why, m.refusal(err, dev, Generic))
	}
	return Generic, why, nil
}

// refusal explains why the kernel did not swap.
func (m *membership) refusal(err error, dev device, mode Mode) error {
	if errors.Is(err, unix.EEXIST) || errors.Is(err, unix.EBUSY) {
		if dev.master != 0 {
			if master, lerr := m.rtnl.lookup(dev.master); lerr == nil {
				if a, ok := master.attached(); ok {
					return &AttachedError{Attachment: a}
				}
			}
		}
		err = fmt.Errorf("%w: %w", errChanged, err)
	}
	return fmt.Errorf("bpf: attaching a dispatcher to %s in %v mode: %s: %w", dev.name, mode, reason(err, dev), err)
}
