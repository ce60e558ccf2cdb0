package bench

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"
)

// AgentAddr says how an agent is reached.
type AgentAddr struct {
	Addr  string // HOST:PORT, TCP; "": no agent
	Token string // the agent's
}

// errAgent says that the agent is gone: nothing more can be measured.
var errAgent = errors.New("agent")

// A driver is this machine's end of the connection to an agent. Its control is that of the agent's child while there is one.
type driver struct {
	*control
	conn *net.TCPConn
	welcome
	gone error // wraps errAgent
}

// onTwoMachines has the server run on the agent's machine.
func onTwoMachines(ctx context.Context, c *Config) (*place, error) {
	d, local, err := callAgent(ctx, c)
	for said := false; errors.Is(err, ErrBusy) && c.Waiting != nil; said = true {
		if !said {
			c.Waiting(fmt.Errorf("bench: agent %s: %w", c.Agent.Addr, err))
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(lockEvery):
			d, local, err = callAgent(ctx, c)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("bench: agent %s: %w", c.Agent.Addr, err)
	}
	client, _ := c.cpus()
	server := d.CPU
	if len(c.CPUs) == 2 {
		server = c.CPUs[1]
	}
	p := &place{network: "two machines", noBypass: missingCapabilities(), pinning: pinning(client, server), agent: d}
	p.close = func() error {
		d.conn.Close() // the agent may have been quicker
		return nil
	}
	if p.noBypass == "" && d.NoBypass != "" {
		p.noBypass = "on the agent: " + d.NoBypass
	}
	p.client = c.here("client", client, local, startPinned)
	p.server = side{endpoint: d.Endpoint, cpu: server, start: func(ctx context.Context, system string) (*process, error) {
		return d.spawn(ctx, system, server)
	}}
	return p, nil
}

// callAgent connects, with both sides proving that they know the token.
func callAgent(ctx context.Context, c *Config) (d *driver, local Endpoint, err error) {
	dialer := net.Dialer{Timeout: setupLimit}
	conn, err := dialer.DialContext(ctx, "tcp", c.Agent.Addr)
	if err != nil {
		return nil, local, fmt.Errorf("%w; start one there with 'fastrpc bench agent'", err)
	}
	d = &driver{conn: conn.(*net.TCPConn), control: newControl(conn, conn), gone: fmt.Errorf("%w %s is gone", errAgent, c.Agent.Addr)}
	defer func() {
		if err != nil {
			conn.Close()
		}
	}()
	if err := watch(d.conn); err != nil {
		return nil, local, err
	}
	d.control.gone = d.gone
	if err := conn.SetReadDeadline(time.Now().Add(setupLimit)); err != nil {
		return nil, local, err
	}
	var g greeting
	line, err := readLine(d.lines, maxOrder)
	if err != nil || json.Unmarshal(line, &g) != nil || g.Version == "" {
		return nil, local, errors.Join(errors.New("this is no agent of 'fastrpc bench agent'"), err)
	}
	if err := checkVersion(g.Version); err != nil {
		return nil, local, err
	}
	agent := d.conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()
	if local, err = endpointTo(agent, c.Interface); err != nil {
		return nil, local, err
	}
	i := introduction{Version: agentVersion(), Nonce: newNonce(), Boot: bootID(), Client: local.Local.Addr()}
	i.Proof = prove("driver", c.Agent.Token, g.Nonce, i.Nonce)
	switch err := d.ask(ctx, i, &d.welcome, setupLimit); {
	case err != nil:
		return nil, local, err
	case d.Busy:
		return nil, local, busyAgent(d.welcome.Error)
	case d.welcome.Error != "":
		return nil, local, errors.New(d.welcome.Error)
	case !proves(d.Proof, "agent", c.Agent.Token, g.Nonce, i.Nonce):
		return nil, local, errors.New("the agent does not know the token")
	}
	if c.Interface == "" {
		local, err = endpointTo(d.Endpoint.Local.Addr(), "") // the agent may have another address than this one's
	}
	return d, local, err
}

// busyAgent is ErrBusy in an agent's words.
type busyAgent string

func (b busyAgent) Error() string        { return string(b) }
func (b busyAgent) Is(target error) bool { return target == ErrBusy }

// lacks says why the agent does not have a system; empty when it does.
func (d *driver) lacks(system string) string {
	if slices.Contains(d.Systems, system) {
		return ""
	}
	return "on the agent: " + cmp.Or(d.Missing[system], "unknown system")
}

// spawn starts the server of a system on the agent's machine.
func (d *driver) spawn(ctx context.Context, system string, cpu int) (*process, error) {
	var a agentAnswer
	if err := d.ask(ctx, agentOrder{Agent: spawnChild, System: system, CPU: cpu}, &a, setupLimit); err != nil {
		return nil, err
	}
	if a.Error != "" {
		return nil, errors.New(a.Error)
	}
	return &process{role: "server", control: d.control, finish: d.finish}, nil
}

// finish ends the agent's child. What the child still answers, if it was busy, is passed over.
func (d *driver) finish(bool) error {
	if d.dead {
		return nil // which whoever asked last knows
	}
	err := d.conn.SetReadDeadline(time.Now().Add(setupLimit))
	if err == nil {
		err = json.NewEncoder(d.conn).Encode(agentOrder{Agent: endChild})
	}
	for err == nil {
		var line []byte
		if line, err = readLine(d.lines, maxAnswer); err != nil {
			break
		}
		var a agentAnswer
		if json.Unmarshal(line, &a) != nil || !a.Ended {
			continue
		}
		d.owing = false
		if a.Error != "" {
			return errors.New(a.Error)
		}
		return nil
	}
	d.dead = true
	d.conn.Close()
	return fmt.Errorf("%w: %w", d.gone, err)
}
