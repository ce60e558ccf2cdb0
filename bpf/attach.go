package bpf

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// attach makes the bpf_link in the mode that is asked for, and says which one it became. why is native mode's refusal.
func attach(prog *ebpf.Program, dev device, want Mode) (l link.Link, got Mode, why, err error) {
	if want != Generic {
		l, why = attachAs(prog, dev, Native)
		var taken *AttachedError
		if why == nil || want == Native || errors.As(why, &taken) {
			return l, Native, nil, why
		}
	}
	l, err = attachAs(prog, dev, Generic)
	if err != nil {
		return nil, Generic, nil, errors.Join(why, err)
	}
	return l, Generic, why, nil
}

func attachAs(prog *ebpf.Program, dev device, mode Mode) (link.Link, error) {
	flags := link.XDPDriverMode
	if mode == Generic {
		flags = link.XDPGenericMode
	}
	l, err := link.AttachXDP(link.XDPOptions{Program: prog, Interface: dev.index, Flags: flags})
	if err == nil {
		return l, nil
	}
	// A bpf_link never replaces another attachment (net/core/dev.c, dev_xdp_attach): EBUSY for a program in the same mode, EEXIST for
	// one in another mode or on a device above, of which the kernel tells us only the bond or bridge.
	if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST) {
		for _, index := range []int{dev.index, dev.master} {
			if a, ok, qerr := Attached(index); qerr == nil && ok {
				return nil, &AttachedError{a, pinDirOf(a)}
			}
		}
	}
	return nil, fmt.Errorf("bpf: attaching to %s in %v mode: %s: %w", dev.name, mode, reason(err, dev), err)
}

// reason says what stands behind a refusal, and what to do. The kernel explains itself in words to netlink users only, and drivers
// disagree on the numbers.
func reason(err error, dev device) string {
	// What is left of a page when the headroom for XDP, the skb's trailer and layer 2 are taken off: 3,498 bytes of 4 KiB.
	maxMTU := os.Getpagesize() - 256 - 320 - 22
	mtu := fmt.Sprintf("the MTU, %d, is too large for a packet and XDP's headroom in one page, and the driver takes no packets of several "+
		"buffers, or was not asked to: 'ip link set dev %s mtu %d', or less (of a veth pair, the peer's MTU counts)", dev.mtu, dev.name, maxMTU)
	tooLarge := dev.mtu > maxMTU
	switch {
	case errors.Is(err, unix.EPERM):
		return "CAP_NET_ADMIN is needed over this network namespace"
	case errors.Is(err, unix.EBUSY):
		return "another program was there until a moment ago; try again"
	case errors.Is(err, unix.EEXIST):
		return "a device on top of it may run an XDP program; see 'ip -details link'"
	case errors.Is(err, unix.ERANGE), errors.Is(err, unix.EINVAL) && tooLarge:
		return mtu
	case errors.Is(err, unix.EOPNOTSUPP) && tooLarge:
		return "the driver has no native XDP, or " + mtu
	case errors.Is(err, unix.EOPNOTSUPP):
		return "the driver has no native XDP, or not beside its offloads (try 'ethtool -K " + dev.name + " lro off rx-gro-hw off')"
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.ENOMEM):
		return fmt.Sprintf("the device has too few queues or too little memory to add XDP's: see 'ethtool -l %s', and set fewer with -L (a veth "+
			"device needs as many receive queues as its peer has transmit queues)", dev.name)
	case errors.Is(err, unix.ENODEV):
		return "the interface is gone"
	}
	return "the kernel log ('dmesg') may say why"
}
