package stamp

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// kernel is what stamps packets in the kernel. It ends with the process, however that ends: its links are pinned nowhere, and that of the XDP
// program is the process's own.
type kernel struct {
	spec   *ebpf.CollectionSpec
	maps   *ebpf.Collection // and variables; no programs
	links  []link.Link
	xdp    link.Link     // of the XDP program that was there, which runs behind ours meanwhile
	before *ebpf.Program // that
}

// attachKernel stamps the packets of an interface in the calling thread's network namespace: those of this process's AF_XDP sockets, where xdp is
// set, which must be open by then, or those of the kernel's sockets. each bounds the stamps of a direction. What this kernel or device has no
// place for goes without stamps; missing says why. Linux 5.12 or later, with BTF; CAP_SYS_ADMIN.
func attachKernel(ifindex int, xdp bool, each int) (_ *kernel, missing []string, err error) {
	k := &kernel{}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("stamp: %w", err), k.close())
		}
	}()
	if k.spec, err = loadKernel(); err != nil {
		return nil, nil, err
	}
	device, err := netlink.LinkByIndex(ifindex)
	if err != nil {
		return nil, nil, err
	}
	if err := k.filter(ifindex); err != nil {
		return nil, nil, err
	}
	k.spec.Maps[kernelMapSent].MaxEntries, k.spec.Maps[kernelMapArrived].MaxEntries = uint32(each), 2*uint32(each)
	programs := k.spec.Programs
	k.spec.Programs = nil
	if k.maps, err = ebpf.NewCollection(k.spec); err != nil {
		return nil, nil, err
	}
	try := func(what string, attach func(*ebpf.ProgramSpec) error, name string) {
		if err := attach(programs[name]); err != nil {
			missing = append(missing, fmt.Sprintf("%s is not stamped: %v", what, err))
		}
	}
	if !xdp {
		try("the driver's sending", k.trace, kernelProgStartXmit)
		try("what comes from the driver", k.trace, kernelProgReceiveSkb)
		return k, missing, nil
	}
	if device.Type() == "veth" {
		try("the driver's sending", k.trace, kernelProgRaiseSoftirq)
	} else {
		missing = append(missing, "the driver's sending is not stamped: of AF_XDP sockets veth's alone can be; the wire begins with the kick")
	}
	try("the RX ring", k.trace, kernelProgRedirectXdp)
	try("what comes from the driver", func(p *ebpf.ProgramSpec) error { return k.goBefore(p, device) }, kernelProgRunXdp)
	return k, missing, nil
}

// filter says which interface and which process are meant.
func (k *kernel) filter(ifindex int) error {
	var network, processes unix.Stat_t
	if err := errors.Join(unix.Stat("/proc/thread-self/ns/net", &network), unix.Stat("/proc/self/ns/pid", &processes)); err != nil {
		return fmt.Errorf("the process's namespaces: %w", err)
	}
	set := func(name string, value any) error { return k.spec.Variables[name].Set(value) }
	return errors.Join(set(kernelVarIfindex, int32(ifindex)), set(kernelVarNetns, uint32(network.Ino)), set(kernelVarProcess, uint32(os.Getpid())),
		set(kernelVarPidnsDev, processes.Dev), set(kernelVarPidnsIno, processes.Ino))
}

// load loads one program, to use the maps that are there.
func (k *kernel) load(p *ebpf.ProgramSpec) (*ebpf.Program, error) {
	spec := *k.spec
	spec.Programs = map[string]*ebpf.ProgramSpec{p.Name: p}
	c, err := ebpf.NewCollectionWithOptions(&spec, ebpf.CollectionOptions{MapReplacements: k.maps.Maps})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.DetachProgram(p.Name), nil
}

// trace attaches a program to its tracepoint.
func (k *kernel) trace(p *ebpf.ProgramSpec) error {
	program, err := k.load(p)
	if err != nil {
		return err
	}
	defer program.Close() // the link holds it
	l, err := link.AttachTracing(link.TracingOptions{Program: program})
	if err == nil {
		k.links = append(k.links, l)
	}
	return err
}

// goBefore puts a program in the place of the XDP program on the device, to which it goes on.
func (k *kernel) goBefore(p *ebpf.ProgramSpec, device netlink.Link) (err error) {
	xdp := device.Attrs().Xdp
	if xdp == nil || xdp.ProgId == 0 {
		return fmt.Errorf("no XDP program is attached to %s", device.Attrs().Name)
	}
	if k.xdp, err = linkOf(ebpf.ProgramID(xdp.ProgId)); err != nil {
		return err
	}
	if k.before, err = ebpf.NewProgramFromID(ebpf.ProgramID(xdp.ProgId)); err != nil {
		return err
	}
	if device.Attrs().MTU > singlePage {
		p.Flags |= unix.BPF_F_XDP_HAS_FRAGS // both programs or none (kernel/bpf/core.c, bpf_prog_map_compatible)
	}
	program, err := k.load(p)
	if err != nil {
		return err
	}
	defer program.Close()
	if err := k.maps.Maps[kernelMapBefore].Put(uint32(0), k.before); err != nil {
		return err
	}
	return k.xdp.Update(program)
}

// singlePage is the MTU up to which this project's XDP programs are loaded for packets of one buffer.
const singlePage = 1500

// linkOf finds the bpf_link that holds an XDP program.
func linkOf(program ebpf.ProgramID) (link.Link, error) {
	it := new(link.Iterator)
	defer it.Close()
	for it.Next() {
		if info, err := it.Link.Info(); err == nil && info.Program == program && info.Type == link.XDPType {
			return it.Take(), nil
		}
	}
	if err := it.Err(); err != nil {
		return nil, err
	}
	return nil, errors.New("the XDP program on the interface is attached without a bpf_link")
}

// detach ends the stamping, and puts the XDP program back that was there; the stamps stay.
func (k *kernel) detach() (err error) {
	for _, l := range k.links {
		err = errors.Join(err, l.Close())
	}
	k.links = nil
	if k.before != nil {
		err = errors.Join(err, k.xdp.Update(k.before), k.before.Close())
		k.before = nil
	}
	if k.xdp != nil {
		err = errors.Join(err, k.xdp.Close())
		k.xdp = nil
	}
	return err
}

// events gives the stamps of either direction, each in the order of time, and how many had no room. It is called after detach.
func (k *kernel) events() (sent, arrived []Event, lost int, err error) {
	read := func(name, counter string) []Event {
		var n uint32
		// A .data section's variable of 64 bytes, whose first four count.
		var line [64]byte
		if e := k.maps.Variables[counter].Get(&line); e != nil {
			err = errors.Join(err, e)
			return nil
		}
		n = *(*uint32)(unsafe.Pointer(&line))
		m := k.maps.Maps[name]
		if over := int(n) - int(m.MaxEntries()); over > 0 {
			lost += over
			n = m.MaxEntries()
		}
		memory, e := m.Memory()
		if e != nil {
			err = errors.Join(err, e)
			return nil
		}
		events := make([]Event, n)
		if n > 0 {
			_, e = memory.ReadAt(unsafe.Slice((*byte)(unsafe.Pointer(&events[0])), int(n)*int(unsafe.Sizeof(Event{}))), 0)
			err = errors.Join(err, e)
		}
		return events
	}
	return read(kernelMapSent, kernelVarSentCount), read(kernelMapArrived, kernelVarArrivedCount), lost, err
}

func (k *kernel) close() error {
	err := k.detach()
	if k.maps != nil {
		k.maps.Close()
	}
	return err
}
