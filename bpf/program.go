package bpf

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Mode is where in the receive path the program runs.
type Mode uint8

const (
	// Auto asks for Native and takes Generic when the driver refuses.
	Auto Mode = iota
	// Native runs in the driver, before the kernel allocates an skb.
	Native
	// Generic runs behind the driver, on an skb. Every interface has it, but it is slower and rules zero-copy out.
	Generic
)

func (m Mode) String() string {
	switch m {
	case Auto:
		return "auto"
	case Native:
		return "native"
	case Generic:
		return "generic"
	}
	return fmt.Sprintf("Mode(%d)", uint8(m))
}

// Options are the settings of Attach. Its zero value asks for Auto and a socket for every receive queue.
type Options struct {
	Mode   Mode
	Queues int // queues that can have a socket, from 0 on; 0 stands for all receive queues that the interface can have

	// MultiBuffer takes packets that stand in several buffers too, so that native mode does not need an MTU that fits a page. The driver
	// must be able to (ERANGE or EOPNOTSUPP otherwise), as must the sockets (XDP_USE_SG). From Linux 5.18 on, with AF_XDP from 6.6.
	MultiBuffer bool

	// Dispatcher runs the program beside those of others, in a slot of the dispatcher that libxdp's tools keep on the interface, or of a new
	// one; see "Beside other programs" in the package's documentation. From Linux 5.10 on, with CAP_SYS_ADMIN.
	Dispatcher bool
}

// Program is the steering program attached to one interface, or a part in one. It takes no packet until it has a socket and a port.
//
// Its methods may be called from any goroutine, block for system calls only, and return an error that is [os.ErrClosed] after Close. They
// take effect at once for the packets that arrive from then on; one that another CPU has in hand may still be judged by the old rules.
//
// The attachment made by [Attach] is a bpf_link held by this process alone: it ends with Close, with the process however that ends, and when
// the Program is garbage; with [Options.Dispatcher] it ends with Close only. [OpenPinned] and [UseSocketMap] take part in an attachment that
// others hold.
type Program struct {
	device     device
	mode       Mode
	whyGeneric error
	queues     int

	mu     sync.Mutex // guards what follows
	closed bool
	shared bool        // the attachment is others'
	link   link.Link   // nil if it is, in a dispatcher, and in tests that run the program without an interface
	member *membership // nil outside of a dispatcher
	objs   steerObjects
	owned  []uint32          // the queues whose sockets and ports are ours; all unless shared
	ports  [portWords]uint64 // what the ports map holds for each of them
}

