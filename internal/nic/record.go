package nic

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// recordDir has a file for each claim that changed something. It is in memory, as the changes are: a reboot ends both.
var recordDir = "/run/fastrpc/nic"

// record is the file of a claim: a line for each change, in JSON, behind one that says whose it is. The owner holds a lock on it (flock), which
// the kernel releases when the owner dies: unlike a process number, it means the same in every PID namespace and is not given to another.
type record struct {
	file *os.File
	pid  int
	next int // number of the next entry
}

type recordHead struct {
	Pid     int    // for people
	Device  string // for people
	Netns   uint64
	Ifindex int
}

// locked runs f while no other process makes, takes back or looks for changes. Without a directory there is nothing to look for.
func locked(f func() error) error {
	if err := os.MkdirAll(recordDir, 0o755); err != nil {
		return fmt.Errorf("nic: what is changed has to be written down, in %s: %w", recordDir, err)
	}
	lock, err := os.OpenFile(filepath.Join(recordDir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("nic: %w", err)
	}
	err = flock(lock, unix.LOCK_EX)
	if err == nil {
		err = f()
	}
	return errors.Join(err, lock.Close()) // which releases it
}

func flock(f *os.File, how int) error {
	for {
		if err := unix.Flock(int(f.Fd()), how); err != unix.EINTR {
			return os.NewSyscallError("flock", err)
		}
	}
}

// pattern matches the records of the device.
func (d *Device) pattern() string { return fmt.Sprintf("%d-%d-*.json", d.netns, d.index) }

// newRecord makes the file and takes its lock.
func newRecord(d *Device) (*record, error) {
	name, err := d.Name()
	if err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(recordDir, d.pattern())
	if err != nil {
		return nil, fmt.Errorf("nic: %w", err)
	}
	r := &record{file: f, pid: os.Getpid(), next: 1}
	err = flock(f, unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		err = json.NewEncoder(f).Encode(recordHead{Pid: r.pid, Device: name, Netns: d.netns, Ifindex: d.index})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("nic: %s: %w", f.Name(), err), r.remove())
	}
	return r, nil
}

// write appends an entry, in one piece.
func (r *record) write(e *entry) error {
	e.Number = r.next
	r.next++
	line, err := json.Marshal(e)
	if err == nil {
		_, err = r.file.Write(append(line, '\n'))
	}
	if err != nil {
		return fmt.Errorf("nic: %s: %w", r.file.Name(), err)
	}
	return nil
}

// entries reads the changes that were not taken back. A last line that is cut off is a change that was not made.
func (r *record) entries() (left []entry, err error) {
	data, err := io.ReadAll(io.NewSectionReader(r.file, 0, 1<<24))
	if err != nil {
		return nil, fmt.Errorf("nic: %s: %w", r.file.Name(), err)
	}
	for i, line := range bytes.SplitAfter(data, []byte("\n")) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break
		}
		if i == 0 {
			var head recordHead
			err = json.Unmarshal(line, &head)
			r.pid = head.Pid
		} else {
			var e entry
			err = json.Unmarshal(line, &e)
			left = append(left, e)
		}
		if err != nil {
			return nil, fmt.Errorf("nic: %s, line %d: %w; delete the file if nothing of fastrpc runs", r.file.Name(), i+1, err)
		}
	}
	undone := map[int]bool{}
	for _, e := range left {
		undone[e.Undone] = true
	}
	kept := left[:0]
	for _, e := range left {
		if e.Undone == 0 && !undone[e.Number] {
			kept = append(kept, e)
		}
	}
	return kept, nil
}

func (r *record) close() error { return r.file.Close() }

func (r *record) remove() error {
	return errors.Join(os.Remove(r.file.Name()), r.file.Close())
}

// records gives the changes of those who live, but for one record, and the records of those who are no more, which are locked by then.
func (d *Device) records(except *record) (living []entry, dead []*record, err error) {
	names, err := filepath.Glob(filepath.Join(recordDir, d.pattern()))
	if err != nil {
		return nil, nil, err
	}
	var errs []error
	for _, name := range names {
		if except != nil && name == except.file.Name() {
			continue
		}
		file, err := os.OpenFile(name, os.O_RDWR, 0)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("nic: %w", err))
			continue
		}
		r := &record{file: file}
		switch err := flock(file, unix.LOCK_EX|unix.LOCK_NB); {
		case err == nil:
			dead = append(dead, r)
		case errors.Is(err, unix.EWOULDBLOCK):
			entries, err := r.entries()
			living = append(living, entries...)
			errs = append(errs, err, r.close())
		default:
			errs = append(errs, fmt.Errorf("nic: %s: %w", name, err), r.close())
		}
	}
	return living, dead, errors.Join(errs...)
}
