package doctor

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// queueBytes is the locked memory that xdp:// takes for each queue by default (package transport/xdp, settings frames and chunk).
const queueBytes = 8 << 20

// memlockLimit is the soft RLIMIT_MEMLOCK, in bytes.
func memlockLimit() uint64 {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &r); err != nil {
		return 0
	}
	return r.Cur
}

// checkPrivileges reads /proc/self/status.
func checkPrivileges(status string, memlock uint64, queues int) Finding {
	memory := uint64(queues) * queueBytes
	f := Finding{Check: "capabilities", Level: OK, Text: "all that are needed are there"}
	caps, ok := effective(status)
	if !ok {
		f.Level, f.Text = Note, "cannot read this process's capabilities from /proc/self/status; "+
			"CAP_NET_RAW, CAP_NET_ADMIN, CAP_BPF and CAP_PERFMON are needed"
		return f
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
		{"CAP_IPC_LOCK", has(unix.CAP_IPC_LOCK) || memlock >= memory},     // to lock packet memory beyond RLIMIT_MEMLOCK
	} {
		if !c.ok {
			missing = append(missing, c.name)
		}
	}
	if len(missing) == 0 {
		return f
	}
	f.Level = Wrong
	f.Text = "missing " + strings.Join(missing, ", ")
	if !has(unix.CAP_IPC_LOCK) && memlock < memory {
		f.Text += fmt.Sprintf(" (in place of CAP_IPC_LOCK, RLIMIT_MEMLOCK of %d MiB will do; it is %d KiB)", memory>>20, memlock>>10)
	}
	program, err := os.Executable()
	if err != nil {
		program = "PROGRAM"
	}
	f.Fix = fmt.Sprintf("sudo setcap cap_net_raw,cap_net_admin,cap_bpf,cap_perfmon,cap_ipc_lock=ep %q   # or run as root", program)
	return f
}

// effective finds the effective capabilities in /proc/PID/status.
func effective(status string) (uint64, bool) {
	for line := range strings.Lines(status) {
		if v, ok := strings.CutPrefix(line, "CapEff:"); ok {
			caps, err := strconv.ParseUint(strings.TrimSpace(v), 16, 64)
			return caps, err == nil
		}
	}
	return 0, false
}
