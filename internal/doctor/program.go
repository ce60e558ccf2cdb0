package doctor

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/fastrpc/fastrpc/afxdp"
	"github.com/fastrpc/fastrpc/bpf"
)

// checkFeatures asks what the driver says of itself. What counts is the probe: drivers say too much, and too little.
func (m *machine) checkFeatures() Finding {
	x := m.device.xdp
	if x.err != nil {
		return note("xdp-features", "the kernel does not tell (%v)", x.err)
	}
	f := ok("xdp-features", "%v", x.v.XDP)
	if x.v.RxMetadata != 0 {
		f.Text += fmt.Sprintf("; of received packets: %v", x.v.RxMetadata)
	}
	if x.v.TxMetadata != 0 {
		f.Text += fmt.Sprintf("; for sent ones: %v", x.v.TxMetadata)
	}
	switch {
	case !x.v.XDP.Has(afxdp.XDPBasic | afxdp.XDPRedirect):
		return note("xdp-features", "no native XDP here and now (%v); the slower generic mode is left. Some drivers want offloads off or another MTU first",
			x.v.XDP)
	case !m.device.zeroCopy():
		f.Text += "; no zero-copy in this driver"
	case x.v.ZeroCopyMaxSegs > 1:
		f.Text += fmt.Sprintf("; up to %d buffers a packet with zero-copy", x.v.ZeroCopyMaxSegs)
	}
	return f
}

// onePage is the largest MTU with which a packet fits a page in native mode: without XDP's headroom (256 bytes), the trailer that an skb needs
// (320) and layer 2 with two VLAN tags (22).
func onePage(page int) int { return page - 256 - 320 - 22 }

// oneBuffer is onePage for those drivers whose limit is lower, with pages of 4 KiB; by the names that they tell ethtool. Read in the sources of
// Linux 7.3 (drivers/net), such as ice_max_xdp_frame_size, igc_xdp_set_prog and gve_verify_xdp_configuration.
var oneBuffer = map[string]int{
	"ice": 3046, "i40e": 3046, "igb": 3046, "ixgbe": 3050, "igc": 1500, "st_gmac": 1500, "st_xgmac": 1500, "gve": 2032, "rvu_nicpf": 1508,
	"vmxnet3": 3494, "tun": 1500,
}

// checkMTU: beyond a page, a packet comes in several buffers, which the driver must have for XDP (rx-sg), and AF_XDP has since Linux 6.6.
func (m *machine) checkMTU(page int, release string) Finding {
	d, limit := &m.device, onePage(page)
	lower, known := oneBuffer[d.driver.v.Name]
	switch known = known && lower < limit; {
	case known && d.mtu > lower && d.mtu <= limit:
		return note("mtu", "%d bytes, and %s takes %d at most in one buffer with native XDP, beyond which the slower generic mode is left", d.mtu,
			d.driver.v.Name, lower).mend(fmt.Sprintf("ip link set dev %s mtu %d", d.name, lower))
	case known && d.mtu <= lower:
		return ok("mtu", "%d bytes; %s takes %d in one buffer with native XDP", d.mtu, d.driver.v.Name, lower)
	case known:
		limit = lower
	case d.mtu <= limit:
		return ok("mtu", "%d bytes; native XDP takes %d in one buffer, some drivers less", d.mtu, limit)
	}
	v, known := parseRelease(release)
	switch {
	case known && v.before(6, 6):
		return note("mtu", "%d bytes, and Linux %s takes %d at most in native XDP; 6.6 takes packets in several buffers", d.mtu, release, limit).
			mend(fmt.Sprintf("ip link set dev %s mtu %d", d.name, limit))
	case d.xdp.err == nil && !d.xdp.v.XDP.Has(afxdp.XDPReceiveMultiBuf):
		return note("mtu", "%d bytes, and this driver has no packets in several buffers (rx-sg): native XDP takes %d at most, beyond which the slower generic "+
			"mode is left", d.mtu, limit).mend(fmt.Sprintf("ip link set dev %s mtu %d", d.name, limit))
	}
	f := ok("mtu", "%d bytes, in several buffers a packet", d.mtu)
	if segments := d.xdp.v.ZeroCopyMaxSegs; d.zeroCopy() && segments == 1 {
		f.worse(Note, "with zero-copy, this driver has one buffer a packet: above an MTU of %d packets are copied", limit)
		return f.mend(fmt.Sprintf("ip link set dev %s mtu %d", d.name, limit))
	}
	return f
}

