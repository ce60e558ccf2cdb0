package doctor

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// memlockLimit is the soft RLIMIT_MEMLOCK, in bytes.
func memlockLimit() uint64 {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &r); err != nil {
		return 0
	}
	return r.Cur
}

// checkCapabilities reads /proc/self/status and uid_map. What counts are capabilities over the host's user namespace (kernel/bpf/syscall.c,
// bpf_capable); a namespace that maps all IDs onto themselves cannot be told from it. setUp says that root has run 'fastrpc setup'.
func checkCapabilities(status, uidMap, name string, setUp bool) Finding {
	caps, known := effective(status)
	if !known {
		return note("capabilities", "cannot read this process's from /proc/self/status; CAP_NET_RAW, CAP_NET_ADMIN, CAP_BPF and CAP_PERFMON are needed")
	}
	if f := strings.Fields(uidMap); len(f) > 0 && !slices.Equal(f, []string{"0", "0", "4294967295"}) {
		return wrong("capabilities", "this is a user namespace (rootless container, userns-remap), whose capabilities do not load XDP programs; run it on "+
			"the host, or in a container without one")
	}
	has := func(bit int) bool { return caps&(1<<bit) != 0 }
	var missing []string
	for _, c := range []struct {
		name string
		ok   bool
	}{
		{"CAP_NET_RAW", has(unix.CAP_NET_RAW)},                            // to open AF_XDP sockets
		{"CAP_NET_ADMIN", has(unix.CAP_NET_ADMIN)},                        // to attach to an interface
		{"CAP_BPF", has(unix.CAP_BPF) || has(unix.CAP_SYS_ADMIN)},         // to load the program
		{"CAP_PERFMON", has(unix.CAP_PERFMON) || has(unix.CAP_SYS_ADMIN)}, // for its arithmetic on packet pointers
	} {
		if !c.ok {
			missing = append(missing, c.name)
		}
	}
	switch {
	case len(missing) == 0:
		return ok("capabilities", "all that are needed are there")
	case setUp && has(unix.CAP_NET_RAW):
		return ok("capabilities", "CAP_NET_RAW, which is enough with program=pinned in the address")
	}
	return wrong("capabilities", "missing %s; run it as root, give them to the program, or have root run 'fastrpc setup %s' once, after which CAP_NET_RAW "+
		"is enough", strings.Join(missing, ", "), name).mend(setcap(false))
}

// checkMemlock compares the locked memory that xdp:// takes by default with what may be locked. setUp says that root has run 'fastrpc setup'.
func checkMemlock(status string, limit uint64, queues, mtu int, setUp bool) Finding {
	need := uint64(queues) * queueBytes(mtu)
	caps, known := effective(status)
	switch {
	case known && caps&(1<<unix.CAP_IPC_LOCK) != 0:
		return ok("memlock", "%d MiB for %s, without a limit (CAP_IPC_LOCK)", need>>20, plural(queues, "queue"))
	case limit >= need:
		return ok("memlock", "%d MiB for %s, within RLIMIT_MEMLOCK", need>>20, plural(queues, "queue"))
	}
	return wrong("memlock", "%s want %d MiB of locked memory and RLIMIT_MEMLOCK allows %d KiB; raise it, grant CAP_IPC_LOCK, or take fewer queues= or "+
		"frames= in the address", plural(queues, "queue"), need>>20, limit>>10).
		mend(fmt.Sprintf("ulimit -l %d", need>>10), setcap(setUp))
}

// queueBytes is the packet memory that xdp:// takes for a queue by default (package transport/xdp, device.plan and settings.memory): 2,048
// frames to receive, of one chunk each, and as many to send, of as many chunks as a packet of the MTU needs.
func queueBytes(mtu int) uint64 {
	const frames, tagged = 2048, 18 // Ethernet with a VLAN tag
	chunk, span := 2048, 1
	if mtu > chunk-unix.XDP_PACKET_HEADROOM-tagged {
		chunk = 4096
	}
	for span < 4 && mtu > span*(chunk-unix.XDP_PACKET_HEADROOM)-tagged {
		span *= 2
	}
	return uint64(chunk * (frames + span*frames))
}

// setcap is the command that gives this program what xdp:// needs, which is less on an interface that is set up.
func setcap(setUp bool) string {
	attach := ",cap_net_admin,cap_bpf,cap_perfmon"
	if setUp {
		attach = ""
	}
	return fmt.Sprintf("sudo setcap cap_net_raw%s,cap_ipc_lock=ep %q", attach, program())
}

// setcapLock is the command that lets this program lock any memory.
func setcapLock() string { return fmt.Sprintf("sudo setcap cap_ipc_lock=ep %q", program()) }

func program() string {
	name, err := os.Executable()
	if err != nil {
		return "PROGRAM"
	}
	return name
}

// effective finds the effective capabilities in /proc/PID/status.
func effective(status string) (uint64, bool) {
	v, found := statusField(status, "CapEff")
	caps, err := strconv.ParseUint(v, 16, 64)
	return caps, found && err == nil
}
