package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/bench/result"
	"github.com/fastrpc/fastrpc/internal/lab"
	"github.com/fastrpc/fastrpc/internal/lab/labtest"
)

// With one of these and an address the test binary is an agent, or a driver: without an address one that makes a lab.
const (
	agentArg = "agent"
	driveArg = "drive"
)

// agentOrDriver prints what it does to standard error, line by line; the driver's report goes to standard output.
func agentOrDriver(what, addr string) error {
	child := []string{os.Args[0], childArg}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if what == agentArg {
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			return err
		}
		fmt.Fprintln(os.Stderr, "listens")
		return Agent(ctx, ln.(*net.TCPListener), AgentConfig{
			Token: testToken, Child: child, LockFile: filepath.Join(os.TempDir(), "fastrpc-bench-test.lock"), Log: func(s string) { fmt.Fprintln(os.Stderr, s) },
		})
	}
	r, err := Compare(ctx, Config{
		Systems: []string{"xdp", "udp", "net-tcp"}, Size: 64, Requests: 500, Rounds: 3, Seed: 1, Child: child, Agent: AgentAddr{Addr: addr, Token: testToken},
		Progress: func(p Progress) { fmt.Fprintf(os.Stderr, "run %d %s\n", p.Done, p.Step) },
	})
	return errors.Join(err, json.NewEncoder(os.Stdout).Encode(r))
}

// A program is one of the two, in a host of a lab.
type program struct {
	*exec.Cmd
	log *bufio.Reader
	out io.Reader
}

func startIn(t *testing.T, h lab.Host, args ...string) *program {
	t.Helper()
	return start(t, func(cmd *exec.Cmd) error { return h.Start(cmd) }, args...)
}

func start(t *testing.T, starter func(*exec.Cmd) error, args ...string) *program {
	t.Helper()
	p := &program{Cmd: exec.Command(os.Args[0], args...)}
	log, err := p.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if p.out, err = p.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	p.log = bufio.NewReader(log)
	if err := starter(p.Cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.ProcessState == nil {
			_ = p.Process.Kill()
			_ = p.Wait()
		}
	})
	return p
}

// await waits until the program has said something, and gives the line.
func (p *program) await(t *testing.T, what string) string {
	t.Helper()
	var said strings.Builder
	for {
		line, err := p.log.ReadString('\n')
		said.WriteString(line)
		if strings.Contains(line, what) {
			return line
		}
		if err != nil {
			t.Fatalf("%v before it said %q:\n%s", err, what, said.String())
		}
	}
}

// report reads a driver's report, and waits for its end.
func (p *program) report(t *testing.T) *result.Report {
	t.Helper()
	var r *result.Report
	if err := json.NewDecoder(p.out).Decode(&r); err != nil {
		rest, _ := io.ReadAll(p.log)
		t.Fatalf("%v\n%s", err, rest)
	}
	_ = p.Wait() // an interrupted one fails
	return r
}

// onlyAgent checks that no process is in the lab but the agent, if it is not nil, and that no XDP program is left.
func onlyAgent(t *testing.T, l *lab.Lab, agent *program) {
	t.Helper()
	infos, err := lab.Status()
	if err != nil {
		t.Fatal(err)
	}
	var want []int
	if agent != nil {
		want = []int{agent.Process.Pid}
	}
	for _, i := range infos {
		if i.Name == l.Name() && !slices.Equal(i.Pids, want) {
			t.Errorf("processes %v are in the lab, want %v", i.Pids, want)
		}
	}
	for _, h := range []lab.Host{l.Client(), l.Server()} {
		if err := h.Do(func() error {
			link, err := netlink.LinkByName(h.Interface)
			if err == nil && link.Attrs().Xdp != nil && link.Attrs().Xdp.Attached {
				err = fmt.Errorf("an XDP program is left on %s of %s", h.Interface, h.Namespace)
			}
			return err
		}); err != nil {
			t.Error(err)
		}
	}
}

const labAgent = ":9150"

// Two machines: a whole comparison, a driver that is interrupted, one that is killed, and an agent that is killed.
func TestAgentInLab(t *testing.T) {
	l := labtest.New(t, lab.Config{})
	addr := l.Server().IPv4.String() + labAgent
	agent := startIn(t, l.Server(), agentArg, addr)
	agent.await(t, "listens")

	r := startIn(t, l.Client(), driveArg, addr).report(t)
	for i := range r.Results {
		checkResult(t, &r.Results[i], 3, 500)
	}
	if r.Interrupted != "" || r.Machine.NIC.Driver != "veth" || r.Server == nil || r.Server.NIC.XDPMode != "native" {
		t.Errorf("interrupted %q, machines %+v and %+v", r.Interrupted, r.Machine, r.Server)
	}
	agent.await(t, "left")
	onlyAgent(t, l, agent)

	// With seed 1 every system is somewhere among the first three runs, so that these are moments of each.
	for _, moment := range []string{"run 0 starts", "run 1 warms up", "run 2 measures", "run 3 measures"} {
		driver := startIn(t, l.Client(), driveArg, addr)
		driver.await(t, moment)
		if err := driver.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = driver.Wait()
		agent.await(t, "left")
		waitForOthers(t, l.Name(), agent)
		onlyAgent(t, l, agent)
	}

	driver := startIn(t, l.Client(), driveArg, addr)
	driver.await(t, "run 4 measures")
	if err := driver.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, driver.log) }()
	checkInterrupted(t, driver.report(t), "interrupt")
	agent.await(t, "left")
	onlyAgent(t, l, agent)

	driver = startIn(t, l.Client(), driveArg, addr)
	driver.await(t, "run 4 measures")
	if err := agent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = agent.Wait()
	go func() { _, _ = io.Copy(io.Discard, driver.log) }()
	checkInterrupted(t, driver.report(t), "is gone")
	waitForOthers(t, l.Name(), nil)
	onlyAgent(t, l, nil)
}

// checkInterrupted checks that the four runs before were kept.
func checkInterrupted(t *testing.T, r *result.Report, why string) {
	t.Helper()
	rounds := 0
	for _, res := range r.Results {
		rounds += len(res.Rounds)
	}
	if rounds != 4 || !strings.Contains(r.Interrupted, why) {
		t.Errorf("%d rounds, interrupted by %q; want 4 and %q", rounds, r.Interrupted, why)
	}
}

// waitForOthers waits for the processes that lost their parent, which end by themselves.
func waitForOthers(t *testing.T, name string, agent *program) {
	t.Helper()
	infos, err := lab.Status()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range infos {
		for _, pid := range i.Pids {
			if i.Name != name || agent != nil && pid == agent.Process.Pid {
				continue
			}
			fd, err := unix.PidfdOpen(pid, 0)
			if err != nil {
				continue // it has ended
			}
			for err = unix.EINTR; err == unix.EINTR; {
				_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int((2 * endLimit).Milliseconds()))
			}
			unix.Close(fd)
			if err != nil {
				t.Error(err)
			}
		}
	}
}
