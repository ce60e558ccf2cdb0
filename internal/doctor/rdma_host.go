package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

func checkBuilt(built bool) Finding {
	if built {
		return ok("build", "this program has RDMA")
	}
	return wrong("build", "this program was built without RDMA (the tag rdma): the rest is told from the kernel's files alone").
		mend("apt-get install gcc libc6-dev libibverbs-dev librdmacm-dev ibverbs-providers", "make build-rdma")
}

// checkModules looks for what the modules make, which is there too where they are built into the kernel. In a container it is the host's.
func (m *machine) checkModules(devices int) Finding {
	there := func(name string) bool { _, err := fs.Stat(m.root, name); return err == nil }
	f := ok("modules", "ib_uverbs and rdma_ucm are there")
	for _, module := range []struct{ name, makes, for_ string }{
		{"ib_uverbs", "sys/class/infiniband_verbs", "verbs"}, {"rdma_ucm", "sys/class/misc/rdma_cm", "connections and addresses"},
	} {
		switch {
		case there(module.makes):
		case f.Level == OK:
			f = wrong("modules", "%s is not loaded, which user space needs for %s", module.name, module.for_).mend("modprobe " + module.name)
		default:
			f.worse(Wrong, "nor is %s, for %s", module.name, module.for_)
			f = f.mend("modprobe " + module.name)
		}
	}
	if f.Level == Wrong && devices == 0 && !there(strings.TrimSuffix(infiniband, "/")) {
		f.worse(Wrong, "the kernel shows nothing of RDMA; if modprobe does not find them, it was built without (CONFIG_INFINIBAND)")
	}
	return f
}

// checkManager opens the connection manager's file, which is not of a device.
func (m *machine) checkManager(open func(string) error) Finding {
	const file = "/dev/infiniband/rdma_cm"
	if f := checkFile("rdma_cm", file, "addresses are resolved", open(file)); f.Level != Wrong {
		return f
	} else if _, err := fs.Stat(m.root, "sys/class/misc/rdma_cm"); err == nil {
		return f
	}
	return Finding{} // said by checkModules
}

// checkDeviceFile opens a device's file.
func checkDeviceFile(d *RDMADevice, open func(string) error) Finding {
	if d.uverbs == "" {
		return wrong("device-file", "the kernel has no file for the device: ib_uverbs is not loaded, or the device is not for user space").mend("modprobe ib_uverbs")
	}
	file := "/dev/infiniband/" + d.uverbs
	return checkFile("device-file", file, "the device is opened", open(file))
}

// checkFile judges how a file of /dev/infiniband was opened. Both kinds are open to everybody by default (drivers/infiniband/core/ucma.c, ucma_misc;
// uverbs_main.c, uverbs_devnode); containers have neither.
func checkFile(check, file, what string, err error) Finding {
	switch {
	case err == nil:
		return ok(check, "%s can be opened", file)
	case errors.Is(err, fs.ErrNotExist):
		return wrong(check, "%s, by which %s, is not there. A container is given it by its runtime (docker run --device=/dev/infiniband, or an RDMA device "+
			"plugin); on the host the kernel makes it", file, what)
	case errors.Is(err, unix.EPERM):
		return wrong(check, "%s, by which %s: %v: in a container, its device rules forbid it (docker run --device=%s)", file, what, err, file)
	case errors.Is(err, fs.ErrPermission):
		return wrong(check, "%s, by which %s: %v: the kernel makes it for everybody, so that a udev rule has changed that", file, what, err).mend("chmod 0666 " + file)
	}
	return wrong(check, "%s, by which %s: %v", file, what, err)
}

// libraryDirs are where distributions have libibverbs and its providers.
var libraryDirs = []string{"usr/lib/*", "usr/lib64", "usr/lib", "usr/local/lib", "usr/local/lib64", "usr/local/lib/*", "lib/*"}

func (m *machine) libraries(pattern string) (found []string) {
	for _, dir := range libraryDirs {
		names, _ := fs.Glob(m.root, path.Join(dir, pattern))
		for _, n := range names {
			found = append(found, "/"+n)
		}
	}
	return found
}

