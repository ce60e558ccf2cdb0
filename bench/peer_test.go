package bench

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// know makes a program one of the known peers for the time of a test.
func know(t *testing.T, name, program string) {
	t.Helper()
	before := known
	known = append(known[:len(known):len(known)], struct{ name, program string }{name, program})
	t.Cleanup(func() {
		known = before
		delete(systems, name)
		delete(missing, name)
	})
}

// A system of another program is compared like one of this program's, with its workloads and no others.
func TestPeers(t *testing.T) {
	know(t, "test-peer", filepath.Base(os.Args[0]))
	AddPeers(filepath.Dir(os.Args[0]), []string{"test-peer", "net-tcp"})
	for workload, size := range map[string]int{Latency: 64, Rate: 64} {
		c := Config{Systems: []string{"test-peer", "net-tcp"}, Workload: workload, Size: size, Rounds: 2, Child: childCommand(t)}
		if c.Requests = 50; workload != Latency {
			c.Requests, c.Duration = 0, 50*time.Millisecond
		}
		for _, res := range compareOnLoopback(t, c).Results {
			if res.Error != "" || len(res.Rounds) != 2 || res.Rounds[1].Latency == nil || res.Rounds[1].Ops < 1 {
				t.Errorf("%s of %s: %+v", workload, res.System, res)
			}
		}
	}
	r := compareOnLoopback(t, Config{Systems: []string{"test-peer"}, Workload: Flood, Size: 64, Duration: time.Second, Rounds: 1, Child: childCommand(t)})
	if !strings.Contains(r.Results[0].Error, "no workload flood") {
		t.Errorf("a workload that it has not: %+v", r.Results[0])
	}
}

// A peer that is not on this machine stands in the report by its name, with the reason, and the others are measured.
func TestMissingPeers(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("unbuilt.missing", "# example.com/unbuilt\nmain.go:3:8: no such package\n", 0o644)
	write("broken", "#!/bin/sh\necho out of luck >&2\nexit 3\n", 0o755)
	write("other", "#!/bin/sh\necho '[{\"name\":\"somebody\"}]'\n", 0o755)
	want := map[string]string{
		"test-unbuilt": "# example.com/unbuilt; main.go:3:8: no such package",
		"test-broken":  "out of luck",
		"test-other":   "does not have it",
		"test-absent":  "build it with 'make peers'",
	}
	var names []string
	for name := range want {
		know(t, name, strings.TrimPrefix(name, "test-"))
		names = append(names, name)
	}
	AddPeers(dir, names)
	c := Config{Systems: append(names, "net-tcp"), Size: 64, Requests: 50, Rounds: 2, Child: childCommand(t)}
	for _, res := range compareOnLoopback(t, c).Results {
		why := want[res.System]
		if !strings.Contains(res.Error, why) || why == "" && len(res.Rounds) != 2 || strings.Contains(res.Error, "\n") {
			t.Errorf("%s: %+v, want %q", res.System, res, why)
		}
	}
}
