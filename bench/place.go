package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/lab"
)

// A place is where client and server run: a lab's two hosts, loopback, or two machines.
type place struct {
	network        string
	noBypass       string // why AF_XDP does not work here; empty: it does
	noRDMA         string // why RDMA does not
	client, server side
	pinning        string
	close          func() error
	agent          *driver // of two machines: the other one
}

// A side is one process's part of a place.
type side struct {
	endpoint Endpoint // but for what the point and the other side say
	cpu      int      // -1: not pinned, or the agent chooses

	// start starts the side's process of a system.
	start func(ctx context.Context, system string) (*process, error)
}

// here is a side whose processes are this machine's.
func (c *Config) here(role string, cpu int, e Endpoint, start func(*exec.Cmd, ...int) error) side {
	return side{endpoint: e, cpu: cpu, start: func(_ context.Context, system string) (*process, error) {
		return startProcess(role, childOf(system, c.Child), func(cmd *exec.Cmd) error {
			if cpu < 0 {
				return start(cmd)
			}
			return start(cmd, cpu)
		})
	}}
}

// cpus gives the client's and the server's CPU: those that were asked for, else the first two that this process may use; -1 where there is
// nothing to choose from.
func (c *Config) cpus() (client, server int) {
	if len(c.CPUs) == 2 {
		return c.CPUs[0], c.CPUs[1]
	}
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil || set.Count() < 2 {
		return -1, -1
	}
	var found []int
	for cpu := 0; len(found) < 2; cpu++ {
		if set.IsSet(cpu) {
			found = append(found, cpu)
		}
	}
	return found[0], found[1]
}

func pinning(client, server int) string {
	if client < 0 && server < 0 {
		return "not pinned: a single CPU"
	}
	at := func(role string, cpu int) string {
		if cpu < 0 {
			return role + " not pinned: a single CPU"
		}
		return fmt.Sprintf("%s on CPU %d", role, cpu)
	}
	return at("client", client) + ", " + at("server", server)
}

// labPrefix starts the names of the labs made here; the process's id follows, so that comparisons do not meet.
const labPrefix = "fastrpc-bench-"

// removeOrphans takes down labs whose maker was killed before it could.
func removeOrphans() error {
	infos, err := lab.Status()
	if err != nil {
		return err
	}
	var errs []error
	for _, i := range infos {
		number, ours := strings.CutPrefix(i.Name, labPrefix)
		pid, err := strconv.Atoi(number)
		if ours && err == nil && len(i.Pids) == 0 && errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			errs = append(errs, lab.Down(i.Name))
		}
	}
	return errors.Join(errs...)
}

// choosePlace gives the agent's machine and this one, or a lab, or loopback with notes on why.
func choosePlace(ctx context.Context, c *Config) (*place, []string, error) {
	if c.Agent.Addr != "" {
		p, err := onTwoMachines(ctx, c)
		return p, nil, err
	}
	if c.Interface != "" {
		p, err := onInterface(c)
		return p, nil, err
	}
	why := missingCapabilities()
	if why == "" {
		p, err := inLab(c)
		if err == nil || c.Lab != "" {
			return p, nil, err
		}
		why = err.Error()
	} else if c.Lab != "" {
		return nil, nil, fmt.Errorf("bench: lab %q cannot be entered: %s", c.Lab, why)
	}
	notes := []string{"no lab: " + why, "over loopback instead, where there is no AF_XDP"}
	c.addKernelSystems()
	return onLoopback(c), notes, nil
}

// kernelSystems are what runs when nothing that was asked for can.
var kernelSystems = []string{"udp", "net-tcp", "spin-tcp"}

// addKernelSystems adds them if all that was asked for needs AF_XDP.
func (c *Config) addKernelSystems() {
	for _, name := range c.Systems {
		if s, err := Lookup(name); err == nil && !s.Bypass() {
			return
		}
	}
	for _, name := range kernelSystems {
		if _, err := Lookup(name); err == nil {
			c.Systems = append(c.Systems[:len(c.Systems):len(c.Systems)], name)
		}
	}
}

// inLab uses the lab that was asked for; it makes one for the time being when none was.
func inLab(c *Config) (*place, error) {
	var l *lab.Lab
	var err error
	p := &place{network: "veth pair between two network namespaces", noRDMA: otherPlaces, close: func() error { return nil }}
	if c.Lab != "" {
		l, err = lab.Open(c.Lab)
		if errors.Is(err, lab.ErrNotExist) {
			return nil, fmt.Errorf("bench: lab %q: %w; make it with 'fastrpc lab up --lab %s', or leave --lab out", c.Lab, err, c.Lab)
		}
	} else if err = removeOrphans(); err == nil {
		l, err = lab.Up(lab.Config{Name: labPrefix + strconv.Itoa(os.Getpid()), MTU: c.MTU})
		p.close = func() error { return l.Down() }
	}
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	clientCPU, serverCPU := c.cpus()
	p.pinning = pinning(clientCPU, serverCPU)
	at := func(role string, h lab.Host, cpu int) side {
		return c.here(role, cpu, Endpoint{Interface: h.Interface, Local: netip.AddrPortFrom(h.IPv4, 0)}, h.Start)
	}
	p.client, p.server = at("client", l.Client(), clientCPU), at("server", l.Server(), serverCPU)
	return p, nil
}

func onLoopback(c *Config) *place {
	p := &place{network: "loopback", noBypass: "loopback does not have it", noRDMA: otherPlaces, close: func() error { return nil }}
	clientCPU, serverCPU := c.cpus()
	p.pinning = pinning(clientCPU, serverCPU)
	e := Endpoint{Interface: "lo", Local: netip.MustParseAddrPort("127.0.0.1:0")}
	p.client, p.server = c.here("client", clientCPU, e, startPinned), c.here("server", serverCPU, e, startPinned)
	return p
}

// otherPlaces are where RDMA is.
const otherPlaces = "name the card's interface with --interface, or another machine with --agent"

// onInterface has both sides on one interface of this machine. RDMA cards bring their own packets back; the kernel keeps what goes to an address of
// the machine to itself.
func onInterface(c *Config) (*place, error) {
	ifi, err := net.InterfaceByName(c.Interface)
	if err != nil {
		return nil, fmt.Errorf("bench: interface %s: %w", c.Interface, err)
	}
	e, err := endpointAt(ifi, func(a netip.Addr) bool { return !a.IsLinkLocalUnicast() })
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	p := &place{
		network: "both ends on " + c.Interface + "; the kernel's packets over loopback", noBypass: "both ends are on one interface",
		close: func() error { return nil },
	}
	clientCPU, serverCPU := c.cpus()
	p.pinning = pinning(clientCPU, serverCPU)
	p.client, p.server = c.here("client", clientCPU, e, startPinned), c.here("server", serverCPU, e, startPinned)
	return p, nil
}

// startPinned starts cmd with the given CPUs to run on: a child inherits the affinity of the thread that forks it.
func startPinned(cmd *exec.Cmd, cpus ...int) error {
	if len(cpus) == 0 {
		return cmd.Start()
	}
	return onCPUs(cpus, cmd.Start)
}

// onCPUs calls f on a thread that runs on these CPUs only, and is not used for anything else again.
func onCPUs(cpus []int, f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		var set unix.CPUSet
		for _, cpu := range cpus {
			set.Set(cpu)
		}
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			result <- fmt.Errorf("pin to CPU %v: %w", cpus, err)
			return
		}
		result <- f()
	}()
	return <-result
}
