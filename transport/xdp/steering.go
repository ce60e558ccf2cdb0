package xdp

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/fastrpc/fastrpc/bpf"
	"github.com/fastrpc/fastrpc/transport"
)

// Values of the setting program, beside the path of a folder.
const (
	own        = "own"
	dispatcher = "dispatcher"
	pinned     = "pinned"
)

// steering gets the program that gives packets to our sockets: our own, or a part in one that others attached.
func (d *device) steering(o bpf.Options) (prog *bpf.Program, err error) {
	s, index := &d.settings, d.key.ifindex
	switch {
	case s.xskmap != "":
		prog, err = bpf.UseSocketMap(index, s.xskmap)
	case s.plugin != "":
		var fd int
		if fd, err = handedOver(s.plugin, d.name); err == nil {
			prog, err = bpf.UseSocketMapFD(index, fd)
		}
	case s.program == own, s.program == dispatcher:
		o.Dispatcher = s.program == dispatcher
		if prog, err = bpf.Attach(index, o); err == nil && len(s.prefixes) > 0 {
			err = prog.SetPrefixes(s.prefixes)
		}
		return prog, err
	case s.program == pinned:
		prog, err = bpf.OpenPinned(index, bpf.PinDir(d.name))
	default:
		prog, err = bpf.OpenPinned(index, s.program)
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, err
	}
	if err != nil {
		return nil, transport.Mark(transport.ErrPrecondition, err)
	}
	if s.mode != auto && s.mode != prog.Mode().String() {
		return prog, fmt.Errorf("%w: mode=%s, but the program that is shared runs in %v mode; leave the setting out", ErrSettings, s.mode, prog.Mode())
	}
	if _, named := s.given["queues"]; !named && len(s.queues) > prog.Queues() {
		s.queues = s.queues[:prog.Queues()]
	}
	return prog, nil
}

// checkSteering refuses settings that contradict each other.
func (s *settings) checkSteering() error {
	shared := ""
	for name, value := range map[string]string{"program": s.program, "xskmap": s.xskmap, "plugin": s.plugin} {
		if value == "" || value == own || value == dispatcher && s.xskmap+s.plugin == "" {
			continue
		}
		if shared != "" {
			return fmt.Errorf("%w: give one of program, xskmap and plugin: each says whose program it is", ErrSettings)
		}
		shared = name
	}
	if shared != "" && len(s.prefixes) > 0 {
		return fmt.Errorf("%w: prefixes go with a program of one's own: beside %s, the one that is shared decides whom it lets in (see 'fastrpc setup --help')",
			ErrSettings, shared)
	}
	return nil
}

// NeededWhenOpen names the capabilities that what a target opened still has a use for, until it is closed, if the process has them; the packets'
// way takes none. A process that drops them leaves to whoever opens the interface next what it should have given back.
func NeededWhenOpen(t transport.Target) []string {
	switch q := t.Query; {
	case q.Get("program") == dispatcher: // its neighbours' dispatcher is made anew, without our program
		return []string{"cap_bpf", "cap_net_admin", "cap_perfmon", "cap_sys_admin"}
	case q.Has("queues"), q.Has("busypoll"), q.Has("program"), q.Has("xskmap"), q.Has("plugin"): // the card's rules for our queues, and their NAPI
		return []string{"cap_net_admin"}
	}
	return nil
}

// Needs is what xdp:// takes of an interface when no setting says otherwise.
type Needs struct {
	Name        string // of the interface itself, or of the one below a VLAN's
	Ifindex     int
	MultiBuffer bool // its MTU asks for packets of several buffers
	Queues      int  // that are served
	QueueBytes  int  // of locked memory, each
}

// NeedsOf looks at an interface in the calling thread's network namespace, for those who prepare it for others.
func NeedsOf(name string) (Needs, error) {
	ifi, err := interfaceNamed(name)
	if err != nil {
		return Needs{}, err
	}
	d := device{name: ifi.name}
	if d.settings, err = parseSettings(nil); err != nil {
		return Needs{}, err
	}
	if err := d.plan(ifi); err != nil {
		return Needs{}, err
	}
	s := &d.settings
	return Needs{Name: ifi.name, Ifindex: ifi.index, MultiBuffer: s.multiBuffer, Queues: len(s.queues), QueueBytes: s.memory()}, nil
}
