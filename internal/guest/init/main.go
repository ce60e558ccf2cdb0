// Command init is the first process of a guest: it loads modules, brings network cards up, runs one program and reports its exit status.
// It is static, and all that the initramfs holds besides the modules and the program.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/guest/boot"
)

func main() {
	exit, err := run()
	if err == nil {
		err = report(exit)
	}
	fmt.Fprintf(os.Stderr, "init: %v\n", err)
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil { // without a verdict: the program has not failed
		fmt.Fprintf(os.Stderr, "init: power off: %v\n", err)
	}
}

func run() (exit int, err error) {
	if err := mountAll(); err != nil {
		return 0, err
	}
	data, err := os.ReadFile(boot.PlanFile)
	if err != nil {
		return 0, err
	}
	var plan boot.Plan
	if err := json.Unmarshal(data, &plan); err != nil {
		return 0, err
	}
	for _, name := range plan.Modules {
		if err := load(name); err != nil {
			return 0, err
		}
	}
	if err := linksUp(plan.NICs); err != nil {
		return 0, err
	}
	fmt.Fprintln(os.Stderr, boot.Started)
	return execute(plan.Args)
}

func mountAll() error {
	for _, m := range []struct{ fs, dir string }{
		{"devtmpfs", "/dev"}, {"proc", "/proc"}, {"sysfs", "/sys"}, {"bpf", "/sys/fs/bpf"}, {"tmpfs", "/run"}, {"tmpfs", "/tmp"},
	} {
		if err := os.MkdirAll(m.dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.fs, m.dir, m.fs, 0, ""); err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.fs, m.dir, err)
		}
	}
	return nil
}

func load(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load module %s: %w", name, err)
	}
	return nil
}

// execute runs the program and returns its exit status; that of one that a signal ended is 128 and the signal's number, as in a shell.
// Meanwhile it reaps what the program leaves behind, or tests that wait for the end of a grandchild would wait for ever.
func execute(args []string) (exit int, err error) {
	out, err := openOutput()
	if err != nil {
		return 0, err
	}
	defer out.Close()
	p, err := os.StartProcess(boot.Program, append([]string{boot.Program}, args...), &os.ProcAttr{
		Env:   []string{"HOME=/tmp", "TMPDIR=/tmp", "PATH=/"},
		Files: []*os.File{nil, out, out},
	})
	if err != nil {
		return 0, err
	}
	for {
		var status unix.WaitStatus
		switch pid, err := unix.Wait4(-1, &status, 0, nil); {
		case err != nil && !errors.Is(err, unix.EINTR):
			return 0, fmt.Errorf("wait for %s: %w", boot.Program, err)
		case err != nil || pid != p.Pid:
		case status.Signaled():
			fmt.Fprintf(out, "%s: %v\n", boot.Program, status.Signal())
			return 128 + int(status.Signal()), nil
		default:
			return status.ExitStatus(), nil
		}
	}
}

// openOutput opens the line for output, without the terminal's translation of line ends.
func openOutput() (*os.File, error) {
	out, err := os.OpenFile(boot.Output, os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	t, err := unix.IoctlGetTermios(int(out.Fd()), unix.TCGETS)
	if err == nil {
		t.Oflag &^= unix.OPOST
		err = unix.IoctlSetTermios(int(out.Fd()), unix.TCSETS, t)
	}
	if err != nil {
		out.Close()
		return nil, fmt.Errorf("%s: %w", boot.Output, err)
	}
	return out, nil
}

// report waits until all output has left and ends QEMU with the verdict. It returns only if that failed.
func report(exit int) error {
	for _, line := range []string{boot.Output, boot.Console} {
		f, err := os.OpenFile(line, os.O_WRONLY|unix.O_NOCTTY, 0)
		if err != nil {
			return err
		}
		err = unix.EINTR
		for errors.Is(err, unix.EINTR) {
			err = unix.IoctlSetInt(int(f.Fd()), unix.TCSBRK, 1) // tcdrain
		}
		if err != nil {
			return fmt.Errorf("drain %s: %w", line, err)
		}
		f.Close()
	}
	port, err := os.OpenFile("/dev/port", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = port.WriteAt([]byte{boot.Verdict(exit)}, boot.VerdictPort)
	return err
}
