package bpf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// dispatchDir is libxdp's folder in the BPF file system, which holds the programs of all dispatchers:
//
//	dispatch-IFINDEX-ID/progN-prog  the program in slot N of the dispatcher with this id
//	dispatch-IFINDEX-ID/progN-link  what keeps it there
//	fastrpc-NETNS-ID                ours: locked for as long as the process lives that the steering program with this id belongs to
type dispatchDir string

// openDispatchDir finds the folder, and makes it where no one was.
func openDispatchDir() (dispatchDir, error) {
	fs := "/sys/fs/bpf"
	if given := os.Getenv("LIBXDP_BPFFS"); given != "" && !isSecure() {
		fs = given
	}
	var st unix.Statfs_t
	if err := unix.Statfs(fs, &st); err != nil || st.Type != unix.BPF_FS_MAGIC {
		return "", fmt.Errorf("bpf: no BPF file system at %s, where dispatchers keep their programs ('ip netns exec' hides it): "+
			"'mount -t bpf bpf %[1]s'", fs)
	}
	dir := filepath.Join(fs, "xdp")
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", fmt.Errorf("bpf: the folder of dispatchers: %w", err)
	}
	return dispatchDir(dir), nil
}

// isSecure is getauxval(AT_SECURE): capabilities that the caller does not have, so that what it says of the environment is not to be trusted.
func isSecure() bool {
	const atSecure = 23 // include/uapi/linux/auxvec.h
	aux, err := unix.Auxv()
	for _, entry := range aux {
		if entry[0] == atSecure {
			return entry[1] != 0
		}
	}
	return err != nil
}

const (
	lockPatience = 10 * time.Second // for others, who hold the lock for the milliseconds that a change takes
	lockPause    = 5 * time.Millisecond
)

// lock takes the lock under which the folder is read and changed. Closing the file gives it back.
func (d dispatchDir) lock() (*os.File, error) {
	f, err := os.Open(string(d))
	if err != nil {
		return nil, fmt.Errorf("bpf: the folder of dispatchers: %w", err)
	}
	for deadline := time.Now().Add(lockPatience); ; time.Sleep(lockPause) {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return f, nil
		case !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) || time.Now().After(deadline):
			f.Close()
			return nil, fmt.Errorf("bpf: the lock on %s, which another process holds (see 'lslocks'): %w", d, err)
		}
	}
}

// of is the folder of a dispatcher.
func (d dispatchDir) of(ifindex int, id ebpf.ProgramID) string {
	return filepath.Join(string(d), fmt.Sprintf("dispatch-%d-%d", ifindex, id))
}

func progPin(dir string, slot int) string {
	return filepath.Join(dir, fmt.Sprintf("prog%d-prog", slot))
}
func linkPin(dir string, slot int) string {
	return filepath.Join(dir, fmt.Sprintf("prog%d-link", slot))
}

// removeDispatcher takes a dispatcher's pins away; what is not there is no error. The links' first: a link without a program cannot be.
func removeDispatcher(dir string) error {
	var errs []error
	for slot := range dispatcherSlots {
		for _, pin := range []string{linkPin(dir, slot), progPin(dir, slot)} {
			if err := os.Remove(pin); err != nil && !errors.Is(err, os.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("bpf: removing a dispatcher: %w", err)
	}
	return nil
}

// dispatchEntry is a dispatcher's folder.
type dispatchEntry struct {
	ifindex int
	id      ebpf.ProgramID
	dir     string
}

// holding lists the dispatchers of any interface that have a program in a slot.
func (d dispatchDir) holding(program ebpf.ProgramID) (found []dispatchEntry, err error) {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return nil, fmt.Errorf("bpf: the folder of dispatchers: %w", err)
	}
	for _, entry := range entries {
		var p dispatchEntry
		if _, err := fmt.Sscanf(entry.Name(), "dispatch-%d-%d", &p.ifindex, &p.id); err != nil {
			continue
		}
		p.dir = filepath.Join(string(d), entry.Name())
		for slot := range dispatcherSlots {
			prog, err := ebpf.LoadPinnedProgram(progPin(p.dir, slot), nil)
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("bpf: %s: %w", progPin(p.dir, slot), err)
			}
			id, err := idOf(prog)
			prog.Close()
			if err != nil {
				return nil, err
			}
			if id == program {
				found = append(found, p)
				break
			}
		}
	}
	return found, nil
}

func idOf(prog *ebpf.Program) (ebpf.ProgramID, error) {
	info, err := prog.Info()
	if err != nil {
		return 0, fmt.Errorf("bpf: %w", err)
	}
	id, _ := info.ID()
	return id, nil
}

// claim says that a steering program belongs to a process that lives: a folder, because nothing else in a BPF file system can be locked.
type claim struct {
	path   string
	locked *os.File // nil once released
}

// netnsInode names the calling thread's network namespace for as long as that exists.
func netnsInode() (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &st); err != nil {
		return 0, fmt.Errorf("bpf: this thread's network namespace (is /proc mounted?): %w", err)
	}
	return st.Ino, nil
}

func (d dispatchDir) claim(netns uint64, program ebpf.ProgramID) (*claim, error) {
	c := &claim{path: filepath.Join(string(d), fmt.Sprintf("fastrpc-%d-%d", netns, program))}
	if err := os.Mkdir(c.path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("bpf: %w", err)
	}
	f, err := os.Open(c.path)
	if err != nil {
		return nil, fmt.Errorf("bpf: %w", errors.Join(err, os.Remove(c.path)))
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("bpf: locking %s: %w", c.path, err)
	}
	c.locked = f
	return c, nil
}

func (c *claim) release() error { return errors.Join(os.Remove(c.path), c.locked.Close()) }

// dead takes over the claims of processes that did not release theirs, of one network namespace: programs of others may be attached there.
func (d dispatchDir) dead(netns uint64) (claims map[ebpf.ProgramID]*claim, err error) {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return nil, fmt.Errorf("bpf: the folder of dispatchers: %w", err)
	}
	claims = map[ebpf.ProgramID]*claim{}
	for _, entry := range entries {
		var (
			of uint64
			id ebpf.ProgramID
		)
		if _, err := fmt.Sscanf(entry.Name(), "fastrpc-%d-%d", &of, &id); err != nil || of != netns {
			continue
		}
		if c, err := d.claim(netns, id); err == nil {
			claims[id] = c
		} else if !errors.Is(err, unix.EWOULDBLOCK) {
			return claims, err
		}
	}
	return claims, nil
}
