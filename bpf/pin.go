package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// PinRoot is where interfaces are set up by default: a folder of the BPF file system.
const PinRoot = "/sys/fs/bpf/fastrpc"

// PinDir is where an interface of this name is set up by default.
func PinDir(iface string) string {
	return filepath.Join(PinRoot, strings.ReplaceAll(iface, ".", "%")) // no name in a BPF file system has a dot (kernel/bpf/inode.c, bpf_lookup)
}

// What is pinned beside the maps.
const (
	pinProgram = "program"
	pinLink    = "link" // pinned last: where it is, all is
)

// PinOptions are the settings of Pin.
type PinOptions struct {
	Options
	Prefixes []netip.Prefix // see SetPrefixes

	// Who may take part, and so have any queue and port of the interface: the maps get this owner, group (-1: the caller's) and these bits of
	// read and write permission. The attachment and the list of prefixes stay the caller's alone.
	UID, GID int
	Perm     fs.FileMode
}

// Pinned is an interface that is set up.
type Pinned struct {
	Mode       Mode
	WhyGeneric error // as Program.WhyGeneric
	Queues     int   // that can have a socket
	Found      bool  // it was set up before
}

// Pin attaches the program as Attach does, and pins it with its maps in dir, a folder of a BPF file system that it makes if need be. The
// attachment then stays until Unpin, whoever ends; OpenPinned takes part in it.
//
// An interface that is set up already, in the same mode and for the same queues, gets the prefixes and the permissions that o says, and
// nothing of what runs over it is disturbed; with others, it is an error. What is left of a Pin that was killed, or of an interface that
// is gone, is replaced.
func Pin(ifindex int, dir string, o PinOptions) (Pinned, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	if o.Dispatcher {
		return Pinned{}, errors.New("bpf: a program in a dispatcher is not pinned: share the interface by one or the other")
	}
	dev, err := lookup(ifindex)
	if err != nil {
		return Pinned{}, err
	}
	unlock, err := makePinDir(dir)
	if err != nil {
		return Pinned{}, err
	}
	defer unlock()
	found, ok, err := findPinned(dev, dir, o.Options)
	if err != nil {
		return Pinned{}, err
	}
	if !ok {
		if err := removePins(dir); err != nil {
			return Pinned{}, fmt.Errorf("bpf: removing what is left of an earlier set-up: %w", err)
		}
		if found, err = pin(ifindex, dir, o); err != nil {
			return Pinned{}, errors.Join(err, removeAll(dir))
		}
		return found, nil
	}
	sources, err := ebpf.LoadPinnedMap(filepath.Join(dir, steerMapSources), nil)
	if err != nil {
		return Pinned{}, fmt.Errorf("bpf: the list of prefixes: %w", err)
	}
	defer sources.Close()
	return found, errors.Join(setPrefixes(sources, o.Prefixes), setOwner(dir, o))
}

// Unpin undoes Pin: the program is detached, and what was pinned in dir is removed. Processes that take part go on through their kernel
// sockets. A dir that is not there is no error.
func Unpin(dir string) error {
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	unlock, err := makePinDir(dir)
	if err != nil {
		return err
	}
	defer unlock()
	return removeAll(dir)
}

// pin makes everything anew. After an error, the caller removes what is there.
func pin(ifindex int, dir string, o PinOptions) (Pinned, error) {
	p, err := Attach(ifindex, o.Options)
	if err != nil {
		return Pinned{}, err
	}
	defer p.Close() // a pinned link stays
	if err := p.SetPrefixes(o.Prefixes); err != nil {
		return Pinned{}, err
	}
	pins := map[string]interface{ Pin(string) error }{pinProgram: p.objs.FastrpcSteer, steerMapSources: p.objs.Sources}
	for name, m := range p.objs.pinned() {
		pins[name] = *m
	}
	for name, object := range pins {
		if err := object.Pin(filepath.Join(dir, name)); err != nil {
			return Pinned{}, fmt.Errorf("bpf: pinning: %w", err)
		}
	}
	if err := setOwner(dir, o); err != nil {
		return Pinned{}, err
	}
	if err := p.link.Pin(filepath.Join(dir, pinLink)); err != nil {
		return Pinned{}, fmt.Errorf("bpf: pinning: %w", err)
	}
	return Pinned{Mode: p.mode, WhyGeneric: p.whyGeneric, Queues: p.queues}, nil
}

