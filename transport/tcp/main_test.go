package tcp

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// TestMain fails the tests of this package if they leave descriptors behind. Those of Go's own poller come with its first socket and stay.
func TestMain(m *testing.M) {
	before := sockets()
	code := m.Run()
	after := sockets()
	for end := time.Now().Add(30 * time.Second); after > before && time.Now().Before(end); after = sockets() {
		time.Sleep(10 * time.Millisecond) // a server of net's closes in a goroutine
	}
	if after > before {
		fmt.Fprintf(os.Stderr, "the tests of this package leave %d descriptors behind, %d before\n", after, before)
		code = max(code, 1)
	}
	os.Exit(code)
}

// sockets counts the descriptors of this process that a Link could have opened: sockets, and beyond Go's own one each, epoll and eventfd.
func sockets() (n int) {
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		panic(err)
	}
	pollers := 0
	for _, e := range d {
		switch link, _ := os.Readlink("/proc/self/fd/" + e.Name()); {
		case strings.HasPrefix(link, "socket:"):
			n++
		case strings.HasPrefix(link, "anon_inode:[event"):
			pollers++
		}
	}
	return n + max(pollers-2, 0)
}
