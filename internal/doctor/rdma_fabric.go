package doctor

import (
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// checkFlowControl tells whether the port keeps switches from dropping: priority flow control (IEEE 802.1Qbb) by data centre bridging, else pause
// frames (IEEE 802.3x). The switch's side is not seen from here.
func checkFlowControl(p *RDMAPort, a rdmaAnswers) Finding {
	switch {
	case p.LinkLayer == "InfiniBand":
		return ok("pfc", "InfiniBand: links are lossless by credits of their own")
	case p.ifMTU == 0: // no interface, or not here
		return Finding{}
	}
	bridging, pause := a.dcb(p.Interface), a.pause(p.Interface)
	paused := pause.err == nil && (pause.v.RxPause != 0 || pause.v.TxPause != 0)
	var f Finding
	switch {
	case bridging.err != nil:
		f = ok("pfc", "not visible: the driver of %s does not tell priority flow control (%v)", p.Interface, bridging.err)
	case !bridging.v.told:
		f = ok("pfc", "not visible: the driver of %s tells nothing of priority flow control", p.Interface)
	case bridging.v.lossless == 0:
		f = ok("pfc", "off for all priorities: the fabric is lossy for this port, and what a full switch drops is sent again")
	default:
		f = ok("pfc", "on for %s on this port; RDMA's packets have to be in one of them, and switches to have the same on", priorities(bits(bridging.v.lossless)))
		if len(bridging.v.dscp) > 0 {
			f.Text += "; by DSCP: " + dscpText(bridging.v)
		}
	}
	switch {
	case pause.err != nil:
		f.Text += fmt.Sprintf("; pause frames: not visible (%v)", pause.err)
	case paused && bridging.v.lossless != 0:
		f.worse(Note, "pause frames are on as well, which drivers take one of")
		return f.mend("ethtool -A " + p.Interface + " rx off tx off")
	case paused:
		f.worse(Note, "pause frames are on, which stop all traffic of the port, and spread from switch to switch; priority flow control for RDMA's priority alone "+
			"is better where there is other traffic")
	default:
		f.Text += "; pause frames are off"
	}
	return f
}

func priorities(list []int) string {
	if len(list) == 0 {
		return "no priority"
	}
	return "priority " + formatCPUs(list)
}

func bits(mask uint8) (set []int) {
	for i := range 8 {
		if mask>>i&1 == 1 {
			set = append(set, i)
		}
	}
	return set
}

// dscpText tells which DSCP lead to a lossless priority.
func dscpText(d dcb) string {
	var parts []string
	for _, dscp := range slices.Sorted(maps.Keys(d.dscp)) {
		if d.lossless>>d.dscp[dscp]&1 == 1 {
			parts = append(parts, fmt.Sprintf("%d is priority %d", dscp, d.dscp[dscp]))
		}
	}
	if parts == nil {
		return "none leads to one of them"
	}
	return strings.Join(parts, ", ")
}

// counter reads one of the card's own counters.
func (m *machine) counter(d *RDMADevice, p *RDMAPort, name string) (int, bool) {
	return m.number(fmt.Sprintf("%s%s/ports/%d/hw_counters/%s", infiniband, d.Name, p.Number, name))
}

// checkMarking tells of congestion control by ECN (DCQCN). The switch for it is in sysfs with the vendor's driver alone; the counters are in Linux
// (drivers/infiniband/hw/mlx5/counters.c).
func (m *machine) checkMarking(d *RDMADevice, p *RDMAPort) Finding {
	if p.LinkLayer == "InfiniBand" || soft(d) {
		return Finding{}
	}
	on := func(side string) (list []int, told bool) {
		dir := "sys/class/net/" + p.Interface + "/ecn/" + side + "/enable"
		for _, priority := range m.names(dir) {
			n, err := strconv.Atoi(priority)
			if told = true; err == nil && m.read(dir+"/"+priority) == "1" {
				list = append(list, n)
			}
		}
		return list, told
	}
	notify, told := on("roce_np")
	react, _ := on("roce_rp")
	f := ok("ecn", "whether the card slows down by ECN (DCQCN) is not visible here; the vendor's tools tell")
	switch {
	case told && len(notify)+len(react) == 0:
		f = note("ecn", "the card does not react to ECN (DCQCN) on any priority: congestion ends in drops or pauses")
	case told:
		f = ok("ecn", "DCQCN: the card tells senders of marks on %s, and slows down on %s", priorities(notify), priorities(react))
	}
	marked, counted := m.counter(d, p, "np_ecn_marked_roce_packets")
	sent, _ := m.counter(d, p, "np_cnp_sent")
	handled, _ := m.counter(d, p, "rp_cnp_handled")
	if counted {
		f.Text += fmt.Sprintf("; counted so far: %s came marked, %s sent, %s slowed this side down", plural(marked, "packet"), plural(sent, "notification"),
			plural(handled, "notification"))
	}
	return f
}

// checkManagerDefaults reads how rdma_cm begins connections (Documentation/ABI/testing/configfs-rdma_cm), where somebody has made the directory.
func (m *machine) checkManagerDefaults(d *RDMADevice, p *RDMAPort) Finding {
	if p.LinkLayer == "InfiniBand" {
		return Finding{}
	}
	const config = "sys/kernel/config/rdma_cm"
	dir := fmt.Sprintf("%s/%s/ports/%d/", config, d.Name, p.Number)
	mode, tos := m.read(dir+"default_roce_mode"), m.read(dir+"default_roce_tos")
	if _, err := fs.Stat(m.root, strings.TrimSuffix(dir, "/")); err != nil || mode == "" {
		return ok("roce-mode", "rdma_cm's defaults are not visible; 'mkdir /%s/%s' shows them where configfs is mounted, 'cma_roce_mode' and 'cma_roce_tos' do so too",
			config, d.Name)
	}
	if mode != "RoCE v2" {
		return note("roce-mode", "rdma_cm begins with %s unless the route's address says otherwise", mode).
			mend(fmt.Sprintf("echo 'RoCE v2' > /%sdefault_roce_mode", dir))
	}
	f := ok("roce-mode", "rdma_cm begins with %s", mode)
	if n, err := strconv.Atoi(tos); err == nil {
		f.Text += fmt.Sprintf(", traffic class %d (DSCP %d)", n, n>>2)
	}
	return f
}

// checkLosses tells what the card counted of packets that did not come, since it was started.
func (m *machine) checkLosses(d *RDMADevice, p *RDMAPort) Finding {
	var lost []string
	known := false
	for _, c := range []struct{ name, says string }{
		{"out_of_sequence", "came out of sequence"}, {"packet_seq_err", "were reported missing by peers"}, {"local_ack_timeout_err", "acknowledgements did not come in time"},
		{"out_of_buffer", "found no receive posted"}, {"rx_icrc_encapsulated", "had a wrong checksum"},
	} {
		n, there := m.counter(d, p, c.name)
		if known = known || there; n > 0 {
			lost = append(lost, fmt.Sprintf("%d %s (%s)", n, c.says, c.name))
		}
	}
	switch {
	case !known:
		return Finding{}
	case lost == nil:
		return ok("losses", "none counted")
	}
	return note("losses", "counted so far: %s. If they grow under load, the fabric drops: see docs/hardware.md on lossless and lossy fabrics", strings.Join(lost, ", "))
}
