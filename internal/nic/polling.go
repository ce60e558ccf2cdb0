package nic

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
)

// PollCounts are what shows whether a queue is polled or interrupts: counters that only grow.
type PollCounts struct {
	Interrupts uint64 // times that the queue's line fired
	HasLine    bool   // the line is known; devices that the kernel makes up have none
	SoftIRQs   uint64 // NET_RX softirqs, of the whole machine: what polls a queue that nobody polls by a system call
}

// PollCounts reads the counters of a receive queue. napi is the NAPI instance that serves it, where it is known, or 0.
func (d *Device) PollCounts(queue int, napi uint32) (c PollCounts, err error) {
	if c.SoftIRQs, err = netRXSoftIRQs(); err != nil {
		return c, err
	}
	lines, err := d.Interrupts()
	if err != nil || len(lines) == 0 {
		return c, err
	}
	number := 0
	if n, err := d.NAPI(napi); napi != 0 && err == nil {
		number = n.IRQ
	}
	i := slices.IndexFunc(lines, func(l Interrupt) bool { return l.Number == number && number != 0 })
	if i < 0 {
		i = slices.IndexFunc(lines, func(l Interrupt) bool { return l.Queue == queue })
	}
	if i >= 0 {
		c.Interrupts, c.HasLine = lines[i].Fired(), true
	}
	return c, nil
}

// EnoughPackets is how many it takes to tell whether a queue is polled. One interrupt or softirq for so many packets is none to speak of:
// interrupts come for one packet, or for 64, a NAPI budget, under load.
const EnoughPackets = 100

// BusyPolled says whether packets that came in between two readings were polled for by system calls, and why not. napi is what the socket's
// SO_INCOMING_NAPI_ID says.
func BusyPolled(napi uint32, before, after PollCounts, packets uint64) (works bool, why string) {
	events, what := after.SoftIRQs-before.SoftIRQs, "NET_RX softirqs of the whole machine"
	if after.HasLine && before.HasLine {
		events, what = after.Interrupts-before.Interrupts, "interrupts of the queue"
	}
	switch {
	case napi == 0 && packets == 0:
		return false, "no packet has come in yet that would tell the socket its NAPI instance"
	case napi == 0:
		return false, "the driver tells the socket no NAPI instance (SO_INCOMING_NAPI_ID is 0), so the kernel has nothing to poll"
	case packets < EnoughPackets:
		return false, fmt.Sprintf("%d packets are too few to tell", packets)
	case events > packets/EnoughPackets:
		return false, fmt.Sprintf("%d %s for %d packets", events, what, packets)
	}
	return true, ""
}

// netRXSoftIRQs counts them on all CPUs.
func netRXSoftIRQs() (n uint64, err error) {
	table, err := os.ReadFile("/proc/softirqs")
	if err != nil {
		return 0, fmt.Errorf("nic: %w", err)
	}
	return sumSoftIRQs(table, "NET_RX:"), nil
}

func sumSoftIRQs(table []byte, kind string) (n uint64) {
	for line := range bytes.Lines(table) {
		f := bytes.Fields(line)
		if len(f) == 0 || string(f[0]) != kind {
			continue
		}
		for _, count := range f[1:] {
			c, _ := strconv.ParseUint(string(count), 10, 64)
			n += c
		}
	}
	return n
}
