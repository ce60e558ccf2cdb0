package bpf

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Environment of a child process: the index of the interface to attach to, the capabilities to keep, as a bit mask; absent: all; where
// the program is pinned that it shall take part in, with ourPort and an unbound socket on queue 0; absent: it attaches one; and whether it
// attaches it into a dispatcher.
const (
	childIfindex    = "BPF_TEST_IFINDEX"
	childCaps       = "BPF_TEST_CAPABILITIES"
	childPins       = "BPF_TEST_PINS"
	childDispatcher = "BPF_TEST_DISPATCHER"
)

func TestMain(m *testing.M) {
	if os.Getenv(childIfindex) != "" {
		fmt.Println(child())
		io.Copy(io.Discard, os.Stdin) // until the parent closes it, or kills
		return
	}
	os.Exit(m.Run())
}

// keepCapabilities drops all but those of a bit mask from the calling thread.
func keepCapabilities(mask uint64) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{}
	for i := range data {
		data[i].Effective = uint32(mask >> (32 * i))
		data[i].Permitted = data[i].Effective
	}
	return unix.Capset(&header, &data[0])
}

// child attaches as its environment says, and returns one line that tells how it went.
func child() string {
	runtime.LockOSThread() // capabilities are a thread's own
	if mask, err := strconv.ParseUint(os.Getenv(childCaps), 10, 64); err == nil {
		if err := keepCapabilities(mask); err != nil {
			return "capset: " + err.Error()
		}
	}
	ifindex, err := strconv.Atoi(os.Getenv(childIfindex))
	if err != nil {
		return err.Error()
	}
	p, err := childAttach(ifindex)
	switch {
	case errors.Is(err, os.ErrPermission):
		return "not permitted: " + err.Error()
	case err != nil:
		return err.Error()
	}
	childProgram = p
	return "attached " + p.Mode().String()
}

func childAttach(ifindex int) (*Program, error) {
	dir := os.Getenv(childPins)
	if dir == "" {
		return Attach(ifindex, Options{Dispatcher: os.Getenv(childDispatcher) != ""})
	}
	p, err := OpenPinned(ifindex, dir)
	if err != nil {
		return nil, err
	}
	// A socket with a receive ring and nothing else is enough to stand in the map. It stays open until the process ends.
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	return p, errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_XDP, unix.XDP_RX_RING, 64), p.AllowPort(ourPort), p.SetSocket(0, fd))
}

var childProgram *Program // kept from the collector until the process ends

// startChild runs this test binary again in the calling thread's network namespace and returns the line that it wrote.
func startChild(t *testing.T, ifindex int, env ...string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(append(os.Environ(), fmt.Sprintf("%s=%d", childIfindex, ifindex)), env...)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	must(t, err)
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		stdin.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	must(t, err)
	return cmd, strings.TrimSpace(line)
}

// TestKilled kills a process that has the program attached: nothing stays, and the interface can be had at once.
func TestKilled(t *testing.T) {
	v := newVethPair(t, 1)
	cmd, said := startChild(t, v.index())
	if said != "attached native" {
		t.Fatal(said)
	}
	_, err := Attach(v.index(), Options{})
	var taken *AttachedError
	if !errors.As(err, &taken) || taken.Program != "fastrpc_steer" {
		t.Fatalf("while the child lives: %v", err)
	}
	must(t, cmd.Process.Signal(unix.SIGKILL))
	if err := cmd.Wait(); err == nil {
		t.Fatal("the child was not killed")
	}
	v.clean(t)
	v.attach(t, Options{Mode: Native})
}

// TestCapabilities attaches with the documented capabilities and nothing else, and sees the missing ones named otherwise.
func TestCapabilities(t *testing.T) {
	caps := func(list ...int) string {
		mask := uint64(0)
		for _, c := range list {
			mask |= 1 << c
		}
		return fmt.Sprintf("%s=%d", childCaps, mask)
	}
	for _, c := range []struct {
		name, env string
		want      []string
	}{
		{"enough", caps(unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_NET_ADMIN), []string{"attached native"}},
		{"CAP_SYS_ADMIN for two", caps(unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN), []string{"attached native"}},
		{"no CAP_BPF", caps(unix.CAP_PERFMON, unix.CAP_NET_ADMIN), []string{"not permitted", "lacks CAP_BPF;", "setcap cap_net_raw,cap_net_admin,cap_bpf,cap_perfmon,cap_ipc_lock=ep"}},
		{"no CAP_PERFMON", caps(unix.CAP_BPF, unix.CAP_NET_ADMIN), []string{"not permitted", "lacks CAP_PERFMON;", "setcap"}},
		{"no CAP_NET_ADMIN", caps(unix.CAP_BPF, unix.CAP_PERFMON), []string{"not permitted", "lacks CAP_NET_ADMIN;", "setcap"}},
		{"none", caps(), []string{"not permitted", "lacks CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN;"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := newVethPair(t, 1)
			if _, said := startChild(t, v.index(), c.env); !containsAll(errors.New(said), c.want) || strings.Contains(said, "MEMLOCK") {
				t.Errorf("%q, want %q, and no guess at MEMLOCK", said, c.want)
			}
		})
	}
	t.Run("another's program, without the right to see its name", func(t *testing.T) {
		v := newVethPair(t, 1)
		p := v.attach(t, Options{})
		id := programID(t, p.objs.FastrpcSteer)
		_, said := startChild(t, v.index(), caps(unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_NET_ADMIN))
		want := fmt.Sprintf("already runs an XDP program (id %d, native), which is not replaced; see 'bpftool prog show id %d'", id, id)
		if !strings.Contains(said, want) {
			t.Errorf("%q, want %q", said, want)
		}
	})
}
