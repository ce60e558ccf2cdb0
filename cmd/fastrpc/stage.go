package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A stage is a file that will stand under its name once it is whole: until then it is beside it, under another one, locked. What a process that was
// killed left there, the next one to the same name takes over. A name that is no regular file, as a pipe or a terminal, is written directly.
type stage struct {
	name string
	file *os.File
	at   string // what file is called; empty: it is the named one itself
}

// stageSuffix ends the names of files that are not whole.
const stageSuffix = ".part"

// newStage makes sure that name can be written, with room for so many bytes as far as the file system can promise it.
func newStage(name string, room int64) (*stage, error) {
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		if info.IsDir() {
			return nil, fmt.Errorf("%s is a directory; name a file", name)
		}
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		return &stage{name: name, file: f}, err
	}
	s := &stage{name: name, at: filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+stageSuffix)}
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("%s cannot be written: %w", name, err)
	}
	// Where a file system has no fallocate, a lack of room shows when it is written.
	err := unix.Fallocate(int(s.file.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, room)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		s.discard()
		return nil, fmt.Errorf("%s: no room for %d kB: %w; free some, or write elsewhere", name, room>>10, err)
	}
	return s, nil
}

var errBeingWritten = errors.New("another process is about to; wait for it, or name another file")

// open opens the file, empty, and keeps others from it: the kernel's lock on it ends with the process.
func (s *stage) open() error {
	f, err := os.OpenFile(s.at, os.O_WRONLY|os.O_CREATE|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return errors.Unwrap(err) // without the other name, which nobody knows
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		err = s.still(f)
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = errBeingWritten
		}
		return err
	}
	s.file = f
	return nil
}

// still tells whether f has its name still: the process that held the lock before may have put the file under its final one.
func (s *stage) still(f *os.File) error {
	named, err := os.Lstat(s.at)
	if err != nil {
		return errBeingWritten
	}
	if open, err := f.Stat(); err != nil || !os.SameFile(named, open) {
		return errBeingWritten
	}
	return nil
}

// commit writes the file and puts it under its name. After an error there is what was there before.
func (s *stage) commit(write func(io.Writer) error) error {
	defer s.discard()
	if err := write(s.file); err != nil || s.at == "" {
		return err
	}
	n, err := s.file.Seek(0, io.SeekCurrent)
	if err := errors.Join(err, s.file.Truncate(n), s.file.Sync()); err != nil { // the room that it did not need goes back
		return err
	}
	return os.Rename(s.at, s.name)
}

// discard closes the file and removes it, unless it was committed.
func (s *stage) discard() {
	if s.at != "" && s.still(s.file) == nil {
		_ = os.Remove(s.at)
	}
	_ = s.file.Close() // what was written is synced by now
}
