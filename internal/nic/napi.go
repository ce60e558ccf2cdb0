package nic

import (
	"errors"
	"fmt"
	"time"

	"github.com/mdlayher/netlink"
)

// NAPI is the kernel's polling of one or more queues: an interrupt starts it, and it goes on until the queues are empty.
type NAPI struct {
	ID     uint32 // what SO_INCOMING_NAPI_ID tells; lost when the device or its XDP program is reset
	IRQ    int    // 0: the driver does not tell, or there is none
	Thread int    // pid of its kernel thread; 0: it runs in softirqs
	NAPISettings
}

// NAPISettings are what SetNAPI changes.
type NAPISettings struct {
	DeferHardIRQs     uint32        // polls that find nothing before interrupts come back
	GROFlushTimeout   time.Duration // how long the device waits, interrupts off, for somebody to poll
	IRQSuspendTimeout time.Duration // the same while an application that polls by epoll has work; Linux 6.13
	Threaded          Threaded      // Linux 6.17
}

// Threaded says who runs a NAPI instance.
type Threaded uint32

// Where a NAPI instance runs. NAPIThreadBusy is a thread that never sleeps: a CPU for each queue.
const (
	NAPISoftIRQ    Threaded = iota
	NAPIThread              // Linux 6.17 for one, 5.12 for all of a device
	NAPIThreadBusy          // Linux 6.19
)

// The netdev family of generic netlink (linux/netdev.h): queue-get and napi-get are from Linux 6.8, napi-set from 6.13.
const (
	netdevQueueGet = 10
	netdevNAPIGet  = 11
	netdevNAPISet  = 14

	queueID      = 1
	queueIfindex = 2
	queueType    = 3
	queueNAPI    = 4

	queueReceive = 0 // NETDEV_QUEUE_TYPE_RX

	napiIfindex           = 1
	napiID                = 2
	napiIRQ               = 3
	napiPID               = 4
	napiDeferHardIRQs     = 5
	napiGROFlushTimeout   = 6
	napiIRQSuspendTimeout = 7
	napiThreaded          = 8
)

// QueueNAPIs asks which NAPI instance serves which receive queue. Queues that are down, or whose driver does not tell, are missing.
func (d *Device) QueueNAPIs() (map[int]uint32, error) {
	byQueue := map[int]uint32{}
	err := d.receiveQueues(func(queue int, napi uint32, _ bool) {
		if napi != 0 {
			byQueue[queue] = napi
		}
	})
	return byQueue, err
}

// NAPIs asks for the device's NAPI instances.
func (d *Device) NAPIs() ([]NAPI, error) {
	var all []NAPI
	err := d.generic("netdev", "NAPI instances", netdevNAPIGet, netlink.Dump, d.thisDevice(napiIfindex), func(a *netlink.AttributeDecoder) error {
		n, err := decodeNAPI(a)
		all = append(all, n)
		return err
	})
	return all, err
}

// NAPI asks for one of them.
func (d *Device) NAPI(id uint32) (n NAPI, err error) {
	err = d.generic("netdev", fmt.Sprintf("NAPI instance %d", id), netdevNAPIGet, 0,
		func(a *netlink.AttributeEncoder) { a.Uint32(napiID, id) },
		func(a *netlink.AttributeDecoder) error { n, err = decodeNAPI(a); return err })
	return n, err
}

func (d *Device) thisDevice(attr uint16) func(*netlink.AttributeEncoder) {
	return func(a *netlink.AttributeEncoder) { a.Uint32(attr, uint32(d.index)) }
}

func decodeNAPI(a *netlink.AttributeDecoder) (n NAPI, err error) {
	for a.Next() {
		switch a.Type() {
		case napiID:
			n.ID = a.Uint32()
		case napiIRQ:
			n.IRQ = int(a.Uint32())
		case napiPID:
			n.Thread = int(a.Uint32())
		case napiDeferHardIRQs:
			n.DeferHardIRQs = a.Uint32()
		case napiGROFlushTimeout:
			n.GROFlushTimeout, err = decodeNanos(a)
		case napiIRQSuspendTimeout:
			n.IRQSuspendTimeout, err = decodeNanos(a)
		case napiThreaded:
			n.Threaded = Threaded(a.Uint32())
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// decodeNanos reads a number that takes four bytes or eight, as large as it is (nla_put_uint, include/net/netlink.h).
func decodeNanos(a *netlink.AttributeDecoder) (time.Duration, error) {
	switch len(a.Bytes()) {
	case 4:
		return time.Duration(a.Uint32()), nil
	case 8:
		return time.Duration(a.Uint64()), nil
	}
	return 0, errors.New("a time of neither four nor eight bytes")
}

// SetNAPI changes the settings of one instance, those alone that are not as wanted. Linux 6.13; before that, see SetDevice. They end with the
// instance: when the device, or on veth its XDP program, is reset.
func (d *Device) SetNAPI(id uint32, want NAPISettings) error {
	have, err := d.NAPI(id)
	if err != nil || have.NAPISettings == want {
		return err
	}
	return d.generic("netdev", fmt.Sprintf("settings of NAPI instance %d", id), netdevNAPISet, netlink.Acknowledge, func(a *netlink.AttributeEncoder) {
		a.Uint32(napiID, id)
		if have.Threaded != want.Threaded {
			a.Uint32(napiThreaded, uint32(want.Threaded))
		}
		if have.DeferHardIRQs != want.DeferHardIRQs {
			a.Uint32(napiDeferHardIRQs, want.DeferHardIRQs)
		}
		if have.IRQSuspendTimeout != want.IRQSuspendTimeout {
			a.Uint64(napiIRQSuspendTimeout, uint64(want.IRQSuspendTimeout))
		}
		if have.GROFlushTimeout != want.GROFlushTimeout {
			a.Uint64(napiGROFlushTimeout, uint64(want.GROFlushTimeout))
		}
	}, nil)
}
