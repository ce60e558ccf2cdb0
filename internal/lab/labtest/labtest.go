// Package labtest makes labs for tests.
package labtest

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/lab"
)

// prefix starts the names of test labs; the maker's pid and a number follow.
const prefix = "test-"

var (
	made  atomic.Int32
	sweep sync.Once
)

// New makes a lab with a name of its own and takes it down when the test ends; c.Name is ignored. It skips the test, saying why, when the
// process is not root.
func New(t testing.TB, c lab.Config) *lab.Lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root: run the tests as root to include this one")
	}
	sweep.Do(func() {
		if err := removeOrphans(); err != nil {
			t.Logf("labs of tests that were killed: %v", err)
		}
	})
	c.Name = fmt.Sprintf("%s%d-%d", prefix, os.Getpid(), made.Add(1))
	l, err := lab.Up(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Down(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// removeOrphans takes down the labs of test processes that no longer run: one that is killed, or that panics, has no chance to.
func removeOrphans() error {
	infos, err := lab.Status()
	if err != nil {
		return err
	}
	var errs []error
	for _, i := range infos {
		var pid, n int
		if _, err := fmt.Sscanf(i.Name, prefix+"%d-%d", &pid, &n); err != nil {
			continue
		}
		if len(i.Pids) == 0 && errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			errs = append(errs, lab.Down(i.Name))
		}
	}
	return errors.Join(errs...)
}
