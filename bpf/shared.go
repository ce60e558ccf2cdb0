package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/cilium/ebpf"
)

// ErrQueueTaken says that a queue has the AF_XDP socket of another process.
var ErrQueueTaken = errors.New("queue is taken")

// OpenPinned takes part in the program that [Pin] attached to the interface with this index, in the calling thread's network namespace, and
// pinned in dir. It needs no capability, from Linux 5.19 on (where kernel.unprivileged_bpf_disabled is 0, on any), only the right to open
// the pinned maps.
//
// Several processes share one program with queues and ports of their own. A queue becomes the Program's by SetSocket, and AllowPort
// concerns these queues only: a packet for one process's port that comes in on another's queue goes to the kernel. Close takes back what is the
// Program's; when the process is killed, the kernel takes its sockets out of the map, so that nothing is steered to it any more, and
// the next owner of its queues overwrites what is left of its ports.
func OpenPinned(ifindex int, dir string) (*Program, error) {
	p, err := join(ifindex)
	if err != nil {
		return nil, err
	}
	name := p.device.name
	if err := p.openPins(dir); err != nil {
		p.objs.Close()
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("bpf: %s is not set up in %s: run 'fastrpc setup %s' as root: %w", name, dir, name, err)
		case errors.Is(err, fs.ErrPermission):
			return nil, fmt.Errorf("bpf: this user may not open what is pinned in %s: run 'fastrpc setup %s --user USER' as root, and let the user "+
				"pass the directories above: %w", dir, name, err)
		}
		return nil, fmt.Errorf("bpf: what is pinned in %s is not to be used for %s: %w", dir, name, err)
	}
	return p, nil
}

// UseSocketMap takes part in somebody else's program on the interface with this index, through the XSKMAP that is pinned at path: SetSocket
// puts a socket into it, at its queue's number, and what the program gives to it is the program's business.
func UseSocketMap(ifindex int, path string) (*Program, error) {
	m, err := ebpf.LoadPinnedMap(path, nil)
	if err != nil {
		return nil, fmt.Errorf("bpf: the XSKMAP %s: %w", path, err)
	}
	return useSocketMap(ifindex, m)
}

// UseSocketMapFD is UseSocketMap with a descriptor of the XSKMAP, which it takes over, also when it fails.
func UseSocketMapFD(ifindex, fd int) (*Program, error) {
	m, err := ebpf.NewMapFromFD(fd)
	if err != nil {
		return nil, fmt.Errorf("bpf: descriptor %d as an XSKMAP: %w", fd, err)
	}
	return useSocketMap(ifindex, m)
}

func useSocketMap(ifindex int, m *ebpf.Map) (*Program, error) {
	if m.Type() != ebpf.XSKMap {
		m.Close()
		return nil, fmt.Errorf("bpf: a map of type %v where an XSKMAP is needed", m.Type())
	}
	p, err := join(ifindex)
	if err != nil {
		m.Close()
		return nil, err
	}
	p.objs.Sockets, p.queues = m, int(m.MaxEntries())
	return p, nil
}

// join begins a Program of an interface that others attached one to.
func join(ifindex int) (*Program, error) {
	runtime.LockOSThread() // the interface is one of this thread's namespace
	defer runtime.UnlockOSThread()

	dev, err := lookup(ifindex)
	if err != nil {
		return nil, err
	}
	a, ok := dev.attached()
	if !ok {
		return nil, fmt.Errorf("bpf: no XDP program runs on %s, so that none could give its packets to AF_XDP sockets: start its owner first, or run "+
			"'fastrpc setup %[1]s' as root: %w", dev.name, fs.ErrNotExist)
	}
	return &Program{device: dev, mode: a.Mode, shared: true}, nil
}

// openPins opens what Pin left, and makes sure that it is what the interface runs, and of this version.
func (p *Program) openPins(dir string) error {
	prog, err := ebpf.LoadPinnedProgram(filepath.Join(dir, pinProgram), &ebpf.LoadPinOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer prog.Close()
	info, err := prog.Info()
	if err != nil {
		return err
	}
	if id, ok := info.ID(); !ok || uint32(id) != p.device.xdp.ProgId {
		return fmt.Errorf("the interface runs program %d and not the pinned one, %d: it is another's, or the interface of that name is a new one; "+
			"run 'fastrpc setup %s' as root", p.device.xdp.ProgId, id, p.device.name)
	}
	for name, m := range p.objs.pinned() {
		if *m, err = ebpf.LoadPinnedMap(filepath.Join(dir, name), nil); err != nil {
			return err
		}
	}
	p.queues = int(p.objs.Sockets.MaxEntries())
	return p.objs.compatible()
}

// pinDirOf is where the program of an attachment is pinned to be shared, if it is.
func pinDirOf(a Attachment) string {
	dir := PinDir(a.Interface)
	prog, err := ebpf.LoadPinnedProgram(filepath.Join(dir, pinProgram), &ebpf.LoadPinOptions{ReadOnly: true})
	if err != nil {
		return ""
	}
	defer prog.Close()
	info, err := prog.Info()
	if err != nil {
		return ""
	}
	if id, ok := info.ID(); !ok || uint32(id) != a.ProgramID {
		return ""
	}
	return dir
}

// pinned are the maps that processes share, by the names that they are pinned with.
func (o *steerObjects) pinned() map[string]**ebpf.Map {
	return map[string]**ebpf.Map{steerMapPorts: &o.Ports, steerMapSockets: &o.Sockets, steerMapVerdicts: &o.Verdicts}
}

// compatible refuses pinned maps that this version did not make.
func (o *steerObjects) compatible() error {
	spec, err := loadSteer()
	if err != nil {
		return err
	}
	setQueues(spec, o.Sockets.MaxEntries())
	for name, m := range o.pinned() {
		if err := spec.Maps[name].Compatible(*m); err != nil {
			return fmt.Errorf("another version of fastrpc pinned it; run 'fastrpc setup' with --remove and again: %w", err)
		}
	}
	return nil
}

// own makes a queue the Program's, whose socket has just taken the empty place in the map: its ports are the Program's from now on, and no
// longer those of a process that was killed, which could have steered to us for as long as this call takes.
func (p *Program) own(queue uint32) error {
	if slices.Contains(p.owned, queue) {
		return nil
	}
	p.owned = append(p.owned, queue)
	return p.setPorts(queue, &p.ports)
}

// leave takes back what the Program put into maps that are others' too. The socket, which marks the queue as the Program's, goes last: from then
// on the queue's ports may be another's.
func (p *Program) leave() error {
	var errs []error
	for _, queue := range p.owned {
		errs = append(errs, p.setPorts(queue, new([portWords]uint64)))
		if err := p.objs.Sockets.Delete(queue); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			errs = append(errs, fmt.Errorf("bpf: taking the socket of queue %d away: %w", queue, err))
		}
	}
	return errors.Join(errs...)
}
