package xdp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/afxdp"
	"github.com/fastrpc/fastrpc/bpf"
	"github.com/fastrpc/fastrpc/internal/netpath"
	"github.com/fastrpc/fastrpc/internal/tap"
	"github.com/fastrpc/fastrpc/transport"
)

// deviceKey names an interface of one network namespace.
type deviceKey struct {
	nsDev, nsInode uint64
	ifindex        int
}

// device is an interface as this process has opened it: what all its Links and Ports share.
type device struct {
	key      deviceKey
	name     string
	goneErr  error
	settings settings
	queues   int // that the interface uses for receiving

	tables  *netpath.Tables
	card    card
	prog    *bpf.Program
	umem    *afxdp.Umem
	links   []*Link // the first serves the kernel's sockets
	watcher io.Closer

	observers *tap.Server // who looks; nil: see whyUnseen
	whyUnseen error

	stop    context.CancelFunc // ends the refresher
	stopped sync.WaitGroup
	stale   chan struct{} // tells the refresher; holds one

	// Read by the Links on the packet's way.
	peers      peers
	generation atomic.Uint64 // grows when mac or a peer's next hop changes
	mac        atomic.Uint64
	payload4   atomic.Uint32 // largest Frame.Data by the interface's MTU
	payload6   atomic.Uint32
	sockets    atomic.Pointer[[]*kernelSocket]
	ready      readiness                   // which of them have something
	bound      atomic.Pointer[[]boundAddr] // nil when no Port is bound to an address

	mu    sync.Mutex // guards the life of the device: what follows, and Link.refs
	state deviceState
	held  map[uint16]*holding // by port
}

type deviceState uint8

const (
	deviceNew     deviceState = iota
	deviceOpen                // Ports may be added
	deviceClosing             // no new Ports; some Links are not closed yet
	deviceClosed
)

// devices are those that can take Ports, in this process.
var devices = struct {
	sync.Mutex
	by map[deviceKey]*device
}{by: map[deviceKey]*device{}}

// acquireDevice returns the device of an interface in the calling thread's namespace, with a reference to each of its Links, opened if need be.
func acquireDevice(ifi iface, s settings) (*device, error) {
	key, err := keyOf(ifi.index)
	if err != nil {
		return nil, err
	}
	for {
		devices.Lock()
		d := devices.by[key]
		if d == nil {
			d = &device{key: key, name: ifi.name, settings: s, held: map[uint16]*holding{}}
			d.peers.number = map[peerKey]uint32{}
			devices.by[key] = d
		}
		devices.Unlock()
		if err := d.acquire(ifi, s); !errors.Is(err, errDeviceClosing) {
			return d, err
		}
		// It was given up between the two locks, and is no longer in the table.
	}
}

var errDeviceClosing = errors.New("xdp: device is being closed")

func (d *device) acquire(ifi iface, s settings) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch d.state {
	case deviceNew:
		if err := d.open(ifi); err != nil {
			d.state = deviceClosed
			d.forget()
			return errors.Join(err, d.teardown())
		}
		d.state = deviceOpen
	case deviceOpen:
		if err := d.settings.conflict(&s); err != nil {
			return fmt.Errorf("xdp: %s: %w", d.name, err)
		}
	default:
		return errDeviceClosing
	}
	for _, l := range d.links {
		l.refs++
	}
	return nil
}

func keyOf(ifindex int) (deviceKey, error) {
	var st unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &st); err != nil {
		return deviceKey{}, fmt.Errorf("xdp: this thread's network namespace (is /proc mounted?): %w", err)
	}
	return deviceKey{nsDev: st.Dev, nsInode: st.Ino, ifindex: ifindex}, nil
}

func (d *device) forget() {
	devices.Lock()
	defer devices.Unlock()
	if devices.by[d.key] == d {
		delete(devices.by, d.key)
	}
}

// open attaches the program and opens the sockets. After an error, teardown releases what is there.
func (d *device) open(ifi iface) (err error) {
	defer func() { err = setupError(err) }()
	s := &d.settings
	d.goneErr = fmt.Errorf("xdp: %s: %w", d.name, ErrInterfaceGone)
	d.sockets.Store(new([]*kernelSocket))
	if err := d.ready.open(); err != nil {
		return fmt.Errorf("xdp: %w", err)
	}
	if err := d.plan(ifi); err != nil {
		return err
	}
	if d.tables, err = netpath.Open(); err != nil {
		return fmt.Errorf("xdp: %w", err)
	}
	mode := map[string]bpf.Mode{auto: bpf.Auto, native: bpf.Native, generic: bpf.Generic}[s.mode]
	if d.prog, err = d.steering(bpf.Options{Mode: mode, MultiBuffer: s.multiBuffer}); err != nil {
		if errors.Is(err, unix.ERANGE) {
			return fmt.Errorf("xdp: %w: %w", ErrMTU, err)
		}
		return fmt.Errorf("xdp: %w", err)
	}
	d.card.thread = s.pollThread
	d.card.open(d.key.ifindex, s.queues, d.queues)
	if d.umem, err = afxdp.NewUmem(afxdp.UmemConfig{Chunks: len(s.queues) * s.memory() / s.chunk, ChunkBytes: s.chunk}); err != nil {
		return fmt.Errorf("xdp: %w", err)
	}
	for i := range s.queues {
		if err := d.openLink(i); err != nil {
			return fmt.Errorf("xdp: %w", err)
		}
	}
	if err := d.watch(); err != nil {
		return err
	}
	d.observe()
	return nil
}

// release drops one reference to l. The last one closes it; the first Link to go takes the steering program with it, because a program
// whose sockets are gone would lose packets, and the last one everything else.
func (d *device) release(l *Link) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l.refs == 0 {
		return nil
	}
	if l.refs--; l.refs > 0 {
		return nil
	}
	var errs []error
	if d.state == deviceOpen {
		d.state = deviceClosing
		d.forget()
		errs = append(errs, d.letGo()...)
	}
	errs = append(errs, l.shut())
	for _, other := range d.links {
		if other.refs > 0 {
			return errors.Join(errs...)
		}
	}
	d.state = deviceClosed
	return errors.Join(append(errs, d.teardown())...)
}

// teardown releases all that is there, in the order that loses no packet of others: what steers, then the sockets, then their memory.
func (d *device) teardown() error {
	errs := d.letGo()
	if d.stop != nil {
		d.stop()
		d.stopped.Wait()
	}
	if d.watcher != nil {
		errs = append(errs, d.watcher.Close())
	}
	for _, l := range d.links {
		errs = append(errs, l.shut())
	}
	if d.umem != nil {
		errs = append(errs, d.umem.Close())
	}
	if d.tables != nil {
		errs = append(errs, d.tables.Close())
	}
	errs = append(errs, d.card.close(), d.ready.close())
	return errors.Join(errs...)
}

// letGo sends those away who look, and gives everything back to the kernel that is steered to us: first the packets, then the ports.
func (d *device) letGo() (errs []error) {
	errs = append(errs, d.observers.Close())
	errs = append(errs, d.card.giveBack())
	if d.prog != nil {
		errs = append(errs, d.prog.Close())
	}
	for _, h := range d.held {
		errs = append(errs, h.close())
	}
	clear(d.held)
	d.publish(nil, nil)
	return errs
}

// tell gives an event to every Link.
func (d *device) tell(e transport.Event) {
	for _, l := range d.links {
		l.events.push(e)
		l.Wake()
	}
}
