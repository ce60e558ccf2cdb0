package machine

import (
	"cmp"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/fastrpc/fastrpc/bench/result"
	"github.com/fastrpc/fastrpc/internal/nic"
)

// NIC tells of an interface in the calling thread's network namespace, but for what a system was granted there: XDPMode, ZeroCopy and BusyPoll
// are unknown. What the driver does not answer is left out.
func NIC(name string) result.NIC {
	n := result.NIC{Driver: Unknown, Queues: 1, NUMANode: -1, XDPMode: Unknown, ZeroCopy: Unknown, BusyPoll: Unknown}
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return n
	}
	n.MTU = ifi.MTU
	if ifi.Flags&net.FlagLoopback != 0 {
		n.Driver = "none"
		return n
	}
	d, err := nic.Open(ifi.Index)
	if err != nil {
		return n
	}
	defer d.Close()
	if driver, err := d.Driver(); err == nil {
		n.Driver, n.Firmware, n.Bus = cmp.Or(driver.Name, Unknown), driver.Firmware, driver.Bus
		n.NUMANode = files{os.DirFS("/")}.nodeOf(driver.Bus)
	}
	if now, _, err := d.Channels(); err == nil {
		n.Queues = max(now.ReceiveQueues(), 1)
	}
	if c, err := d.Coalesce(); err == nil {
		n.Coalescing = coalescing(&c)
	}
	return n
}

// nodeOf finds a device by its address on whichever bus it is; -1 where it belongs to no NUMA node. The directories of buses show devices of
// all network namespaces, unlike those of network interfaces.
func (f files) nodeOf(bus string) int {
	if strings.Contains(bus, "/") || !fs.ValidPath(bus) {
		return -1
	}
	paths, _ := fs.Glob(f.FS, "sys/bus/*/devices")
	for _, p := range paths {
		if node, err := strconv.Atoi(f.read(p + "/" + bus + "/numa_node")); err == nil {
			return node
		}
	}
	return -1
}

func coalescing(c *nic.Coalesce) string {
	text := func(micros, frames int, adaptive bool) string {
		s := fmt.Sprintf("%d µs", micros)
		if frames > 0 {
			s += fmt.Sprintf(" or %d packets", frames)
		}
		if adaptive {
			s += ", adaptive"
		}
		return s
	}
	return "receive " + text(c.RXMicros, c.RXFrames, c.RXAdaptive) + "; send " + text(c.TXMicros, c.TXFrames, c.TXAdaptive)
}