// steerProgram is the name of fastrpc's own program, dispatcherProgram that of libxdp's, which calls several in turn (xdp-tools,
// lib/libxdp/protocol.org).
const (
	steerProgram      = "fastrpc_steer"
	dispatcherProgram = "xdp_dispatcher"
)

// checkAttached: a program that is there is never replaced. inUse says that it is fastrpc's, or that it can be joined, and is left in peace.
func (m *machine) checkAttached() (f Finding, inUse bool) {
	a, there, err := bpf.Attached(m.device.index)
	switch {
	case err != nil:
		return note("program", "%v", err), false
	case !there:
		return ok("program", "no XDP program is attached"), false
	}
	return m.judgeAttached(a)
}

func (m *machine) judgeAttached(a bpf.Attachment) (f Finding, inUse bool) {
	switch {
	case a.Program == steerProgram && m.setUp():
		return ok("program", "set up by 'fastrpc setup' (program id %d, %v); take part in it with program=pinned in the address", a.ProgramID, a.Mode), true
	case a.Program == "" && m.setUp():
		return ok("program", "the one of 'fastrpc setup', most likely (program id %d, %v; its name takes CAP_SYS_ADMIN to see); take part in it with "+
			"program=pinned in the address", a.ProgramID, a.Mode), true
	case a.Program == steerProgram:
		return judgeInUse(a, linkHolder(m.root, a.LinkID)), true
	case a.Program == dispatcherProgram:
		return judgeDispatcher(a), true
	}
	return judgeTheirs(a), false
}

// setUp says that 'fastrpc setup' has pinned a program for the interface.
func (m *machine) setUp() bool {
	_, err := fs.Stat(m.root, strings.TrimPrefix(bpf.PinDir(m.device.name), "/"))
	return err == nil
}

func judgeDispatcher(a bpf.Attachment) Finding {
	return note("program", "libxdp's dispatcher (id %d, %v) runs programs of others: the interface is not to be had alone, but beside them", a.ProgramID, a.Mode).
		mend(fmt.Sprintf("fastrpc serve --listen 'xdp://%s:9000?program=dispatcher' --insecure", a.Interface))
}

func judgeInUse(a bpf.Attachment, pid int) Finding {
	holder := "a fastrpc process"
	if pid != 0 {
		holder += fmt.Sprintf(" (pid %d)", pid)
	}
	return note("program", "%s is in use: %s holds it (program id %d, %v); another process cannot have it for xdp:// meanwhile", a.Interface, holder,
		a.ProgramID, a.Mode)
}

// linkHolder finds a process that has the bpf_link open, by what /proc says of its descriptors; 0 when none can be seen.
func linkHolder(root fs.FS, id uint32) (pid int) {
	if id == 0 {
		return 0
	}
	line := fmt.Sprintf("\nlink_id:\t%d\n", id)
	fds, _ := fs.Glob(root, "proc/[0-9]*/fdinfo/*")
	for _, fd := range fds {
		b, err := fs.ReadFile(root, fd)
		if err == nil && strings.Contains("\n"+string(b), line) {
			pid, _ = strconv.Atoi(strings.Split(fd, "/")[1])
			return pid
		}
	}
	return 0
}

func judgeTheirs(a bpf.Attachment) Finding {
	f := wrong("program", "XDP program %q (id %d, %v) is attached, by someone else, and is not replaced", a.Program, a.ProgramID, a.Mode)
	if a.Program == "" {
		f.Text = fmt.Sprintf("an XDP program (id %d, %v; its name takes CAP_SYS_ADMIN to see) is attached, by another fastrpc process or by someone else, "+
			"and is not replaced", a.ProgramID, a.Mode)
	}
	f.Text += "; stop its owner, or remove it"
	if a.LinkID != 0 {
		return f.mend(fmt.Sprintf("bpftool link detach id %d", a.LinkID))
	}
	hook := map[bpf.Mode]string{bpf.Native: "xdpdrv", bpf.Generic: "xdpgeneric"}[a.Mode]
	if hook == "" {
		hook = "xdpoffload"
	}
	return f.mend(fmt.Sprintf("ip link set dev %s %s off", a.Interface, hook))
}
