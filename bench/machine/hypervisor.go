package machine

import (
	"slices"
	"strings"
)

// guestNames are in the firmware's names of virtual machines.
var guestNames = []string{"KVM", "QEMU", "VMware", "VirtualBox", "innotek", "Xen", "HVM domU", "Bochs", "Parallels", "BHYVE", "OpenStack", "KubeVirt",
	"Virtual Machine", "Apple Virtualization", "Google Compute Engine", "Alibaba Cloud ECS"}

// clockNames are clocks that only guests of a hypervisor have.
var clockNames = []struct{ clock, hypervisor string }{{"kvm-clock", "KVM"}, {"hyperv_clocksource", "Hyper-V"}, {"xen", "Xen"}}

// hypervisor says under which one this machine runs. On x86 the CPU says whether there is one at all; elsewhere the firmware's name of the
// machine is what there is, which in a container without /sys nobody tells.
func (f files) hypervisor() string {
	flags := strings.Fields(cpuField(f.read("proc/cpuinfo"), "flags"))
	if len(flags) > 0 && !slices.Contains(flags, "hypervisor") {
		return "none"
	}
	vendor, product := f.read("sys/class/dmi/id/sys_vendor"), f.read("sys/class/dmi/id/product_name")
	name := strings.TrimSpace(vendor + " " + product)
	if len(flags) > 0 && name != "" {
		return name
	}
	for _, n := range guestNames {
		if strings.Contains(name, n) {
			return name
		}
	}
	if vendor == "Amazon EC2" && !strings.Contains(product, "metal") {
		return name
	}
	clocks := f.read("sys/devices/system/clocksource/clocksource0/available_clocksource")
	for _, c := range clockNames {
		if strings.Contains(clocks, c.clock) {
			return c.hypervisor
		}
	}
	if tree := strings.Trim(f.read("proc/device-tree/hypervisor/compatible"), "\x00"); tree != "" {
		return tree // "linux,kvm", of arm64 guests without firmware
	}
	switch {
	case len(flags) > 0:
		return "yes, of unknown kind"
	case name != "":
		return "none"
	}
	return Unknown
}
