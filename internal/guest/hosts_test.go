package guest_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/internal/guest"
)

// Addresses of the two hosts.
const (
	serverHost = "198.18.0.1"
	clientHost = "198.18.0.2"
)

// hostsTimeout bounds each guest; what it does bounds itself before.
const hostsTimeout = 5 * time.Minute

// TestRDMAHosts is about two hosts with soft-RoCE, a guest each, on one cable.
func TestRDMAHosts(t *testing.T) {
	if os.Getenv(thorough) == "" {
		t.Skip("pairs of guests take several minutes, so that only 'make test-rdma' runs them")
	}
	kit := prepare(t)
	haveRDMA(t)
	program, err := guest.BuildCgoProgram(interrupted, module+"internal/guest/roce", "-tags", "rdma")
	if err != nil {
		t.Fatal(err)
	}
	files := rdmaFiles(t, program)
	runtimes, err := filepath.Glob("/usr/lib/*/libgcc_s.so.1") // which glibc loads when a thread of rping ends
	if err == nil {
		err = guest.AddFiles(interrupted, files, append(runtimes, "/usr/bin/rping")...)
	}
	if err != nil {
		t.Fatalf("%v: apt-get install rdmacm-utils libgcc-s1", err)
	}
	p := pairOfHosts{kit: kit, config: guest.Config{
		Program: program, NICs: []guest.NIC{guest.VirtioNet}, Modules: rdmaModules, Files: files, Timeout: hostsTimeout,
	}}
	for name, test := range map[string]func(*testing.T, pairOfHosts){
		"talk": testTalk, "MTU of the server larger": testLargerServer, "MTU of the client larger": testLargerClient,
		"server killed": testServerKilled, "carrier lost": testCarrierLost, "one-sided": testOneSided, "rping": testRping,
	} {
		t.Run(name, func(t *testing.T) { test(t, p) })
	}
}

// Calls over datagrams and over connections.
func testTalk(t *testing.T, p pairOfHosts) { p.talk(t, "1500", "1500") }

// Hosts whose cards cut what they send differently come to terms.
func testLargerServer(t *testing.T, p pairOfHosts) { p.talk(t, "4200", "1500") }
func testLargerClient(t *testing.T, p pairOfHosts) { p.talk(t, "1500", "4200") }

func (p pairOfHosts) talk(t *testing.T, serverMTU, clientMTU string) {
	var cable guest.Cable
	server := p.start(t, &cable, "server", "--addr", serverHost, "--mtu", serverMTU, "serve")
	client := p.start(t, &cable, "client", "--addr", clientHost, "--server", serverHost, "--mtu", clientMTU, "talk")
	client.ended(t)
	server.ended(t)
}

// One-sided operations on the other host's memory, and the table of the example.
func testOneSided(t *testing.T, p pairOfHosts) {
	var cable guest.Cable
	server := p.start(t, &cable, "server", "--addr", serverHost, "serve")
	client := p.start(t, &cable, "client", "--addr", clientHost, "--server", serverHost, "regions")
	client.ended(t)
	server.ended(t)
}

// What the hosts are made of works without this project.
func testRping(t *testing.T, p pairOfHosts) {
	var cable guest.Cable
	server := p.start(t, &cable, "server", "--addr", serverHost, "rping-serve")
	client := p.start(t, &cable, "client", "--addr", clientHost, "--server", serverHost, "rping")
	client.ended(t)
	server.ended(t)
}

