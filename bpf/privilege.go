package bpf

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"
)

// loadPrivileged loads spec into objs, which LoadAndAssign describes, and explains a missing privilege.
func loadPrivileged(spec *ebpf.CollectionSpec, objs any) error {
	err := spec.LoadAndAssign(objs, nil)
	if errors.Is(err, unix.EPERM) && mapsAreLockedMemory() {
		unlimited := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
		if unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unlimited) == nil {
			err = spec.LoadAndAssign(objs, nil)
		}
	}
	if err == nil {
		return nil
	}
	err = hintless{err}
	// EACCES is how the verifier refuses pointer arithmetic without CAP_PERFMON; with it, it would be a bug of ours.
	missing := missingCapabilities()
	switch {
	case errors.Is(err, os.ErrPermission) && len(missing) > 0:
		return fmt.Errorf("bpf: loading the steering program: this process lacks %s; run it as root, or grant what it needs, its AF_XDP sockets "+
			"and their locked memory included, with 'setcap cap_net_raw,cap_net_admin,cap_bpf,cap_perfmon,cap_ipc_lock=ep PROGRAM': %w",
			strings.Join(missing, ", "), err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("bpf: loading the steering program: refused in spite of all capabilities; in a container they must be those of the "+
			"host's user namespace, and its seccomp profile and the kernel's lockdown must allow bpf(2): %w", err)
	}
	return fmt.Errorf("bpf: loading the steering program: %w", err)
}

// hintless leaves out what the loader guesses of every EPERM. The limit is seen to above, so that the guess is wrong.
type hintless struct{ error }

func (e hintless) Error() string {
	return strings.ReplaceAll(e.error.Error(), " (MEMLOCK may be too low, consider rlimit.RemoveMemlock)", "")
}

func (e hintless) Unwrap() error { return e.error }

// mapsAreLockedMemory says whether BPF maps count against RLIMIT_MEMLOCK, whose default is too small for any. Since Linux 5.11 they count
// against the memory cgroup instead.
func mapsAreLockedMemory() bool {
	version, err := features.LinuxVersionCode()
	return err == nil && version < 5<<16|11<<8
}

// missingCapabilities lists what the calling thread would need to load the program.
func missingCapabilities() (missing []string) {
	var data [2]unix.CapUserData
	if err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data[0]); err != nil {
		return nil
	}
	has := func(c int) bool { return data[c/32].Effective&(1<<(c%32)) != 0 }
	for _, c := range []struct {
		name    string
		number  int
		byAdmin bool // CAP_SYS_ADMIN stands in for it
	}{
		{"CAP_BPF", unix.CAP_BPF, true},
		{"CAP_PERFMON", unix.CAP_PERFMON, true},
		{"CAP_NET_ADMIN", unix.CAP_NET_ADMIN, false},
	} {
		if !has(c.number) && !(c.byAdmin && has(unix.CAP_SYS_ADMIN)) {
			missing = append(missing, c.name)
		}
	}
	return missing
}
