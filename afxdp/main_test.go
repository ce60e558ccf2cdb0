//go:build linux

package afxdp_test

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestMain fails the tests of this package if they leave anything behind in the process: descriptors, among them sockets, network namespaces
// and all that holds a BPF program, map or link in the kernel, and mappings of rings and UMEMs.
func TestMain(m *testing.M) {
	if child := os.Getenv(childVariable); child != "" {
		os.Exit(runChild(child))
	}
	var before inventory
	before.take()
	code := m.Run()
	var diff string
	for range 100 { // what a finalizer or a goroutine that ends has in hand
		var after inventory
		after.take()
		if diff = before.compare(after); diff == "" {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if diff != "" {
		fmt.Fprintf(os.Stderr, "the tests of this package leave behind:\n%s", diff)
		code = max(code, 1)
	}
	os.Exit(code)
}

// inventory counts by kind what the process holds.
type inventory map[string]int

func takeInventory(t *testing.T) inventory {
	t.Helper()
	runtime.GC() // what waits for a finalizer only
	var inv inventory
	inv.take()
	return inv
}

var number = regexp.MustCompile(`:\[\d+\]`)

func (inv *inventory) take() {
	*inv = inventory{}
	runtime.GC()
	fds, _ := os.ReadDir("/proc/self/fd")
	for _, fd := range fds {
		target, err := os.Readlink("/proc/self/fd/" + fd.Name())
		switch target = number.ReplaceAllString(target, ""); {
		case err != nil: // the folder's own
		case target == "anon_inode:[eventpoll]", target == "anon_inode:[eventfd]": // Go's netpoller, once anything uses it
		default:
			(*inv)["descriptor of "+target]++
		}
	}
	smaps, _ := os.ReadFile("/proc/self/smaps")
	for line := range strings.Lines(string(smaps)) {
		flags, ok := strings.CutPrefix(line, "VmFlags:")
		switch {
		case strings.Contains(line, "socket:["):
			(*inv)["mapping of a ring"]++
		case ok && (slices.Contains(strings.Fields(flags), "hg") || slices.Contains(strings.Fields(flags), "ht")):
			(*inv)["mapping of a UMEM"]++ // on huge pages, or advised to be
		}
	}
}

// compare lists what there is more of, or less, than before.
func (inv inventory) compare(after inventory) string {
	kinds := slices.Sorted(maps.Keys(inv))
	for kind := range after {
		if _, ok := inv[kind]; !ok {
			kinds = append(kinds, kind)
		}
	}
	var b strings.Builder
	for _, kind := range kinds {
		if inv[kind] != after[kind] {
			fmt.Fprintf(&b, "%s: %d before, %d after\n", kind, inv[kind], after[kind])
		}
	}
	return b.String()
}

// TestInventory: what the leak checks count is what a socket and its UMEM hold.
func TestInventory(t *testing.T) {
	a, _ := newPair(t, 1)
	before := takeInventory(t)
	u := newUmem(t, 64)
	s, err := a.open(t, u, a.config(0, newFrames(t, u, 0, 64)))
	must(t, err)
	defer s.Close()
	want := "descriptor of socket: 1 more\nmapping of a UMEM: 1 more\nmapping of a ring: 4 more\n"
	after := takeInventory(t)
	var got strings.Builder
	for _, kind := range slices.Sorted(maps.Keys(after)) {
		if more := after[kind] - before[kind]; more != 0 {
			fmt.Fprintf(&got, "%s: %d more\n", kind, more)
		}
	}
	if got.String() != want {
		t.Errorf("a socket and its UMEM are\n%swant\n%s", got.String(), want)
	}
}
