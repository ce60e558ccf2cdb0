package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// runDir holds the named network namespaces, as ip-netns(8) has it.
const runDir = "/run/netns"

// markPrefix starts the alias of lo in a lab's namespaces; the namespace's name follows.
const markPrefix = "fastrpc lab "

// A role is one of a lab's two hosts.
type role struct {
	suffix string
	ipv4   netip.Prefix
	ipv6   netip.Prefix
	local6 netip.Prefix
	mac    [6]byte
	of     func(*Lab) *Host
}

var roles = [2]role{
	{
		suffix: "-client",
		ipv4:   netip.MustParsePrefix("198.18.0.1/24"),
		ipv6:   netip.MustParsePrefix("2001:2::1/64"),
		local6: netip.MustParsePrefix("fe80::1/64"),
		mac:    [6]byte{0x02, 0xfa, 0x57, 0, 0, 1}, // locally administered
		of:     func(l *Lab) *Host { return &l.client },
	},
	{
		suffix: "-server",
		ipv4:   netip.MustParsePrefix("198.18.0.2/24"),
		ipv6:   netip.MustParsePrefix("2001:2::2/64"),
		local6: netip.MustParsePrefix("fe80::2/64"),
		mac:    [6]byte{0x02, 0xfa, 0x57, 0, 0, 2},
		of:     func(l *Lab) *Host { return &l.server },
	},
}

func (r *role) namespace(lab string) string { return lab + r.suffix }
func (r *role) path(lab string) string      { return filepath.Join(runDir, r.namespace(lab)) }

// create makes the namespace: marked and with lo up before it gets its name, so that a maker that dies leaves nothing that cannot be told.
func (r *role) create(lab string) error {
	return onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("new network namespace: %w", privileged(err))
		}
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("netlink: %w", err)
		}
		defer h.Close()
		lo, err := h.LinkByName("lo")
		if err != nil {
			return fmt.Errorf("lo: %w", err)
		}
		if err := h.LinkSetAlias(lo, markPrefix+r.namespace(lab)); err != nil {
			return fmt.Errorf("mark namespace: %w", err)
		}
		if err := h.LinkSetUp(lo); err != nil {
			return fmt.Errorf("lo up: %w", err)
		}
		path := r.path(lab)
		f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE|os.O_EXCL, 0o444)
		if err != nil {
			return fmt.Errorf("name namespace: %w", err)
		}
		f.Close()
		if err := unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, ""); err != nil {
			return errors.Join(fmt.Errorf("name namespace %s: %w", path, privileged(err)), os.Remove(path))
		}
		return nil
	})
}

// remove takes the namespace's name away, and its end of the cable, which processes inside could otherwise keep.
func (r *role) remove(lab string) error {
	path := r.path(lab)
	ns, err := r.open(lab)
	switch {
	case errors.Is(err, ErrNotExist):
		return nil
	case errors.Is(err, errNoNamespace): // the maker was killed before it could mount the namespace
		return os.Remove(path)
	case err != nil:
		return err
	}
	defer unix.Close(ns)
	err = inside(ns, func() error {
		link, err := netlink.LinkByName(Interface)
		if errors.As(err, &netlink.LinkNotFoundError{}) {
			return nil
		}
		if err == nil {
			err = netlink.LinkDel(link)
		}
		if errors.Is(err, unix.ENODEV) { // it went with the other end, whose namespace the kernel is taking down
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("remove %s of %s: %w", Interface, r.namespace(lab), err)
	}
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount %s: %w", path, privileged(err))
	}
	return os.Remove(path)
}

// errNoNamespace is about an empty file under runDir.
var errNoNamespace = errors.New("no namespace is mounted")

// open opens the namespace, after making sure that a lab made it. The caller closes it.
func (r *role) open(lab string) (int, error) {
	name := r.namespace(lab)
	ns, mark, err := openMarked(name)
	if err != nil {
		return -1, err
	}
	if mark != name {
		unix.Close(ns)
		return -1, fmt.Errorf("%s: %w: it is left alone; choose another name for the lab", r.path(lab), ErrForeign)
	}
	return ns, nil
}

// openMarked opens a named namespace and reads its mark; "" when it has none.
func openMarked(name string) (ns int, mark string, err error) {
	path := filepath.Join(runDir, name)
	ns, err = unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ENOENT) {
		return -1, "", fmt.Errorf("%s: %w", path, ErrNotExist)
	}
	if err != nil {
		return -1, "", fmt.Errorf("%s: %w", path, privileged(err))
	}
	defer func() {
		if err != nil {
			unix.Close(ns)
			ns = -1
		}
	}()
	var sfs unix.Statfs_t
	if err = unix.Fstatfs(ns, &sfs); err != nil {
		return ns, "", fmt.Errorf("%s: %w", path, err)
	}
	if sfs.Type != unix.NSFS_MAGIC {
		var st unix.Stat_t
		if err := unix.Fstat(ns, &st); err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size == 0 {
			return ns, "", fmt.Errorf("%s: %w", path, errNoNamespace)
		}
		return ns, "", fmt.Errorf("%s: %w", path, ErrForeign)
	}
	err = inside(ns, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		mark, _ = strings.CutPrefix(lo.Attrs().Alias, markPrefix)
		return nil
	})
	return ns, mark, err
}

// lockRunDir makes runDir if need be and keeps other makers of namespaces out, iproute2's among them, which takes the same lock. As there,
// runDir becomes a shared mount, so that names vanish from all mount namespaces when they are removed.
func lockRunDir() (unlock func(), err error) {
	if err := os.MkdirAll(runDir, 0o755); err != nil {
		return nil, privileged(err)
	}
	fd, err := unix.Open(runDir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: runDir, Err: err}
	}
	for err = unix.EINTR; err == unix.EINTR; {
		err = unix.Flock(fd, unix.LOCK_EX)
	}
	if err == nil {
		err = unix.Mount("", runDir, "none", unix.MS_SHARED|unix.MS_REC, "")
	}
	if err == unix.EINVAL { // not a mount yet
		if err = unix.Mount(runDir, runDir, "none", unix.MS_BIND|unix.MS_REC, ""); err == nil {
			err = unix.Mount("", runDir, "none", unix.MS_SHARED|unix.MS_REC, "")
		}
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("prepare %s: %w", runDir, privileged(err))
	}
	return func() { unix.Close(fd) }, nil // which drops the lock
}
