package bench

import (
	"context"
	"errors"
	"time"

	"github.com/fastrpc/fastrpc/bench/meter"
	"github.com/fastrpc/fastrpc/bench/result"
)

// outcome is what one run of one system gave.
type outcome struct {
	round          result.Round // complete but for its number and place
	ready          Ready
	client, server about
	counted        struct{ client, server counted }
	note           string
}

// How long the parent waits for answers: set-up, and what a run may take over what it should.
const (
	setupLimit = 15 * time.Second
	slowestOp  = 2 * time.Millisecond // on average
)

var errNoFigures = errors.New("an answer without figures")

// runOnce runs a system once, at the point of its result, in a round from 0.
func runOnce(ctx context.Context, c *Config, p *place, round int, res *result.Result, tell func(Step)) (out outcome, err error) {
	tell(Starting)
	server, err := p.server.start(ctx, res.System)
	if err != nil {
		return out, err
	}
	defer func() { err = joinEnd(err, server) }()
	e := p.server.endpoint
	forClient, forServer := c.seeds(round)
	e.Workload, e.Point, e.Seed = c.Workload, res.Point, forServer
	a, err := server.ask(ctx, order{Do: "serve", System: res.System, Endpoint: &e, Requests: c.Requests}, setupLimit)
	if err != nil {
		return out, err
	}
	if a.Ready == nil || a.About == nil {
		return out, errors.New("server: an answer without an address")
	}
	out.ready, out.server = *a.Ready, *a.About
	if p.agent != nil && out.ready.Path != "" {
		return out, errors.New("listens at a file, which another machine does not see")
	}

	client, err := p.client.start(ctx, res.System)
	if err != nil {
		return out, err
	}
	defer func() { err = joinEnd(err, client) }()
	e.Interface, e.Local, e.Remote, e.RemoteMAC = p.client.endpoint.Interface, p.client.endpoint.Local, out.ready.Addr, out.ready.MAC
	e.Path, e.Seed = out.ready.Path, forClient
	if a, err = client.ask(ctx, order{Do: "connect", System: res.System, Endpoint: &e, Requests: c.Requests}, setupLimit+e.connectLimit()); err != nil {
		return out, err
	}
	if a.About != nil {
		out.client = *a.About
	}
	if c.Workload == Anatomy {
		return out, anatomize(ctx, c, server, client, &out, p.agent == nil, tell)
	}
	return out, measure(ctx, c, server, client, &out, e.callLimit()-callLimit, tell)
}

// measure warms up with a tenth of the load, then runs it, and collects both sides' figures. extra is what the workload's last calls may take.
func measure(ctx context.Context, c *Config, server, client *process, out *outcome, extra time.Duration, tell func(Step)) error {
	tell(WarmingUp)
	warm := order{Do: "warm", Requests: max(c.Requests/10, min(c.Requests, 500)), Duration: c.Duration / 10}
	if _, err := client.ask(ctx, warm, limitOf(&warm)+extra); err != nil {
		return err
	}
	if out.client.Counts || out.server.Counts {
		if err := count(ctx, server, client, out, extra); err != nil {
			return err
		}
	}
	return measureWarm(ctx, c, server, client, out, extra, tell)
}

// measureWarm is measure without the warm-up.
func measureWarm(ctx context.Context, c *Config, server, client *process, out *outcome, extra time.Duration, tell func(Step)) error {
	if _, err := server.ask(ctx, order{Do: "start"}, setupLimit); err != nil {
		return err
	}
	tell(Measuring)
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
		return errNoFigures
	}
	out.note = a.Note
	r := &out.round
	*r, r.Client, r.Server = *a.Round, a.Counts.Use, b.Counts.Use
	r.Client.Calls, r.Server.Calls = a.Round.Ops, a.Round.Ops+a.Uncounted
	out.counted.client.scale(&r.Client)
	out.counted.server.scale(&r.Server)
	r.Network, r.Steal = meter.Join(a.Counts, b.Counts), (a.Counts.StealPercent+b.Counts.StealPercent)/2
	return nil
}

// seeds are those of what each side draws within a round, arrivals and losses. They are the same for all systems of the round, which are compared;
// others in each round, so that the spread over the rounds has that of what was drawn; and others on each side: else a packet that was lost would lose its
// answer, too, which is about as many packets on in the other direction.
func (c *Config) seeds(round int) (client, server uint64) {
	client = c.Seed + uint64(round)
	return client, ^client
}

func limitOf(o *order) time.Duration {
	return setupLimit + 2*o.Duration + time.Duration(o.Requests)*slowestOp
}

// joinEnd ends p and adds to err what p says about its own end.
func joinEnd(err error, p *process) error {
	if end := p.end(); end != nil {
		return errors.Join(err, end)
	}
	return err
}
