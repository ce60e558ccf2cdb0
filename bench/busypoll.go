package bench

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/nic"
)

// busyMicros is what SO_BUSY_POLL is set to. A read that does not block polls once, whatever it is (net/ipv4/tcp.c, tcp_recvmsg;
// include/net/busy_poll.h, sk_busy_loop; Linux 6.18).
const busyMicros = 50

// setBusy has reads that find nothing poll the device's queue instead of waiting for its interrupt.
func (s spinTCP) setBusy(fd int) error {
	if !s.busy {
		return nil
	}
	for _, o := range []struct {
		name         string
		option, want int
	}{{"SO_BUSY_POLL", unix.SO_BUSY_POLL, busyMicros}, {"SO_PREFER_BUSY_POLL", unix.SO_PREFER_BUSY_POLL, 1}} {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, o.option, o.want); err != nil {
			return fmt.Errorf("%s: %w; it takes CAP_NET_ADMIN", o.name, err)
		}
		if got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, o.option); err != nil || got != o.want {
			return fmt.Errorf("%s: asked for %d, granted %d, %v", o.name, o.want, got, err)
		}
	}
	return nil
}

// busyCaller tells whether the options that were granted did anything: the device has to take part.
type busyCaller struct {
	*spinCaller
	device *nic.Device
	before nic.PollCounts
	calls  uint64
}

func newBusyCaller(c *spinCaller, e *Endpoint) *busyCaller {
	b := &busyCaller{spinCaller: c}
	if d, err := nic.OpenName(e.Interface); err == nil {
		b.device = d
		b.before, _ = d.PollCounts(0, b.napi())
	}
	return b
}

// napi is the queue that brought the last packet, 0 for none that could be polled.
func (c *busyCaller) napi() uint32 {
	id, err := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_INCOMING_NAPI_ID)
	if err != nil {
		return 0
	}
	return uint32(id)
}

func (c *busyCaller) Call(payload []byte) error {
	c.calls++
	return c.spinCaller.Call(payload)
}

// Note says what was granted, and what came of it.
func (c *busyCaller) Note() string {
	granted := fmt.Sprintf("SO_BUSY_POLL %d µs and SO_PREFER_BUSY_POLL were granted", busyMicros)
	if c.device == nil {
		return granted
	}
	after, err := c.device.PollCounts(0, c.napi())
	if err != nil {
		return fmt.Sprintf("%s; whether they do anything cannot be told: %v", granted, err)
	}
	if works, why := nic.BusyPolled(c.napi(), c.before, after, c.calls); !works {
		return fmt.Sprintf("%s, and do nothing here: %s", granted, why)
	}
	return granted + ", and reads poll the queue"
}

func (c *busyCaller) Close() error {
	if c.device != nil {
		c.device.Close()
	}
	return c.spinCaller.Close()
}
