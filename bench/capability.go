package bench

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// needed are the capabilities that a lab and AF_XDP take, and for what.
var needed = []struct {
	bit     int
	name    string
	byAdmin bool // CAP_SYS_ADMIN stands in for it
}{
	{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN", false},       // network namespaces
	{unix.CAP_DAC_OVERRIDE, "CAP_DAC_OVERRIDE", false}, // their names, in root's /run/netns
	{unix.CAP_NET_RAW, "CAP_NET_RAW", false},           // AF_XDP sockets
	{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN", false},       // veth, addresses, attaching XDP
	{unix.CAP_BPF, "CAP_BPF", true},                    // loading the program
	{unix.CAP_PERFMON, "CAP_PERFMON", true},            // its arithmetic on packet pointers
}

// missingCapabilities explains why this process cannot make a lab and use AF_XDP in it, and what to do about it; empty when it can.
func missingCapabilities() string {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return fmt.Sprintf("cannot read this process's capabilities: %v", err)
	}
	return explainMissing(uint64(data[0].Effective) | uint64(data[1].Effective)<<32)
}

func explainMissing(effective uint64) string {
	var names []string
	has := func(bit int) bool { return effective&(1<<bit) != 0 }
	for _, c := range needed {
		if !has(c.bit) && !(c.byAdmin && has(unix.CAP_SYS_ADMIN)) {
			names = append(names, c.name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	program, err := os.Executable()
	if err != nil {
		program = "PROGRAM"
	}
	return fmt.Sprintf("missing %s; run as root, or grant them once: sudo setcap %s=ep %q", strings.Join(names, ", "), grant, program)
}

// grant lists them all for setcap(8), with what lifts RLIMIT_MEMLOCK from packet memory, which may be high enough as it is.
const grant = "cap_sys_admin,cap_dac_override,cap_net_raw,cap_net_admin,cap_bpf,cap_perfmon,cap_ipc_lock"
