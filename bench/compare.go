package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fastrpc/fastrpc/bench/meter"
	"github.com/fastrpc/fastrpc/bench/result"
)

// Compare runs the comparison and reports it. It ends early, with an error and everything cleaned up, when ctx does.
//
// A system that cannot run here, or that fails, stands in the report with the reason; its place in the other rounds stays empty. Without
// the privileges for a lab the systems that need none run over loopback instead, and Report.Notes says what is missing and how to grant it.
func Compare(ctx context.Context, c Config) (report *result.Report, err error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	p, notes, err := choosePlace(&c)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	r := newReport(&c, p, notes)
	return r, fill(ctx, &c, p, r)
}

// fill runs the rounds.
func fill(ctx context.Context, c *Config, p *place, r *result.Report) error {
	defer finish(r)
	for round := range c.Rounds {
		for i := range r.Results {
			res := &r.Results[i]
			if res.Error != "" {
				continue
			}
			if c.Progress != nil {
				c.Progress(Progress{Round: round + 1, Rounds: c.Rounds, System: res.System})
			}
			out, err := runOnce(ctx, c, p, res.System)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				res.Error = err.Error()
				continue
			}
			out.round.Number, out.round.Place = round+1, i+1
			add(r, res, out)
		}
	}
	return nil
}

// kernelSystems are what runs when nothing that was asked for can.
var kernelSystems = []string{"udp", "net-tcp", "spin-tcp"}

// choosePlace gives a lab, or loopback with a note on why.
func choosePlace(c *Config) (*place, []string, error) {
	why := missingCapabilities()
	if why == "" {
		p, err := inLab(c.Lab, c.MTU)
		if err == nil || c.Lab != "" {
			return p, nil, err
		}
		why = err.Error()
	} else if c.Lab != "" {
		return nil, nil, fmt.Errorf("bench: lab %q cannot be entered: %s", c.Lab, why)
	}
	notes := []string{"no lab: " + why, "over loopback instead, where there is no AF_XDP"}
	c.addKernelSystems()
	return onLoopback(), notes, nil
}

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

// outcome is what one run of one system gave.
type outcome struct {
	round  result.Round // complete but for its number and place
	ready  Ready
	client about
}

// How long the parent waits for answers: set-up, and what a run may take over what it should.
const (
	setupLimit = 15 * time.Second
	slowestOp  = 2 * time.Millisecond // on average
)

func runOnce(ctx context.Context, c *Config, p *place, system string) (out outcome, err error) {
	server, err := p.server.startProcess("server", c.childOf(system))
	if err != nil {
		return out, err
	}
	defer func() { err = joinEnd(err, server) }()
	e := p.server.endpoint
	e.Size, e.Workload, e.Outstanding = c.Size, c.Workload, c.Outstanding
	a, err := server.ask(ctx, order{Do: "serve", System: system, Endpoint: &e}, setupLimit)
	if err != nil {
		return out, err
	}
	if a.Ready == nil {
		return out, errors.New("server: an answer without an address")
	}
	out.ready = *a.Ready

	client, err := p.client.startProcess("client", c.childOf(system))
	if err != nil {
		return out, err
	}
	defer func() { err = joinEnd(err, client) }()
	e.Interface, e.Local, e.Remote, e.RemoteMAC = p.client.endpoint.Interface, p.client.endpoint.Local, out.ready.Addr, out.ready.MAC
	if a, err = client.ask(ctx, order{Do: "connect", System: system, Endpoint: &e}, setupLimit); err != nil {
		return out, err
	}
	if a.About != nil {
		out.client = *a.About
	}
	return out, measure(ctx, c, server, client, &out, e.callLimit()-callLimit)
}

// measure warms up with a tenth of the load, then runs it, and collects both sides' figures. extra is what the workload's last calls may take.
func measure(ctx context.Context, c *Config, server, client *process, out *outcome, extra time.Duration) error {
	warm := order{Do: "warm", Requests: max(c.Requests/10, min(c.Requests, 500)), Duration: c.Duration / 10}
	if _, err := client.ask(ctx, warm, limitOf(&warm)+extra); err != nil {
		return err
	}
	if _, err := server.ask(ctx, order{Do: "start"}, setupLimit); err != nil {
		return err
	}
	run := order{Do: "run", Requests: c.Requests, Duration: c.Duration}
	a, err := client.ask(ctx, run, limitOf(&run)+2*extra)
	if err != nil {
		return err
	}
	b, err := server.ask(ctx, order{Do: "stop"}, setupLimit)
	if err != nil {
		return err
	}
	if a.Round == nil || a.Counts == nil || b.Counts == nil {
		return errors.New("an answer without figures")
	}
	r := &out.round
	*r, r.Client, r.Server = *a.Round, a.Counts.Use, b.Counts.Use
	r.Client.Calls, r.Server.Calls = a.Round.Ops, a.Round.Ops+a.Uncounted
	r.Network, r.Steal = meter.Join(a.Counts, b.Counts), (a.Counts.StealPercent+b.Counts.StealPercent)/2
	return nil
}

func limitOf(o *order) time.Duration {
	return setupLimit + o.Duration + time.Duration(o.Requests)*slowestOp
}

// joinEnd ends p and adds to err what p says about its own end.
func joinEnd(err error, p *process) error {
	if end := p.end(); end != nil {
		return errors.Join(err, end)
	}
	return err
}