// Attach loads the program and attaches it to the interface with this index in the calling thread's network namespace.
//
// A program that is already there, native or generic, is never replaced: the error is an [AttachedError] then, with [Options.Dispatcher] too
// unless it is a dispatcher whose programs can be kept. Without the privilege it is
// [os.ErrPermission] and says which capability is missing. With Auto, [Program.WhyGeneric] tells why native mode was refused.
func Attach(ifindex int, o Options) (*Program, error) {
	runtime.LockOSThread() // all that follows concerns one namespace
	defer runtime.UnlockOSThread()

	dev, err := lookup(ifindex)
	if err != nil {
		return nil, err
	}
	if o.Mode > Generic {
		return nil, fmt.Errorf("bpf: %v is none of Auto, Native and Generic", o.Mode)
	}
	if o.Queues == 0 {
		o.Queues = dev.queues
	}
	if o.Queues < 0 {
		return nil, fmt.Errorf("bpf: %d queues: give their number, or 0 for all that %s has", o.Queues, dev.name)
	}
	if o.Dispatcher {
		return attachBeside(dev, o)
	}
	p, err := load(o.Queues, o.MultiBuffer)
	if err != nil {
		return nil, err
	}
	p.device = dev
	p.link, p.mode, p.whyGeneric, err = attach(p.objs.FastrpcSteer, dev, o.Mode)
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// load brings the program and its maps into the kernel and attaches nothing.
func load(queues int, multiBuffer bool) (*Program, error) {
	p, spec, err := prepare(queues, multiBuffer)
	if err != nil {
		return nil, err
	}
	if err := loadPrivileged(spec, &p.objs); err != nil {
		return nil, err
	}
	return p, nil
}

// prepare makes what load loads.
func prepare(queues int, multiBuffer bool) (*Program, *ebpf.CollectionSpec, error) {
	spec, err := loadSteer()
	if err != nil {
		return nil, nil, fmt.Errorf("bpf: %w", err)
	}
	setQueues(spec, uint32(queues))
	if multiBuffer {
		spec.Programs[steerProgFastrpcSteer].Flags |= unix.BPF_F_XDP_HAS_FRAGS
		if err := spec.Variables[steerVarMultiBuffer].Set(uint8(1)); err != nil {
			return nil, nil, fmt.Errorf("bpf: %w", err)
		}
	}
	p := &Program{queues: queues}
	for queue := range uint32(queues) {
		p.owned = append(p.owned, queue)
	}
	return p, spec, nil
}

func setQueues(spec *ebpf.CollectionSpec, queues uint32) {
	spec.Maps[steerMapSockets].MaxEntries = queues
	spec.Maps[steerMapPorts].MaxEntries = queues * portWords
}

// Mode is what was granted: Native or Generic.
func (p *Program) Mode() Mode { return p.mode }

// WhyGeneric is the error with which native mode was refused, and what to do about it. It is nil in native mode, and when generic mode was
// what Attach was asked for.
func (p *Program) WhyGeneric() error { return p.whyGeneric }

// Queues is the number of queues that can have a socket.
func (p *Program) Queues() int { return p.queues }

// SetSocket gives what arrives on a queue to the AF_XDP socket fd, in place of the one before; but where others take part, it never
// replaces a socket of theirs: the error is [ErrQueueTaken]. The socket needs its UMEM and its rings, and must be bound to this interface and
// queue: the kernel drops what is redirected to a socket of another one (net/xdp/xsk.c, xsk_rcv_check). The program takes no descriptor over;
// a socket that is closed leaves by itself.
func (p *Program) SetSocket(queue int, fd int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.checkQueue(queue); err != nil {
		return err
	}
	flags := ebpf.UpdateAny
	if p.shared {
		flags = ebpf.UpdateNoExist // which a socket that is there already passes (net/xdp/xskmap.c, xsk_map_update_elem)
	}
	err := p.objs.Sockets.Update(uint32(queue), uint32(fd), flags)
	if errors.Is(err, ebpf.ErrKeyExist) {
		return fmt.Errorf("bpf: queue %d of %s has a socket of another process: %w; name other queues", queue, p.device.name, ErrQueueTaken)
	}
	if err != nil {
		return fmt.Errorf("bpf: descriptor %d as the socket of queue %d (it must be an AF_XDP socket with a UMEM, a fill and a receive ring): %w",
			fd, queue, err)
	}
	return p.own(uint32(queue))
}

// ClearSocket sends what arrives on a queue to the kernel again. A queue without a socket is no error.
func (p *Program) ClearSocket(queue int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.checkQueue(queue); err != nil {
		return err
	}
	if err := p.objs.Sockets.Delete(uint32(queue)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("bpf: taking the socket of queue %d away: %w", queue, err)
	}
	return nil
}

func (p *Program) checkQueue(queue int) error {
	if err := p.checkOpen(); err != nil {
		return err
	}
	if queue < 0 || queue >= p.queues {
		return fmt.Errorf("bpf: no queue %d of %s: the program was attached for queues 0 to %d", queue, p.device.name, p.queues-1)
	}
	return nil
}

func (p *Program) checkOpen() error {
	if p.closed {
		return fmt.Errorf("bpf: steering program: %w", os.ErrClosed)
	}
	return nil
}

// Close detaches the program, unless others share it, and releases all that it holds; from then on every packet goes to the kernel. Close it
// before the sockets that it feeds. A second Close does nothing.
func (p *Program) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	var err error
	if p.link != nil {
		err = p.link.Close()
	}
	if p.member != nil {
		err = p.member.leave()
	}
	if p.shared {
		err = p.leave()
	}
	return errors.Join(err, p.objs.Close())
}
