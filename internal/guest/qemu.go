package guest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/guest/boot"
)

// The machine.
const (
	memory = "1G"
	cpus   = 2

	// The processors take turns, and the guest's clock counts their instructions, 4 ns each, instead of the time of a machine that may be
	// crowded: there the kernel measured its own clock wrong by factors. While all of them wait, time jumps to the next timer; but that of a
	// guest with a Cable goes on as the machine's does, for what it waits for may come from another.
	accelerator = "tcg,thread=single"
	clock       = "shift=2,align=off,sleep="

	// A panic ends QEMU instead of halting the guest, and an oops is one. That clock needs no watchdog, and mitigations would only slow the
	// emulation down. The huge pages, of 2 MiB, are for tests that ask for some.
	cmdline = "console=ttyS0 loglevel=5 panic=-1 oops=panic tsc=reliable mitigations=off hugepages=64"
)

// parallel is what the kernel is told where processors run side by side. Work in kernel threads, such as soft-RoCE's, takes the processor at once from
// a program that polls, also from another processor: by default it waits there for the program's next system call, or for the timer (lazy preemption). An idle
// processor polls, too, so that no wake-up is one of the machine's threads. And the time stamp counter is said to be faster than it is, so that
// the guest's clock runs some eight times slower: the times that the kernel, Go's runtime and protocols measure by keep their proportion to what
// emulated code takes.
const parallel = " preempt=full idle=poll tsc_early_khz=20000000"

// tailBytes is how much of the output and of the console an error shows.
const tailBytes = 4 << 10

// Descriptors that QEMU inherits.
const (
	initramfsFile = "/dev/fd/3"
	consoleFile   = "/dev/fd/4"
	cableFile     = "5"
)

// boot runs QEMU until it ends.
func (k *Kit) boot(ctx context.Context, c Config, initramfs *os.File) (Result, error) {
	kernels, err := filepath.Glob(filepath.Join(k.dir, linuxDir, "usr/lib/modules/*/vmlinuz"))
	if err != nil || len(kernels) != 1 {
		return Result{}, fmt.Errorf("%d kernels in %s, %v: remove that directory, to have it made anew", len(kernels), k.dir, err)
	}
	bounded, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	console, consoleIn, err := os.Pipe()
	if err != nil {
		return Result{}, err
	}
	inherited, host := []*os.File{initramfs, consoleIn}, 0
	if c.Cable != nil {
		var socket *os.File
		if host, socket, err = c.Cable.join(); err != nil {
			consoleIn.Close()
			console.Close()
			return Result{}, err
		}
		defer c.Cable.leave(host)
		inherited = append(inherited, socket)
	}
	cmd := k.command(bounded, kernels[0], c, host)
	cmd.ExtraFiles = inherited
	var output, messages, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &complaints
	if c.Output != nil {
		cmd.Stdout = io.MultiWriter(&output, c.Output)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(&messages, console)
	}()
	err = run(cmd, inherited[1:])
	<-read
	console.Close()

	res := Result{Output: output.String(), Console: strings.ReplaceAll(messages.String(), "\r", "")}
	if exit, ok := boot.Exit(cmd.ProcessState.ExitCode()); ok {
		res.Exit = exit
		return res, nil
	}
	res.fruitless = bounded.Err() == nil && !strings.Contains(res.Console, boot.Started)
	why := "the guest ended without a verdict"
	switch {
	case ctx.Err() != nil:
		why = ctx.Err().Error()
	case bounded.Err() != nil:
		why = fmt.Sprintf("the guest did not end within %v", c.Timeout)
	case err != nil:
		why = fmt.Sprintf("QEMU: %v: %s", err, complaints.Bytes())
	}
	return res, fmt.Errorf("%s\n-- the program's output ends:\n%s\n-- the console ends:\n%s", why, tail(res.Output), tail(res.Console))
}

// run starts a command and waits for its end. It closes ours, which the command has inherited.
func run(cmd *exec.Cmd, ours []*os.File) error {
	// Linux sends the parent death signal when the thread ends that started the process (prctl(2), PR_SET_PDEATHSIG), so it must not end sooner.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Start()
	for _, f := range ours {
		f.Close()
	}
	if err != nil {
		return err
	}
	return cmd.Wait()
}

// cmdline is the kernel's.
func (c *Config) cmdline() string {
	if c.Parallel {
		return cmdline + parallel
	}
	return cmdline
}

// command is QEMU with all that it is told. It runs with the loader and the libraries of its own release.
func (k *Kit) command(ctx context.Context, kernel string, c Config, host int) *exec.Cmd {
	root := filepath.Join(k.dir, qemuDir)
	libraries := filepath.Join(root, "usr/lib/x86_64-linux-gnu")
	args := []string{
		"--library-path", libraries, filepath.Join(root, "usr/bin/qemu-system-x86_64"),
		"-L", filepath.Join(root, "usr/share/qemu"), "-L", filepath.Join(root, "usr/share/seabios"),
		"-no-user-config", "-nodefaults", "-display", "none", "-no-reboot",
		"-machine", "q35", "-cpu", "max,la57=off", "-smp", strconv.Itoa(cmp.Or(c.CPUs, cpus)), "-m", memory,
		"-kernel", kernel, "-initrd", initramfsFile, "-append", c.cmdline(),
		"-serial", "file:" + consoleFile, "-serial", "stdio", "-device", "isa-debug-exit",
	}
	switch {
	case c.Parallel:
		args = append(args, "-accel", "tcg,thread=multi")
	case c.Cable != nil:
		args = append(args, "-accel", accelerator, "-icount", clock+"on")
	default:
		args = append(args, "-accel", accelerator, "-icount", clock+"off")
	}
	if c.Cable != nil {
		args = append(args, "-netdev", "dgram,id=cable,local.type=fd,local.str="+cableFile, "-netdev", "hubport,id=h,hubid=0,netdev=cable")
	}
	for i, n := range c.NICs {
		args = append(args, "-netdev", fmt.Sprintf("hubport,id=n%d,hubid=0", i))
		device := fmt.Sprintf("%s,netdev=n%d,mac=52:54:00:00:%02x:%02x,romfile=%s", n.Name, i, host, i+1, n.args)
		if n.port {
			args = append(args, "-device", fmt.Sprintf("pcie-root-port,id=p%d,chassis=%d", i, i+1))
			device += fmt.Sprintf(",bus=p%d", i)
		}
		args = append(args, "-device", device)
	}
	cmd := exec.CommandContext(ctx, filepath.Join(libraries, "ld-linux-x86-64.so.2"), args...)
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	cmd.WaitDelay = 10 * time.Second // what it inherited ends with it
	return cmd
}

func tail(s string) string {
	s = strings.TrimSpace(s)
	if len(s) > tailBytes {
		s = "… " + s[len(s)-tailBytes:]
	}
	return s
}
