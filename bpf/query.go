package bpf

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
)

// Attachment is an XDP program on an interface, anybody's.
type Attachment struct {
	Interface string
	ProgramID uint32 // 0 when several programs, one of them offloaded, are there
	Program   string // its name, at most 15 bytes; empty when unknown, which it is without CAP_SYS_ADMIN
	LinkID    uint32 // of the bpf_link that holds it; 0 when netlink attached it, and without CAP_SYS_ADMIN
	Mode      Mode   // Auto when it is offloaded to the device

	// Dispatcher is the version of libxdp's protocol when the program is one of its dispatchers; 0 otherwise, and without CAP_SYS_ADMIN.
	Dispatcher uint8
}

// Attached finds the XDP program of an interface in the calling thread's network namespace, and reports whether there is one.
func Attached(ifindex int) (Attachment, bool, error) {
	dev, err := lookup(ifindex)
	if err != nil {
		return Attachment{}, false, err
	}
	a, ok := dev.attached()
	return a, ok, nil
}

// AttachedError says that another program holds the interface.
type AttachedError struct {
	Attachment
	PinDir string // where OpenPinned finds it; empty when it is another's, or not in PinDir(Interface)
}

func (e *AttachedError) Error() string {
	if e.PinDir != "" {
		return fmt.Sprintf("bpf: %s is set up to be shared, so that nobody has it alone: take part, with program=pinned in the address, or undo it "+
			"with 'fastrpc setup %[1]s --remove'", e.Interface)
	}
	program, by, remove := "an XDP program", "", fmt.Sprintf("ip link set dev %s %s off", e.Interface, e.flag())
	if e.Program != "" {
		program = fmt.Sprintf("XDP program %q", e.Program)
	}
	if e.LinkID != 0 {
		by = fmt.Sprintf(", held by bpf_link %d", e.LinkID)
		remove = fmt.Sprintf("bpftool link detach id %d", e.LinkID)
	}
	see, share := fmt.Sprintf("bpftool prog show id %d", e.ProgramID), ""
	if e.Dispatcher != 0 {
		see = "xdp-loader status " + e.Interface
		switch {
		case e.LinkID != 0: // not how libxdp attaches
		case e.Dispatcher == dispatcherVersion, e.Dispatcher == dispatcherNewest:
			remove = fmt.Sprintf("xdp-loader unload %s --all", e.Interface)
			share = "; it is a libxdp dispatcher, whose programs can be joined with Options.Dispatcher, program=dispatcher of an xdp:// address"
		default:
			share = fmt.Sprintf("; it is a libxdp dispatcher of version %d, which cannot be joined: that takes version %d or %d", e.Dispatcher, dispatcherVersion,
				dispatcherNewest)
		}
	}
	return fmt.Sprintf("bpf: %s already runs %s (id %d, %s%s), which is not replaced; see '%s', and stop "+
		"its owner or remove it with '%s'%s", e.Interface, program, e.ProgramID, e.where(), by, see, remove, share)
}

// flag is ip-link(8)'s word for the mode.
func (a Attachment) flag() string {
	switch a.Mode {
	case Native:
		return "xdpdrv"
	case Generic:
		return "xdpgeneric"
	}
	return "xdpoffload"
}

func (a Attachment) where() string {
	if a.Mode == Auto {
		return "offloaded"
	}
	return a.Mode.String()
}

// device is what is known of the interface to attach to.
type device struct {
	index  int
	master int // index of the bond or bridge that it is a port of, or 0
	name   string
	mtu    int // bytes behind the Ethernet header
	queues int // receive queues
	xdp    netlink.LinkXdp
}

func lookup(ifindex int) (device, error) {
	l, err := netlink.LinkByIndex(ifindex)
	if err != nil {
		return device{}, noInterface(ifindex, err)
	}
	return deviceOf(l), nil
}

func noInterface(ifindex int, err error) error {
	return fmt.Errorf("bpf: no interface %d in this network namespace; see 'ip link': %w", ifindex, err)
}

func deviceOf(l netlink.Link) device {
	a := l.Attrs()
	d := device{index: a.Index, master: a.MasterIndex, name: a.Name, mtu: a.MTU, queues: max(a.NumRxQueues, 1)}
	if a.Xdp != nil {
		d.xdp = *a.Xdp
	}
	return d
}

// attached tells of the program that the interface had when it was looked up.
func (d device) attached() (Attachment, bool) {
	if !d.xdp.Attached {
		return Attachment{}, false
	}
	a := Attachment{Interface: d.name, ProgramID: d.xdp.ProgId}
	switch d.xdp.AttachMode {
	case nl.XDP_ATTACHED_DRV:
		a.Mode = Native
	case nl.XDP_ATTACHED_SKB:
		a.Mode = Generic
	}
	if prog, err := ebpf.NewProgramFromID(ebpf.ProgramID(a.ProgramID)); err == nil {
		if info, err := prog.Info(); err == nil {
			a.Program = info.Name
		}
		if config, err := readDispatcher(prog); err == nil {
			a.Dispatcher = config.Version
		}
		prog.Close()
	}
	a.LinkID = linkOf(d.index, a.ProgramID)
	return a, true
}

// linkOf finds the bpf_link that holds a program on an interface; 0 stands for none, or none that may be seen. The program's id is unique
// on the host, the interface's index only in its network namespace.
func linkOf(ifindex int, program uint32) uint32 {
	var it link.Iterator
	defer it.Close()
	for it.Next() {
		info, err := it.Link.Info()
		if err != nil || uint32(info.Program) != program {
			continue
		}
		if xdp := info.XDP(); xdp != nil && int(xdp.Ifindex) == ifindex {
			return uint32(it.ID)
		}
	}
	return 0
}
