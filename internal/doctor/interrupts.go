package doctor

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/fastrpc/fastrpc/internal/nic"
)

// checkIRQBalance finds the daemon that moves interrupts between CPUs.
func (m *machine) checkIRQBalance() Finding {
	names, _ := fs.Glob(m.root, "proc/[0-9]*/comm")
	for _, name := range names {
		if m.read(name) == "irqbalance" {
			return note("irqbalance", "it runs (pid %s), and moves interrupts onto CPUs that poll; stop it, or ban it from them with IRQBALANCE_BANNED_CPULIST",
				strings.Split(name, "/")[1]).mend("systemctl disable --now irqbalance")
		}
	}
	return ok("irqbalance", "it does not run: interrupts stay where they are put")
}

// checkAffinity looks at which CPUs the interrupts of the receive queues go to.
func (m *machine) checkAffinity() Finding {
	irqs := slices.DeleteFunc(slices.Clone(m.device.irqs.v), func(i nic.Interrupt) bool { return i.Queue < 0 })
	if len(irqs) == 0 {
		return Finding{} // no hardware, or names that are not known
	}
	var all, far, polled []int // CPUs; then the interrupts that go to other nodes, and to nothing but CPUs that poll
	near := m.cpuFile(fmt.Sprintf("%snode%d/cpulist", nodeDir, m.node()))
	for _, i := range irqs {
		cpus, err := ParseCPUs(i.Affinity)
		if err != nil {
			continue
		}
		all = append(all, cpus...)
		if len(near) > 0 && len(without(cpus, near)) == len(cpus) {
			far = append(far, i.Number)
		}
		if m.chosen && len(without(cpus, m.cpus)) == 0 {
			polled = append(polled, i.Number)
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	f := ok("affinity", "%s of receive queues, on %s", plural(len(irqs), "interrupt"), listed("CPU", all))
	move := func(numbers []int, to []int) string {
		return fmt.Sprintf("for i in %s; do echo %s > /proc/irq/$i/smp_affinity_list; done", strings.Trim(fmt.Sprint(numbers), "[]"), formatCPUs(to))
	}
	switch {
	case len(far) > 0:
		f.worse(Note, "%d of them on another NUMA node than the card's", len(far))
		f = f.mend(move(far, near))
	case len(polled) > 0 && len(without(near, m.cpus)) > 0:
		f.worse(Note, "%d of them on nothing but CPUs that poll, where the one waits for the other unless the queue is polled busily", len(polled))
		f = f.mend(move(polled, without(near, m.cpus)))
	case len(irqs) > 1 && len(all) == 1:
		f.worse(Note, "one CPU for all queues")
		var numbers []int
		for _, i := range irqs {
			numbers = append(numbers, i.Number)
		}
		f = f.mend(move(numbers, m.cpus))
	}
	return f
}

// noBusyPoll are drivers that give AF_XDP no NAPI instance to poll, by the names that they tell ethtool: the last argument of xdp_rxq_info_reg
// is 0 (Linux 7.3, drivers/net).
var noBusyPoll = []string{
	"bnxt_en", "ena", "fec", "fsl_enetc", "hv_netvsc", "igb", "mlx4_en", "mvneta", "mvpp2", "qede", "rvu_nicpf", "sfc",
}

// checkBusyPoll looks at what lets an application drive the device's receive loop instead of interrupts (Documentation/networking/napi.rst,
// "Busy polling" and "IRQ mitigation").
func (m *machine) checkBusyPoll() Finding {
	dir := "sys/class/net/" + m.device.name + "/"
	deferred, known := m.number(dir + "napi_defer_hard_irqs")
	timeout, known2 := m.number(dir + "gro_flush_timeout")
	if !known || !known2 {
		return note("busy-poll", "cannot read napi_defer_hard_irqs and gro_flush_timeout; is /sys the one of this network namespace?")
	}
	f := ok("busy-poll", "napi_defer_hard_irqs %d, gro_flush_timeout %d ns", deferred, timeout)
	for _, s := range []string{"busy_poll", "busy_read"} {
		if v := m.read("proc/sys/net/core/" + s); v != "" && v != "0" {
			f.Text += fmt.Sprintf(", net.core.%s %s µs", s, v)
		}
	}
	if v := m.read(dir + "threaded"); v != "" && v != "0" {
		f.Text += ", in kernel threads (threaded)"
	}
	if deferred == 0 && timeout == 0 {
		f.Text += "; busypoll= in the address sets them while it polls"
	}
	if driver := m.device.driver.v.Name; slices.Contains(noBusyPoll, driver) {
		f.Text += fmt.Sprintf("; %s does not tell AF_XDP what to poll, so that busypoll= does nothing", driver)
	}
	return f
}
