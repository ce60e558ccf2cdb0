package lab_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/fastrpc/fastrpc/internal/lab"
	"github.com/fastrpc/fastrpc/internal/lab/labtest"
)

func TestChildIsInsideAndPinned(t *testing.T) {
	l := labtest.New(t, lab.Config{})
	if runtime.NumCPU() < 2 {
		t.Skip("pinning shows only with two CPUs, and this process may use one")
	}
	var out bytes.Buffer
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "LAB_TEST_CHILD=1")
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := l.Client().Start(cmd, 1); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err, out.String())
	}
	want := fmt.Sprintf("%s 1 true [/sys/class/net/lo /sys/class/net/veth0]\n", inode(t, "/run/netns/"+l.Client().Namespace))
	if out.String() != want {
		t.Errorf("child says %q, want %q", out.String(), want)
	}
	if err := l.Client().Start(exec.Command("true"), 1023); err == nil {
		t.Error("pinned to a CPU that is not there")
	}
}

// Many at once, some that panic or leave: no thread stays inside.
func TestDoLeavesNoThreadInside(t *testing.T) {
	l := labtest.New(t, lab.Config{})
	hosts := []lab.Host{l.Client(), l.Server()}
	inodes := []string{inode(t, "/run/netns/"+hosts[0].Namespace), inode(t, "/run/netns/"+hosts[1].Namespace)}
	home := inode(t, "/proc/self/ns/net")
	boom := errors.New("boom")
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			defer func() {
				if r := recover(); (r != nil) != (i%4 == 1) || r != nil && !strings.Contains(r.(string), "boom") {
					t.Errorf("%d: recovered %v", i, r)
				}
			}()
			err := hosts[i%2].Do(func() error {
				if got, _ := os.Readlink("/proc/thread-self/ns/net"); got != inodes[i%2] {
					t.Errorf("in %s, want %s", got, inodes[i%2])
				}
				switch i % 4 {
				case 1:
					panic(boom)
				case 2:
					runtime.Goexit()
				}
				return hosts[1-i%2].Do(func() error { // in one another
					if got, _ := os.Readlink("/proc/thread-self/ns/net"); got != inodes[1-i%2] {
						t.Errorf("nested in %s, want %s", got, inodes[1-i%2])
					}
					return boom
				})
			})
			if err != boom {
				t.Errorf("%d: %v", i, err)
			}
			if i%4 == 2 {
				t.Error("Goexit was swallowed")
			}
		})
	}
	wg.Wait()
	threads, err := filepath.Glob("/proc/self/task/*/ns/net")
	if err != nil || len(threads) == 0 {
		t.Fatal(threads, err)
	}
	for _, p := range threads {
		if got, err := os.Readlink(p); err == nil && got != home {
			t.Errorf("%s is %s, want %s", p, got, home)
		}
	}
}
