package lab_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/lab"
	"github.com/fastrpc/fastrpc/internal/lab/labtest"
)

func TestUpTwiceDownTwice(t *testing.T) {
	l := labtest.New(t, lab.Config{})
	if _, err := lab.Up(lab.Config{Name: l.Name()}); !errors.Is(err, lab.ErrExists) {
		t.Errorf("second Up: %v, want ErrExists", err)
	}
	if _, err := lab.Open(l.Name()); err != nil {
		t.Errorf("the refused Up harmed the lab: %v", err)
	}
	for range 2 {
		if err := l.Down(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := lab.Open(l.Name()); !errors.Is(err, lab.ErrNotExist) {
		t.Errorf("Open: %v, want ErrNotExist", err)
	}
	if err := l.Client().Do(func() error { return nil }); !errors.Is(err, lab.ErrNotExist) {
		t.Errorf("Do: %v, want ErrNotExist", err)
	}
	if _, err := lab.Up(lab.Config{Name: l.Name()}); err != nil { // the cleanup of the first takes it down
		t.Errorf("Up after Down: %v", err)
	}
}

// A lab whose processes go on is taken down nevertheless: they lose the interface.
func TestDownUnderProcesses(t *testing.T) {
	l := labtest.New(t, lab.Config{})
	err := l.Server().Do(func() error {
		if err := l.Down(); err != nil {
			return err
		}
		_, err := netlink.LinkByName(lab.Interface)
		if !errors.As(err, &netlink.LinkNotFoundError{}) {
			return fmt.Errorf("the interface is still there: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// A namespace that a lab did not make stays, and what Up had made beside it goes.
func TestForeignNamespaceIsLeftAlone(t *testing.T) {
	needRoot(t)
	name := fmt.Sprintf("test-%d-foreign", os.Getpid())
	path := "/run/netns/" + name + "-server"
	l, err := lab.Up(lab.Config{Name: name}) // for the mount of /run/netns
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Down(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o444); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(path)
	if err := unix.Mount("/proc/self/ns/net", path, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(path, unix.MNT_DETACH)
	if _, err := lab.Up(lab.Config{Name: name}); !errors.Is(err, lab.ErrExists) {
		t.Errorf("Up: %v, want ErrExists", err)
	}
	if err := lab.Down(name); !errors.Is(err, lab.ErrForeign) {
		t.Errorf("Down: %v, want ErrForeign", err)
	}
	if got, want := inode(t, path), inode(t, "/proc/self/ns/net"); got != want {
		t.Errorf("%s is %s, was %s", path, got, want)
	}
	infos, err := lab.Status()
	if err != nil || slices.ContainsFunc(infos, func(i lab.Info) bool { return i.Name == name }) {
		t.Errorf("Status: %+v, %v", infos, err)
	}
}

// What a maker leaves that is killed at each step is taken down.
func TestDownAfterKill(t *testing.T) {
	l := labtest.New(t, lab.Config{})
	one, other := "/run/netns/"+l.Client().Namespace, "/run/netns/"+l.Server().Namespace
	// One namespace, and the name of another that was not mounted.
	if err := unix.Unmount(other, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	infos, err := lab.Status()
	if err != nil || !slices.ContainsFunc(infos, func(i lab.Info) bool { return i.Name == l.Name() && i.Missing != "" }) {
		t.Errorf("Status: %+v, %v", infos, err)
	}
	if err := l.Down(); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{one, other} {
		if _, err := os.Lstat(p); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", p, err)
		}
	}
}