// findPinned tells what is pinned already, and refuses what is not as o wants it.
func findPinned(dev device, dir string, o Options) (found Pinned, ok bool, err error) {
	l, err := link.LoadPinnedLink(filepath.Join(dir, pinLink), nil)
	if errors.Is(err, fs.ErrNotExist) {
		return found, false, nil
	}
	if err != nil {
		return found, false, fmt.Errorf("bpf: %s: %w", filepath.Join(dir, pinLink), err)
	}
	defer l.Close()
	info, err := l.Info()
	if err != nil {
		return found, false, fmt.Errorf("bpf: %s: %w", filepath.Join(dir, pinLink), err)
	}
	if uint32(info.Program) != dev.xdp.ProgId {
		if xdp := info.XDP(); xdp != nil && xdp.Ifindex != 0 { // zero once the interface is gone (net/core/dev.c, bpf_xdp_link_fill_link_info)
			return found, false, fmt.Errorf("bpf: %s holds another interface, of index %d, maybe in another network namespace: set %s up with another "+
				"--dir, or remove that one first with 'fastrpc setup %s --remove'", dir, xdp.Ifindex, dev.name, dev.name)
		}
		return found, false, nil
	}
	p, err := OpenPinned(dev.index, dir)
	if err != nil {
		return found, false, err
	}
	defer p.objs.Close()
	if o.Mode != Auto && o.Mode != p.mode || o.Queues != 0 && o.Queues != p.queues {
		return found, false, fmt.Errorf("bpf: %s is set up in %v mode with %d queues: to have it otherwise, run 'fastrpc setup %s --remove' first, "+
			"which ends what goes over it", dev.name, p.mode, p.queues, dev.name)
	}
	return Pinned{Mode: p.mode, Queues: p.queues, Found: true}, true, nil
}

// makePinDir makes dir and locks the folder above against another Pin or Unpin.
func makePinDir(dir string) (unlock func(), err error) {
	parent := filepath.Dir(dir)
	for above := parent; ; above = filepath.Dir(above) { // the nearest that is there
		var st unix.Statfs_t
		err := unix.Statfs(above, &st)
		if err == nil && st.Type == unix.BPF_FS_MAGIC {
			break
		}
		if err == nil || above == "/" {
			return nil, fmt.Errorf("bpf: %s is not in a BPF file system: run 'mount -t bpf bpf /sys/fs/bpf', or name a folder of another one", dir)
		}
	}
	for _, d := range []string{parent, dir} {
		err := os.Mkdir(d, 0o755)
		if err == nil {
			err = os.Chmod(d, 0o755) // whatever the umask: the objects have permissions of their own
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("bpf: %w", err)
		}
	}
	fd, err := unix.Open(parent, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil {
		err = unix.Flock(fd, unix.LOCK_EX)
	}
	if err != nil {
		return nil, fmt.Errorf("bpf: locking %s: %w", parent, err)
	}
	return func() { unix.Close(fd) }, nil
}

// setOwner gives those who shall take part what they need: to write the maps, and to know the program.
func setOwner(dir string, o PinOptions) error {
	perms := map[string]fs.FileMode{pinProgram: o.Perm & 0o444}
	for name := range (&steerObjects{}).pinned() {
		perms[name] = o.Perm
	}
	for name, perm := range perms {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.Chown(path, o.UID, o.GID), os.Chmod(path, perm)); err != nil {
			return fmt.Errorf("bpf: %w", err)
		}
	}
	return nil
}

// removeAll removes dir, and the folder above unless something else is in it. The caller holds the lock.
func removeAll(dir string) error {
	if err := errors.Join(removePins(dir), os.Remove(dir)); err != nil {
		return fmt.Errorf("bpf: %w", err)
	}
	if err := os.Remove(filepath.Dir(dir)); err != nil && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("bpf: %w", err)
	}
	return nil
}

// removePins removes what Pin made, the attachment first.
func removePins(dir string) error {
	var errs []error
	if l, err := link.LoadPinnedLink(filepath.Join(dir, pinLink), nil); err == nil {
		errs = append(errs, l.Detach()) // with its last file the link would go only later (kernel/bpf/syscall.c, bpf_link_put)
		defer l.Close()
	}
	for _, name := range []string{pinLink, pinProgram, steerMapSources, steerMapPorts, steerMapSockets, steerMapVerdicts} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
