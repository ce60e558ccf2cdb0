//go:build linux

package afxdp

import (
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netns"
)

func TestOpenSockets(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes a network namespace and opens AF_XDP sockets")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine, and the namespace with the thread
		ns, err := netns.New()
		if err != nil {
			t.Error(err)
			return
		}
		defer ns.Close()
		u, err := NewUmem(UmemConfig{Chunks: 16, ChunkBytes: 2048})
		if err != nil {
			t.Error(err)
			return
		}
		defer u.Close()
		if n := openSockets(); n != 0 {
			t.Errorf("%d AF_XDP sockets in a new namespace", n)
		}
		const loopback = 1
		s, err := Open(u, SocketConfig{Ifindex: loopback, RxEntries: 16, Mode: Copy})
		if err != nil {
			t.Error(err)
			return
		}
		if n := openSockets(); n != 1 {
			t.Errorf("%d AF_XDP sockets, want the one that was opened", n)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if n := openSockets(); n != 0 {
			t.Errorf("%d AF_XDP sockets after Close", n)
		}
	}()
	<-done
}
