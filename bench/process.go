package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// A process is one child, on this machine or on an agent's. One goroutine at a time uses it.
type process struct {
	role string
	*control
	finish func(busy bool) error // see end
}

// How long a child may take to end by itself, before it is killed.
const endLimit = 5 * time.Second

// startProcess starts argv through start, which puts the process where it belongs: namespace, CPU.
func startProcess(role string, argv []string, start func(*exec.Cmd) error) (*process, error) {
	childIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer childIn.Close()
	out, childOut, err := os.Pipe()
	if err != nil {
		in.Close()
		return nil, err
	}
	defer childOut.Close()
	var stderr tail
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = childIn, childOut, &stderr
	cmd.WaitDelay = endLimit
	// A terminal's Ctrl-C goes to its whole foreground group; the children end when their parent says so, in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := start(cmd); err != nil {
		in.Close()
		out.Close()
		return nil, fmt.Errorf("start the %s process: %w", role, err)
	}
	return &process{role: role, control: newControl(in, out), finish: func(busy bool) error {
		if busy {
			_ = cmd.Process.Kill() // before it sees the end of in; has no effect on one that has ended
		}
		in.Close()
		defer out.Close()
		return endCommand(cmd, &stderr, busy)
	}}, nil
}

// ask sends one order and waits for its answer. After an error the process is of no use but to be ended.
func (p *process) ask(ctx context.Context, o order, limit time.Duration) (a answer, err error) {
	err = p.control.ask(ctx, o, &a, limit)
	if err == nil && a.Error != "" {
		err = errors.New(a.Error)
	}
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%s: %w", p.role, err)
	}
	return a, err
}

// end ends the child and waits for that. One that is still busy, or does not end, is killed: the kernel gives back all that it held. The
// error tells of a child that failed by itself, or that others killed.
func (p *process) end() error {
	if err := p.finish(p.owing && !p.dead); err != nil {
		return fmt.Errorf("%s: %w", p.role, err)
	}
	return nil
}

// endCommand waits for a child whose control channel is closed, and which was killed if it was busy.
func endCommand(cmd *exec.Cmd, stderr *tail, busy bool) error {
	kill := time.AfterFunc(endLimit, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	err := cmd.Wait()
	if err == nil {
		return nil
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && busy && status.Signal() == syscall.SIGKILL {
		return nil
	}
	return fmt.Errorf("%w%s", err, stderr.suffix())
}

// tail keeps the first and the last bytes written to it: a crash begins with its reason. os/exec writes from a goroutine that has ended once
// the process was waited for.
type tail struct{ buf []byte }

const headBytes, tailBytes = 2048, 2048

func (t *tail) Write(b []byte) (int, error) {
	t.buf = append(t.buf, b...)
	if over := len(t.buf) - headBytes - tailBytes; over > 0 {
		t.buf = append(t.buf[:headBytes], t.buf[headBytes+over:]...)
	}
	return len(b), nil
}

// suffix gives what matters of it, ready to stand at the end of an error: why a Go program crashed, else the last line.
func (t *tail) suffix() string {
	lines := strings.Split(string(bytes.TrimSpace(t.buf)), "\n")
	for _, line := range lines {
		if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
			return ": " + line
		}
	}
	if last := lines[len(lines)-1]; last != "" {
		return ": " + last
	}
	return ""
}
