//go:build linux

package afxdp

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// DeviceFeatures is what a device's driver says of its XDP (netlink family netdev; include/uapi/linux/netdev.h). It is what the driver can
// do, not what it does at present: a generic XDP program, a long ring or a large MTU may still keep zero-copy away.
type DeviceFeatures struct {
	XDP             XDPFeatures
	ZeroCopyMaxSegs int        // descriptors a packet in zero-copy mode at most; 1: no multi-buffer, 0: no zero-copy, or before Linux 6.6
	RxMetadata      RxMetadata // what an XDP program can ask of a received packet (bpf_xdp_metadata_*); Linux 6.8
	TxMetadata      TxMetadata // what a TxRequest can ask of the device; Linux 6.8
}

// XDPFeatures are the kernel's NETDEV_XDP_ACT_*.
type XDPFeatures uint64

// The features of the native hook.
const (
	XDPBasic            XDPFeatures = 1 << iota // native programs may abort, drop, pass and send back (XDP_TX)
	XDPRedirect                                 // and redirect: what an AF_XDP socket beside a native program needs
	XDPTransmit                                 // other devices may redirect to this one
	XDPZeroCopy                                 // AF_XDP in zero-copy mode
	XDPHardwareOffload                          // programs can run in the device
	XDPReceiveMultiBuf                          // native programs get packets of several buffers
	XDPTransmitMultiBuf                         // other devices may redirect such packets to this one
)

// RxMetadata are the kernel's NETDEV_XDP_RX_METADATA_*.
type RxMetadata uint64

// What a received packet can carry.
const (
	RxTimestamp RxMetadata = 1 << iota
	RxHash
	RxVLANTag
)

// TxMetadata are the kernel's NETDEV_XSK_FLAGS_*. In copy mode the kernel itself serves checksum and timestamp, on any device.
type TxMetadata uint64

// What a transmitted packet can ask for.
const (
	TxTimestamp TxMetadata = 1 << iota
	TxChecksum
	TxLaunchTime
)

// Has says whether all of want are there.
func (f XDPFeatures) Has(want XDPFeatures) bool { return f&want == want }

// Has says whether all of want are there.
func (f RxMetadata) Has(want RxMetadata) bool { return f&want == want }

// Has says whether all of want are there.
func (f TxMetadata) Has(want TxMetadata) bool { return f&want == want }

// String gives the names of the netdev netlink specification, as 'ynl' prints them.
func (f XDPFeatures) String() string {
	return names(uint64(f), "basic", "redirect", "ndo-xmit", "xsk-zerocopy", "hw-offload", "rx-sg", "ndo-xmit-sg")
}

func (f RxMetadata) String() string { return names(uint64(f), "timestamp", "hash", "vlan-tag") }

func (f TxMetadata) String() string {
	return names(uint64(f), "tx-timestamp", "tx-checksum", "tx-launch-time-fifo")
}

// names lists the set bits; those that have no name here, of a newer kernel, by their number.
func names(bits uint64, known ...string) string {
	var out []string
	for i := range 64 {
		switch {
		case bits>>i&1 == 0:
		case i < len(known):
			out = append(out, known[i])
		default:
			out = append(out, "bit "+strconv.Itoa(i))
		}
	}
	if out == nil {
		return "none"
	}
	return strings.Join(out, " ")
}

// The netdev family's numbers (include/uapi/linux/netdev.h), which x/sys/unix lacks.
const (
	netdevFamily        = "netdev"
	netdevVersion       = 1
	cmdDevGet           = 1
	attrIfindex         = 1
	attrXDPFeatures     = 3
	attrZeroCopyMaxSegs = 4
	attrRxMetadata      = 5
	attrXskFeatures     = 6
)

// Features asks the kernel what the interface with this index, in the network namespace of the calling thread, can do. It needs no
// privilege. Before Linux 6.3 the error is errors.ErrUnsupported; for an interface that is not there it is ErrNoDevice.
func Features(ifindex int) (f DeviceFeatures, err error) {
	c, err := genetlink.Dial(nil)
	if err != nil {
		return f, fmt.Errorf("afxdp: generic netlink: %w", err)
	}
	defer c.Close()
	family, err := c.GetFamily(netdevFamily)
	if errors.Is(err, os.ErrNotExist) {
		return f, fmt.Errorf("afxdp: this kernel does not tell features of devices, Linux 6.3 does: %w", errors.ErrUnsupported)
	}
	if err != nil {
		return f, fmt.Errorf("afxdp: netlink family netdev: %w", err)
	}
	question := netlink.NewAttributeEncoder()
	question.Uint32(attrIfindex, uint32(ifindex))
	data, err := question.Encode()
	if err != nil {
		return f, fmt.Errorf("afxdp: netlink family netdev: %w", err)
	}
	answers, err := c.Execute(genetlink.Message{Header: genetlink.Header{Command: cmdDevGet, Version: netdevVersion}, Data: data},
		family.ID, netlink.Request)
	switch {
	case errors.Is(err, unix.ENODEV):
		return f, fmt.Errorf("afxdp: %w: interface %d does not exist in this network namespace; see 'ip link' (%w)", ErrNoDevice, ifindex, err)
	case err != nil:
		return f, fmt.Errorf("afxdp: netlink family netdev, interface %d: %w", ifindex, err)
	case len(answers) != 1:
		return f, fmt.Errorf("afxdp: netlink family netdev, interface %d: %d answers", ifindex, len(answers))
	}
	return parseFeatures(answers[0].Data)
}

func parseFeatures(attrs []byte) (f DeviceFeatures, err error) {
	d, err := netlink.NewAttributeDecoder(attrs)
	if err != nil {
		return f, fmt.Errorf("afxdp: netlink family netdev: %w", err)
	}
	for d.Next() {
		switch d.Type() {
		case attrXDPFeatures:
			f.XDP = XDPFeatures(d.Uint64())
		case attrZeroCopyMaxSegs:
			f.ZeroCopyMaxSegs = int(d.Uint32())
		case attrRxMetadata:
			f.RxMetadata = RxMetadata(d.Uint64())
		case attrXskFeatures:
			f.TxMetadata = TxMetadata(d.Uint64())
		}
	}
	if err := d.Err(); err != nil {
		return f, fmt.Errorf("afxdp: netlink family netdev: %w", err)
	}
	return f, nil
}

// maxSkbFrags is how many pages a packet of the kernel's own may have beside its linear part.
func maxSkbFrags() int {
	text, _ := os.ReadFile("/proc/sys/net/core/max_skb_frags") // not visible in every network namespace
	if n, err := strconv.Atoi(string(bytes.TrimSpace(text))); err == nil {
		return n
	}
	return 17 // CONFIG_MAX_SKB_FRAGS where nobody changed it
}
