package doctor

import (
	"slices"
	"testing"

	"github.com/fastrpc/fastrpc/internal/nic"
)

func TestIRQBalance(t *testing.T) {
	want(t, onMachine("proc/1/comm", "systemd", "proc/812/comm", "irqbalance").checkIRQBalance(), Note, "pid 812", "systemctl disable --now irqbalance")
	want(t, onMachine("proc/1/comm", "systemd", "proc/812/comm", "irqbalance-ui").checkIRQBalance(), OK)
}

func TestAffinity(t *testing.T) {
	irqs := func(m *machine, cpus ...string) *machine {
		m.device.irqs.v = append(m.device.irqs.v, nic.Interrupt{Number: 119, Name: "ice-0000:3b:00.0:misc", Queue: -1, Affinity: "3"})
		for q, list := range cpus {
			m.device.irqs.v = append(m.device.irqs.v, nic.Interrupt{Number: 120 + q, Queue: q, Affinity: list})
		}
		return m
	}
	silent(t, irqs(onMachine()).checkAffinity())
	want(t, irqs(onMachine(), "0", "1").checkAffinity(), OK, "2 interrupts", "0-1")
	want(t, irqs(onMachine(), "0", "0").checkAffinity(), Note, "one CPU for all", "for i in 120 121; do echo 0-3 > /proc/irq/$i/smp_affinity_list; done")
	want(t, irqs(onMachine(), "0").checkAffinity(), OK) // one queue, one CPU
	want(t, irqs(onMachine(twoNodes...), "0", "2", "3").checkAffinity(), Note, "2 of them on another NUMA node", "for i in 121 122; do echo 0-1 >")
	want(t, irqs(onMachine(twoNodes...), "1", "0-3").polling(1).checkAffinity(), Note, "1 of them", "for i in 120; do echo 0 >")
	want(t, irqs(onMachine(twoNodes...), "0", "0-1").polling(1).checkAffinity(), OK)
}

func TestBusyPoll(t *testing.T) {
	sys := func(deferred, timeout string, more ...string) *machine {
		return onMachine(slices.Concat([]string{"sys/class/net/eth7/napi_defer_hard_irqs", deferred, "sys/class/net/eth7/gro_flush_timeout", timeout}, more)...)
	}
	want(t, sys("2", "200000").checkBusyPoll(), OK)
	want(t, sys("2", "200000", "proc/sys/net/core/busy_poll", "50", "sys/class/net/eth7/threaded", "1").checkBusyPoll(), OK, "net.core.busy_poll 50 µs", "kernel threads")
	want(t, sys("0", "0").checkBusyPoll(), OK, "napi_defer_hard_irqs 0", "sets them")
	ena := sys("0", "0")
	ena.device.driver.v.Name = "ena"
	want(t, ena.checkBusyPoll(), OK, "busypoll= does nothing")
	want(t, onMachine().checkBusyPoll(), Note, "/sys")
}
