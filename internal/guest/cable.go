package guest

import (
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A Cable joins guests that run at the same time: what a network card of one of them sends comes to those of all others. The zero value is one.
// It consists of sockets without names, which end with the guests.
type Cable struct {
	mu    sync.Mutex
	hosts []*net.UnixConn // by their numbers; nil: the number is free
}

// A guest that does not take a packet for so long has none of its memory ready for it, or hangs: the packet is lost. Until then the sender waits,
// for QEMU's sockets hold few packets (net.unix.max_dgram_qlen), and an emulated card takes long for a burst.
const cablePatience = time.Second

// longestPacket is QEMU's own bound (include/net/net.h, NET_BUFSIZE).
const longestPacket = 4096 + 65536

// join takes the lowest number that is free, which is that of a guest that was there before if it alone has gone, and gives the socket for QEMU.
func (c *Cable) join() (host int, qemu *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return 0, nil, fmt.Errorf("socketpair: %w", err)
	}
	qemu = os.NewFile(uintptr(fds[1]), "cable")
	ours := os.NewFile(uintptr(fds[0]), "cable")
	conn, err := net.FileConn(ours)
	ours.Close()
	if err != nil {
		qemu.Close()
		return 0, nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for host < len(c.hosts) && c.hosts[host] != nil {
		host++
	}
	if host == len(c.hosts) {
		c.hosts = append(c.hosts, nil)
	}
	c.hosts[host] = conn.(*net.UnixConn)
	go c.carry(host, c.hosts[host])
	return host, qemu, nil
}

// leave ends what join began.
func (c *Cable) leave(host int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hosts[host].Close()
	c.hosts[host] = nil
}

// carry takes packets from a guest to the others, until it leaves.
func (c *Cable) carry(host int, from *net.UnixConn) {
	packet := make([]byte, longestPacket)
	for {
		n, err := from.Read(packet)
		if err != nil {
			return
		}
		for _, to := range c.others(host) {
			_ = to.SetWriteDeadline(time.Now().Add(cablePatience))
			_, _ = to.Write(packet[:n]) // to nobody, if that guest was killed
		}
	}
}

func (c *Cable) others(host int) (others []*net.UnixConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, h := range c.hosts {
		if h != nil && i != host {
			others = append(others, h)
		}
	}
	return others
}
