package nic

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Interrupt is one of the device's interrupt lines.
type Interrupt struct {
	Number   int
	Name     string   // what the driver calls it, such as "eth0-TxRx-3"
	Queue    int      // receive queue that its name tells; -1: none
	Counts   []uint64 // times that it fired, by CPU that is online
	Affinity string   // list of the CPUs that it may go to, such as "0-3"
}

// Fired is how often the line fired, on all CPUs together.
func (i *Interrupt) Fired() (n uint64) {
	for _, c := range i.Counts {
		n += c
	}
	return n
}

// Interrupts lists the device's lines, in the order of their numbers. Devices that the kernel makes up, such as veth, have none.
func (d *Device) Interrupts() ([]Interrupt, error) {
	drv, err := d.Driver()
	if err != nil {
		return nil, err
	}
	own, err := messageInterrupts(drv.Bus)
	if err != nil || len(own) == 0 {
		return nil, err
	}
	table, err := os.ReadFile("/proc/interrupts")
	if err != nil {
		return nil, fmt.Errorf("nic: %w", err)
	}
	lines := slices.DeleteFunc(parseInterrupts(table), func(i Interrupt) bool { return !slices.Contains(own, i.Number) })
	for i := range lines {
		list, err := os.ReadFile(fmt.Sprintf("/proc/irq/%d/smp_affinity_list", lines[i].Number))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("nic: %w", err)
		}
		lines[i].Affinity = strings.TrimSpace(string(list))
	}
	return lines, nil
}

// messageInterrupts lists the numbers of the message-signalled interrupts of a device on the PCI bus.
func messageInterrupts(bus string) ([]int, error) {
	if bus == "" || strings.ContainsRune(bus, '/') {
		return nil, nil
	}
	entries, err := os.ReadDir(filepath.Join("/sys/bus/pci/devices", bus, "msi_irqs"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("nic: %w", err)
	}
	var numbers []int
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil {
			numbers = append(numbers, n)
		}
	}
	return numbers, nil
}

// parseInterrupts reads /proc/interrupts: a line of the CPUs, then for each number the counts by CPU, the controller, the line's place at it,
// and the names of its users.
func parseInterrupts(table []byte) (lines []Interrupt) {
	in := bufio.NewScanner(bytes.NewReader(table))
	if !in.Scan() {
		return nil
	}
	cpus := len(strings.Fields(in.Text()))
	for in.Scan() {
		f := strings.Fields(in.Text())
		if len(f) < 1+cpus {
			continue
		}
		number, err := strconv.Atoi(strings.TrimSuffix(f[0], ":"))
		if err != nil {
			continue // NMI and the like
		}
		i := Interrupt{Number: number, Counts: make([]uint64, cpus)}
		for c := range cpus {
			i.Counts[c], _ = strconv.ParseUint(f[1+c], 10, 64)
		}
		if rest := f[1+cpus:]; len(rest) > 2 {
			i.Name = strings.Join(rest[2:], " ")
		}
		i.Queue = interruptQueue(i.Name)
		lines = append(lines, i)
	}
	slices.SortFunc(lines, func(a, b Interrupt) int { return a.Number - b.Number })
	return lines
}

// interruptForms are how drivers name the interrupt of a receive queue.
var interruptForms = []*regexp.Regexp{
	regexp.MustCompile(`(?i)(?:tx-?rx|rx)-?(\d+)$`), // eth0-TxRx-3: igb, ixgbe, i40e, ice, bnxt_en; eth0-Tx-Rx-3: ena; eth0-rx-3: e1000e
	regexp.MustCompile(`input\.(\d+)$`),             // virtio0-input.3
	regexp.MustCompile(`^mlx5_comp(\d+)@`),          // mlx5_comp3@pci:0000:3b:00.0
}

func interruptQueue(name string) int {
	for _, form := range interruptForms {
		if m := form.FindStringSubmatch(name); m != nil {
			if q, err := strconv.Atoi(m[1]); err == nil {
				return q
			}
		}
	}
	return -1
}
