package nic

import (
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Device is a network device that is open for questions and changes. Its methods make system calls, may wait for the driver, and may be
// called from any goroutine until Close.
type Device struct {
	index int
	netns uint64 // inode of the network namespace
	mac   net.HardwareAddr

	ioctl ioctler
	genl  *genetlink.Conn

	mu       sync.Mutex
	families map[string]uint16 // generic netlink's numbers, of those that were asked for
}

// Open opens the device with an index in the network namespace of the calling thread.
func Open(ifindex int) (*Device, error) {
	d := &Device{index: ifindex, families: map[string]uint16{}}
	if err := d.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("nic: interface %d: %w", ifindex, err), d.Close())
	}
	return d, nil
}

// OpenName opens the device of a name in the network namespace of the calling thread.
func OpenName(name string) (*Device, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("nic: interface %q: %w; see 'ip -brief link'", name, err)
	}
	return Open(i.Index)
}

func (d *Device) open() (err error) {
	var st unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &st); err != nil {
		return fmt.Errorf("this thread's network namespace (is /proc mounted?): %w", err)
	}
	d.netns = st.Ino
	i, err := net.InterfaceByIndex(d.index)
	if err != nil {
		return err
	}
	d.mac = i.HardwareAddr
	if d.ioctl, err = openIoctl(); err != nil {
		return err
	}
	d.genl, err = genetlink.Dial(&netlink.Config{Strict: true}) // strict: the kernel adds its reasons to its refusals
	return err
}

// Close closes what Open opened; what was changed stays. Another Close does nothing.
func (d *Device) Close() (err error) {
	if d.genl != nil {
		err = d.genl.Close()
		d.genl = nil
	}
	if d.ioctl != nil {
		err = errors.Join(err, d.ioctl.close())
		d.ioctl = nil
	}
	return err
}

// Index is the device's number in its network namespace.
func (d *Device) Index() int { return d.index }

// Name is the device's name now; it may be renamed.
func (d *Device) Name() (string, error) {
	name, err := d.ioctl.name(d.index)
	if err != nil {
		return "", fmt.Errorf("nic: interface %d: %w", d.index, err)
	}
	return name, nil
}

// failed says what was refused. A driver that lacks something answers EOPNOTSUPP, which matches errors.ErrUnsupported.
func failed(what, name string, err error) error {
	return fmt.Errorf("nic: %s of %s: %w", what, name, err)
}
