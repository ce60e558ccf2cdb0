package xdp

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/afxdp"
	"github.com/fastrpc/fastrpc/internal/netpath"
	"github.com/fastrpc/fastrpc/internal/nic"
)

// plan completes the settings by what the interface is, and refuses what does not fit it.
func (d *device) plan(ifi iface) error {
	s := &d.settings
	d.queues = ifi.queues()
	if s.queues == nil {
		s.queues = make([]uint32, min(d.queues, maxQueues))
		for i := range s.queues {
			s.queues[i] = uint32(i)
		}
	}
	if last := s.queues[len(s.queues)-1]; int(last) >= d.queues {
		return fmt.Errorf("xdp: queue %d of %s: %w: it has %d, numbered from 0; see 'ethtool -l %[2]s'", last, d.name, ErrQueue, d.queues)
	}
	if s.chunk == 0 {
		s.chunk = 2048
		if ifi.mtu > maxMTU(s.chunk, 1) || s.zeroCopy != off && s.mode != generic && ifi.roundsDown() {
			s.chunk = 4096
		}
	}
	s.multiBuffer = ifi.mtu > maxMTU(s.chunk, 1) || s.mode != generic && ifi.splits()
	for s.span = 1; s.span < maxSpan && ifi.mtu > maxMTU(s.chunk, s.span); s.span *= 2 {
	}
	if limit := maxMTU(s.chunk, s.span); ifi.mtu > limit {
		hint := fmt.Sprintf("'ip link set dev %s mtu %d'", d.name, limit)
		if s.chunk < 4096 {
			hint += ", or chunk=4096"
		}
		return fmt.Errorf("xdp: %s: %w: packets of %d bytes do not fit into %d buffers of %d, which hold %d; %s",
			d.name, ErrMTU, ifi.mtu, s.span, s.chunk, limit, hint)
	}
	if err := s.fitMemory(); err != nil {
		return fmt.Errorf("xdp: %s: %w", d.name, err)
	}
	d.setMTU(ifi.mtu)
	d.mac.Store(packMAC(ifi.mac, 0))
	return nil
}

// roundsDown tells whether the driver's zero-copy tells the card the size of a buffer in whole KiB, as igb does (igb_main.c, igb_setup_srrctl):
// of a chunk of 2 KiB there is one left behind XDP's headroom, and longer packets are lost.
func (i *iface) roundsDown() bool {
	n, err := nic.Open(i.index)
	if err != nil {
		return false
	}
	defer n.Close()
	driver, err := n.Driver()
	return err == nil && driver.Name == "igb"
}

const (
	// maxNativeMTU is what drivers with one page for a packet allow at most: a page of 4 KiB without XDP's headroom, the room for the kernel's
	// skb_shared_info, and the link-layer header. Larger packets come in several of their buffers, also where they fit into one of ours.
	maxNativeMTU = 3498
	// sureNativeMTU is what a buffer of every such driver holds; ice and i40e have 3,072 bytes for a frame.
	sureNativeMTU = 3046
)

// splits tells whether the driver may put a packet of the MTU into several of its buffers.
func (i *iface) splits() bool {
	if i.mtu <= sureNativeMTU || i.mtu > maxNativeMTU {
		return i.mtu > maxNativeMTU
	}
	f, err := afxdp.Features(i.index) // an error is an old kernel, which knows no packets of several buffers
	return err == nil && f.XDP&afxdp.XDPReceiveMultiBuf != 0
}

// maxMTU is what fits into so many chunks behind the headroom that the kernel keeps in each (include/uapi/linux/bpf.h, XDP_PACKET_HEADROOM).
func maxMTU(chunk, span int) int {
	return span*(chunk-unix.XDP_PACKET_HEADROOM) - netpath.EthernetBytes - netpath.VLANBytes
}

// memory is how many bytes a queue's frames take: a chunk for each to receive, span chunks for each to send.
func (s *settings) memory() int { return s.chunk * (s.frames/2 + s.span*(s.frames-s.frames/2)) }

// fitMemory halves the frames of a queue, unless their number is given, until those of all queues fit into one UMEM.
func (s *settings) fitMemory() error {
	for len(s.queues)*s.memory() > afxdp.MaxUmemBytes {
		if _, given := s.given["frames"]; given {
			return fmt.Errorf("%w: frames=%d on %d queues take %d MiB at this MTU, %d are possible; name fewer frames or fewer queues",
				ErrSettings, s.frames, len(s.queues), len(s.queues)*s.memory()>>20, afxdp.MaxUmemBytes>>20)
		}
		s.frames /= 2
	}
	return nil
}

// setMTU sets what packets may carry; a frame to send has less room for large ones than one to receive.
func (d *device) setMTU(mtu int) (changed bool) {
	room, limit := d.settings.span*d.settings.chunk-dataOffset, maxMTU(d.settings.chunk, d.settings.span)
	four := uint32(min(netpath.MaxPayload(min(mtu, limit), false), room))
	six := uint32(min(netpath.MaxPayload(min(mtu, limit), true), room))
	changed = d.payload4.Swap(four) != four
	return d.payload6.Swap(six) != six || changed
}

// payload is the largest Frame.Data to or from an address by the interface's MTU.
func (d *device) payload(ip *[16]byte) uint16 {
	if isMapped(ip) {
		return uint16(d.payload4.Load())
	}
	return uint16(d.payload6.Load())
}
