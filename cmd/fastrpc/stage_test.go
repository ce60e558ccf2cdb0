package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// listed are the files of a folder, by name.
func listed(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func content(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Until it is whole, what was there before stays; what a killed run left goes.
func TestStage(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "a.json")
	for _, f := range []string{name, filepath.Join(dir, ".a.json.part")} {
		if err := os.WriteFile(f, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := newStage(name, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	failed := errors.New("no more figures")
	if err := s.commit(func(w io.Writer) error { _, _ = io.WriteString(w, "half"); return failed }); !errors.Is(err, failed) {
		t.Error(err)
	}
	if got := content(t, name); got != "old" || listed(t, dir) != "a.json" {
		t.Errorf("after a failure %q, and %s", got, listed(t, dir))
	}
	if s, err = newStage(name, 1<<20); err != nil {
		t.Fatal(err)
	}
	if got := listed(t, dir); got != ".a.json.part a.json" {
		t.Errorf("while it is written: %s", got)
	}
	if _, err := newStage(name, 1); !errors.Is(err, errBeingWritten) || !strings.Contains(err.Error(), name) {
		t.Errorf("a second one to the same name: %v", err)
	}
	if err := s.commit(func(w io.Writer) error { _, err := io.WriteString(w, "new"); return err }); err != nil {
		t.Fatal(err)
	}
	s.discard()
	if got := content(t, name); got != "new" || listed(t, dir) != "a.json" {
		t.Errorf("%q, and %s", got, listed(t, dir))
	}
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil || st.Blocks*512 > 64<<10 || st.Mode&0o777 != 0o644 {
		t.Errorf("%d blocks are still reserved, mode %o, %v", st.Blocks, st.Mode, err)
	}
}

func TestStageRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, err := newStage(dir, 1); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Error(err)
	}
	if _, err := newStage(filepath.Join(dir, "none", "x"), 1); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), filepath.Join("none", "x")+" cannot be written") {
		t.Error(err)
	}
	s, err := newStage("/dev/null", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.commit(func(w io.Writer) error { _, err := io.WriteString(w, "x"); return err }); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat("/dev/null"); err != nil || info.Mode().IsRegular() {
		t.Errorf("/dev/null is gone: %v, %v", info, err)
	}
}

// A file system without room says so before anything is measured.
func TestStageOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	errs := make(chan error, 1)
	skipped := make(chan string, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the mount goes with the thread
		err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS)
		if err == nil {
			err = unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			err = unix.Mount("none", dir, "tmpfs", 0, "size=64k")
		}
		if err != nil {
			skipped <- err.Error()
			return
		}
		s, err := newStage(filepath.Join(dir, "x"), 1<<20)
		if err == nil {
			s.discard()
		}
		entries, _ := os.ReadDir(dir)
		if len(entries) > 0 {
			err = errors.Join(err, errors.New("something was left behind"))
		}
		errs <- err
	}()
	select {
	case why := <-skipped:
		if os.Geteuid() == 0 {
			t.Fatal(why)
		}
		t.Skip("no file system can be mounted here: ", why)
	case err := <-errs:
		if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "no room for 1024 kB") || strings.Contains(err.Error(), "left behind") {
			t.Error(err)
		}
	}
}
