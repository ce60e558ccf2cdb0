package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// A process is one child: its control channel and its end. One goroutine at a time uses it.
type process struct {
	role   string
	cmd    *exec.Cmd
	in     *os.File // orders; closing it ends the child
	out    *os.File // answers
	lines  *bufio.Reader
	stderr tail
	owing  bool // an order has no answer: the process is busy with it, or gone
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
	p := &process{role: role, cmd: exec.Command(argv[0], argv[1:]...), in: in, out: out, lines: bufio.NewReader(out)}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = childIn, childOut, &p.stderr
	p.cmd.WaitDelay = endLimit
	// A terminal's Ctrl-C goes to its whole foreground group; the children end when their parent says so, in order.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := start(p.cmd); err != nil {
		in.Close()
		out.Close()
		return nil, fmt.Errorf("start the %s process: %w", role, err)
	}
	return p, nil
}

// ask sends one order and waits for its answer. After an error the process is of no use but to be ended.
func (p *process) ask(ctx context.Context, o order, limit time.Duration) (answer, error) {
	var a answer
	line, err := json.Marshal(o)
	if err != nil {
		return a, err
	}
	if err := p.out.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return a, err
	}
	stop := context.AfterFunc(ctx, func() { _ = p.out.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	p.owing = true
	if _, err = p.in.Write(append(line, '\n')); err == nil {
		line, err = p.lines.ReadBytes('\n')
	}
	switch {
	case ctx.Err() != nil:
		return a, ctx.Err()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return a, fmt.Errorf("%s: no answer to %q within %v", p.role, o.Do, limit)
	case err != nil:
		return a, fmt.Errorf("%s: the process ended early: %w", p.role, err)
	}
	p.owing = false
	if err := json.Unmarshal(line, &a); err != nil {
		return a, fmt.Errorf("%s: answer to %q: %w", p.role, o.Do, err)
	}
	if a.Error != "" {
		return a, fmt.Errorf("%s: %s", p.role, a.Error)
	}
	return a, nil
}

// end closes the control channel, which ends the child, and waits for that. A child that is still busy, or does not end, is killed: the kernel
// gives back all that it held. The error tells of a child that failed by itself.
func (p *process) end() error {
	p.in.Close()
	defer p.out.Close()
	if p.owing {
		_ = p.cmd.Process.Kill() // has no effect on one that has ended
	}
	kill := time.AfterFunc(endLimit, func() { _ = p.cmd.Process.Kill() })
	defer kill.Stop()
	err := p.cmd.Wait()
	if err == nil {
		return nil
	}
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && p.owing && status.Signal() == syscall.SIGKILL {
		return nil
	}
	return fmt.Errorf("%s: %w%s", p.role, err, p.stderr.suffix())
}

// tail keeps the first and the last bytes written to it: a crash begins with its reason. os/exec writes from a goroutine that has ended once the process was waited for.
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