// checkLibrary reads rdma-core's version off the library's file name: libibverbs.so.1.14.44.0 is of rdma-core 44.0.
func (m *machine) checkLibrary(built bool) Finding {
	const prefix = "libibverbs.so.1."
	for _, file := range m.libraries(prefix + "*") {
		if parts := strings.Split(strings.TrimPrefix(path.Base(file), prefix), "."); len(parts) == 3 {
			return ok("libibverbs", "of rdma-core %s.%s", parts[1], parts[2])
		}
	}
	if built { // and so this program would not have started without
		return ok("libibverbs", "there, of a version that its place does not tell")
	}
	return note("libibverbs", "not found where distributions have it; a program with RDMA does not start without").
		mend("apt-get install libibverbs1 librdmacm1 ibverbs-providers")
}

// checkNamespaces tells to whom RDMA devices belong (rdma-system(8)).
func (m *machine) checkNamespaces(mode answer[string]) Finding {
	switch {
	case mode.err != nil:
		return note("netns", "the kernel does not tell whether RDMA devices are shared between network namespaces: %v", mode.err)
	case mode.v == "shared":
		return ok("netns", "shared: devices are seen in all network namespaces, and of a device the GIDs whose interface is there can be used")
	}
	return ok("netns", "%s: a device is seen in one network namespace alone; 'rdma dev set DEVICE netns NAME' moves it", mode.v)
}

// Locked memory that rdma:// takes by default (package transport/rdma): 2,048 frames, for datagrams of the port's MTU with room for a header
// before each, for connections of 8 KiB. The rings of queues come on top.
const (
	rdmaFrames    = 2048
	rdmaHeadroom  = 64
	rdmaConnBytes = rdmaFrames * 8 << 10
	rdmaReadBytes = 36 << 20 // of connections, once a message is long enough to be read
)

// checkPinned compares it with what may be locked (drivers/infiniband/core/umem.c, ib_umem_get).
func checkPinned(status string, limit uint64, devices []RDMADevice) Finding {
	mtu := 0
	for _, d := range devices {
		for _, p := range d.Ports {
			mtu = max(mtu, p.MTU)
		}
	}
	if mtu == 0 {
		mtu = 4096
	}
	least := uint64(rdmaFrames * (rdmaHeadroom + mtu))
	caps, known := effective(status)
	need := fmt.Sprintf("each address takes %d MiB with datagrams (qp=ud) and %d MiB with connections (qp=rc), %d more there once a message is long enough to be "+
		"read; the queues' own not counted", ceilMiB(least), ceilMiB(rdmaConnBytes), ceilMiB(rdmaReadBytes))
	commands := []string{fmt.Sprintf("ulimit -l %d", 4*(rdmaConnBytes+rdmaReadBytes)>>10), setcapLock()}
	switch {
	case known && caps&(1<<unix.CAP_IPC_LOCK) != 0:
		return ok("memlock", "%s; without a limit (CAP_IPC_LOCK)", need)
	case limit >= 2*(rdmaConnBytes+rdmaReadBytes):
		return ok("memlock", "%s; RLIMIT_MEMLOCK allows %s", need, limitText(limit))
	case limit > least:
		return note("memlock", "%s; RLIMIT_MEMLOCK allows %s, which is enough for few: raise it, grant CAP_IPC_LOCK, or take fewer frames= in the address", need,
			limitText(limit)).mend(commands...)
	}
	return wrong("memlock", "%s; RLIMIT_MEMLOCK allows %s: raise it, grant CAP_IPC_LOCK, or take fewer frames= in the address", need, limitText(limit)).
		mend(commands...)
}

func ceilMiB(bytes uint64) uint64 { return (bytes + 1<<20 - 1) >> 20 }

func limitText(limit uint64) string {
	if limit == unix.RLIM_INFINITY {
		return "any amount"
	}
	return fmt.Sprintf("%d KiB", limit>>10)
}

// softDrivers carry packets through the kernel, without a card.
var softDrivers = []string{"rxe", "siw"}

func soft(d *RDMADevice) bool { return slices.Contains(softDrivers, d.Driver) }