// The server's guest is killed with calls under way. All of them end, as what the server did bears out, and the next server is found.
func testServerKilled(t *testing.T, p pairOfHosts) {
	var cable guest.Cable
	server := p.start(t, &cable, "server", "--addr", serverHost, "serve")
	client := p.start(t, &cable, "client", "--addr", clientHost, "--server", serverHost, "outage")
	client.says(t, "calling")
	server.kill()
	ran := server.words("ran ")
	client.says(t, "ended")
	next := p.start(t, &cable, "next", "--addr", serverHost, "serve")
	client.ended(t)
	next.ended(t)

	calls, unknown := client.words("call "), 0
	for _, words := range calls {
		id, outcome, _ := strings.Cut(words, " ")
		n := 0
		for _, r := range ran {
			if r == id {
				n++
			}
		}
		if n > 1 || outcome == "answered" && n != 1 || outcome == "not executed" && n != 0 {
			t.Errorf("call %s ran %d times and ended as %s", id, n, outcome)
		}
		if outcome == "unknown" {
			unknown++
		}
	}
	if len(calls) < 100 || unknown == 0 {
		t.Errorf("%d calls, %d of them of unknown outcome: the server was not killed under load", len(calls), unknown)
	}
	t.Logf("%d calls, %d of unknown outcome; %d ran", len(calls), unknown, len(ran))
}

// The client's port loses its carrier and gets it back.
func testCarrierLost(t *testing.T, p pairOfHosts) {
	var cable guest.Cable
	p.config.Modules = append(slices.Clone(p.config.Modules), "bridge")
	server := p.start(t, &cable, "server", "--addr", serverHost, "serve")
	client := p.start(t, &cable, "client", "--addr", clientHost, "--server", serverHost, "--bridge", "carrier")
	client.ended(t)
	server.ended(t)
}

// pairOfHosts starts guests.
type pairOfHosts struct {
	kit    *guest.Kit
	config guest.Config // of each, but for what it does
}

// host is a guest that runs.
type host struct {
	name string
	kill func() // which waits for its end
	over chan struct{}
	res  guest.Result
	err  error

	log     *testing.T
	mu      sync.Mutex
	partial []byte
	lines   []string
	more    chan struct{} // closed when there are more lines
}

// start starts a guest, which ends with the test.
func (p pairOfHosts) start(t *testing.T, cable *guest.Cable, name string, args ...string) *host {
	t.Helper()
	ctx, cancel := context.WithCancel(interrupted)
	h := &host{name: name, over: make(chan struct{}), log: t, more: make(chan struct{})}
	h.kill = func() { cancel(); <-h.over }
	t.Cleanup(h.kill)
	c := p.config
	c.Args, c.Cable, c.Output = args, cable, h
	go func() {
		defer close(h.over)
		h.res, h.err = p.kit.Run(ctx, c)
	}()
	return h
}

// Write takes what the guest prints, to the log by whole lines: there are two guests.
func (h *host) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.partial = append(h.partial, b...)
	for {
		line, rest, whole := bytes.Cut(h.partial, []byte("\n"))
		if !whole {
			return len(b), nil
		}
		h.lines, h.partial = append(h.lines, string(line)), rest
		fmt.Fprintf(h.log.Output(), "%s: %s\n", h.name, line)
		close(h.more)
		h.more = make(chan struct{})
	}
}

// says waits until the guest has printed a line.
func (h *host) says(t *testing.T, line string) {
	t.Helper()
	for {
		h.mu.Lock()
		said, more := slices.Contains(h.lines, line), h.more
		h.mu.Unlock()
		if said {
			return
		}
		select {
		case <-more:
		case <-h.over:
			t.Fatalf("the %s ended before it said %q: exit status %d, %v\n%s", h.name, line, h.res.Exit, h.err, h.res.Console)
		}
	}
}

// words are what follows a word in the lines that begin with it.
func (h *host) words(word string) (found []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, line := range h.lines {
		if rest, ok := strings.CutPrefix(line, word); ok {
			found = append(found, rest)
		}
	}
	return found
}

// ended waits for the guest's end, which must be a good one.
func (h *host) ended(t *testing.T) {
	t.Helper()
	<-h.over
	if h.err != nil {
		t.Fatalf("%s: %v", h.name, h.err)
	}
	t.Logf("%s: the console:\n%s", h.name, h.res.Console)
	if h.res.Exit != 0 {
		t.Fatalf("%s: exit status %d", h.name, h.res.Exit)
	}
}
