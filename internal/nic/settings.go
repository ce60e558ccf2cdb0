package nic

import (
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Driver says who drives the device.
type Driver struct {
	Name     string
	Version  string // of the driver, or of the kernel it came with
	Firmware string // "" where there is none
	Bus      string // the device's address, such as a PCI function's 0000:3b:00.0; "" where it has none
}

// struct ethtool_drvinfo (linux/ethtool.h): u32 cmd, then strings of 32 bytes: driver, version, firmware, bus, ...
const (
	drvinfoBytes  = 196
	drvinfoString = 32
)

// Driver asks for the driver.
func (d *Device) Driver() (Driver, error) {
	r := request(unix.ETHTOOL_GDRVINFO, drvinfoBytes)
	if err := d.ask("driver", r); err != nil {
		return Driver{}, err
	}
	at := func(i int) string {
		s := unix.ByteSliceToString(r[4+i*drvinfoString : 4+(i+1)*drvinfoString])
		if s == "N/A" {
			return ""
		}
		return s
	}
	return Driver{at(0), at(1), at(2), at(3)}, nil
}

// Channels are pairs of a receive and a transmit queue (Combined), or queues of their own (RX, TX). A driver has the first kind, the second,
// or receive queues beside pairs.
type Channels struct{ Combined, RX, TX, Other int }

// ReceiveQueues is how many queues packets come in by.
func (c Channels) ReceiveQueues() int { return c.Combined + c.RX }

// Attributes of ETHTOOL_MSG_CHANNELS_GET and _SET (linux/ethtool_netlink.h). Netlink, because the kernel then says why it refuses.
const (
	msgChannelsGet = 17
	msgChannelsSet = 18

	channelsHeader      = 1
	channelsRXMax       = 2
	channelsTXMax       = 3
	channelsOtherMax    = 4
	channelsCombinedMax = 5
	channelsRX          = 6
	channelsTX          = 7
	channelsOther       = 8
	channelsCombined    = 9

	headerDevIndex = 1
)

// Channels asks how many queues the device uses, and how many it could. Linux 5.7.
func (d *Device) Channels() (now, most Channels, err error) {
	err = d.ethtoolNetlink("channels", msgChannelsGet, 0, nil, func(a *netlink.AttributeDecoder) error {
		for a.Next() {
			into, known := map[uint16]*int{
				channelsRXMax: &most.RX, channelsTXMax: &most.TX, channelsOtherMax: &most.Other, channelsCombinedMax: &most.Combined,
				channelsRX: &now.RX, channelsTX: &now.TX, channelsOther: &now.Other, channelsCombined: &now.Combined,
			}[a.Type()]
			if known {
				*into = int(a.Uint32())
			}
		}
		return nil
	})
	return now, most, err
}

// SetChannels changes the number of queues; a field that is what it was is left alone. Most drivers reset the device, which loses packets and
// leaves RSS with its default table. The kernel refuses to take queues from below zero-copy sockets; in copy mode the queue just stops.
func (d *Device) SetChannels(c Channels) error {
	now, _, err := d.Channels()
	if err != nil {
		return err
	}
	return d.ethtoolNetlink("setting the channels", msgChannelsSet, netlink.Acknowledge, func(a *netlink.AttributeEncoder) {
		for _, f := range []struct {
			attr      uint16
			have, set int
		}{{channelsCombined, now.Combined, c.Combined}, {channelsRX, now.RX, c.RX}, {channelsTX, now.TX, c.TX}, {channelsOther, now.Other, c.Other}} {
			if f.have != f.set {
				a.Uint32(f.attr, uint32(f.set))
			}
		}
	}, nil)
}

// ethtoolNetlink makes a request of the ethtool family about this device.
func (d *Device) ethtoolNetlink(what string, msg uint8, flags netlink.HeaderFlags, encode func(*netlink.AttributeEncoder),
	decode func(*netlink.AttributeDecoder) error) error {
	return d.generic("ethtool", what, msg, flags, func(a *netlink.AttributeEncoder) {
		a.Nested(channelsHeader, func(h *netlink.AttributeEncoder) error {
			h.Uint32(headerDevIndex, uint32(d.index))
			return nil
		})
		if encode != nil {
			encode(a)
		}
	}, decode)
}

// Coalesce says how long, and for how many packets, the device waits before it interrupts.
type Coalesce struct {
	RXMicros, TXMicros     int
	RXFrames, TXFrames     int // 0: not by number
	RXAdaptive, TXAdaptive bool
}

// Coalesce asks for interrupt coalescing.
func (d *Device) Coalesce() (Coalesce, error) {
	// struct ethtool_coalesce (linux/ethtool.h): 23 words
	w, err := d.words("interrupt coalescing", unix.ETHTOOL_GCOALESCE, 23)
	if err != nil {
		return Coalesce{}, err
	}
	return Coalesce{
		RXMicros: int(w[1]), RXFrames: int(w[2]), RXAdaptive: w[10] != 0,
		TXMicros: int(w[5]), TXFrames: int(w[6]), TXAdaptive: w[11] != 0,
	}, nil
}

// Rings says how many descriptors the device's own rings have.
type Rings struct{ RX, RXMax, TX, TXMax int }

// Rings asks for the ring sizes.
func (d *Device) Rings() (Rings, error) {
	// struct ethtool_ringparam (linux/ethtool.h): the command, four limits, four sizes: receive, mini, jumbo, transmit
	w, err := d.words("ring sizes", unix.ETHTOOL_GRINGPARAM, 9)
	if err != nil {
		return Rings{}, err
	}
	return Rings{RX: int(w[5]), RXMax: int(w[1]), TX: int(w[8]), TXMax: int(w[4])}, nil
}
