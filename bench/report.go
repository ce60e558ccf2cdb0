package bench

import (
	"math"
	"slices"
	"strings"

	"github.com/fastrpc/fastrpc/bench/machine"
	"github.com/fastrpc/fastrpc/bench/result"
)

func newReport(c *Config, p *place, notes []string) *result.Report {
	r := &result.Report{Schema: result.Schema, Machine: machine.Describe(), Notes: notes}
	r.Machine.Network, r.Machine.Pinning = p.network, p.pinning
	r.Machine.Advice = machine.Advice(p.measured())
	if p.agent != nil {
		server := p.agent.Machine
		server.Network, server.Pinning = p.network, p.pinning
		r.Server = &server
	}
	r.Run = result.Run{
		Workload: c.Workload, Axis: AxisOf(c.Workload), Systems: c.Systems, Rounds: c.Rounds, Seed: c.Seed, Requests: c.Requests, Seconds: c.Duration.Seconds(),
	}
	for _, point := range c.points() {
		for _, name := range c.Systems {
			why, absent := p.without(name, c.Workload)
			r.Results = append(r.Results, result.Result{System: name, Point: point, Rounds: []result.Round{}, Error: why, Absent: absent})
		}
	}
	return r
}

// measured is what a run uses of this machine.
func (p *place) measured() machine.Measured {
	m := machine.Measured{Bypass: p.noBypass == ""}
	sides := []*side{&p.client, &p.server}
	if p.agent != nil {
		m.Interface, sides = p.client.endpoint.Interface, sides[:1]
	}
	for _, s := range sides {
		if s.cpu >= 0 {
			m.CPUs = append(m.CPUs, s.cpu)
		}
	}
	return m
}

// without says why a system has no figures here; empty: it may have some. absent: it is not on the machine.
func (p *place) without(name, workload string) (why string, absent bool) {
	s, err := Lookup(name)
	switch {
	case err != nil:
		return missing[name], true
	case p.agent != nil && p.agent.lacks(name) != "":
		return p.agent.lacks(name), true
	case !has(s, workload):
		return "has no workload " + workload, false
	case s.Bypass() && p.noBypass != "":
		return "needs AF_XDP; " + p.noBypass, false
	case needsRDMA(s) && p.noRDMA != "":
		return "needs RDMA: " + p.noRDMA, false
	}
	return "", false
}

// add puts what one run gave into the report.
func add(r *result.Report, res *result.Result, out *outcome) {
	res.Rounds = append(res.Rounds, out.round)
	if prefix := res.System + ": "; out.note != "" && !slices.ContainsFunc(r.Notes, func(n string) bool { return strings.HasPrefix(n, prefix) }) {
		r.Notes = append(r.Notes, prefix+out.note) // the first round's: its numbers differ
	}
	describe(&r.Machine, &out.client, &out.ready)
	if r.Server != nil {
		describe(r.Server, &out.server, &out.ready)
	}
}

// describe adds to a machine what its side of a run says of itself, and what the server was granted. Systems without AF_XDP say nothing of that.
func describe(m *result.Machine, a *about, ready *Ready) {
	granted := m.NIC
	m.NIC, m.GoGC, m.MaxProcs, m.Counters = a.NIC, a.GoGC, a.MaxProcs, a.Counters
	n := &m.NIC
	n.XDPMode, n.ZeroCopy, n.BusyPoll = granted.XDPMode, granted.ZeroCopy, granted.BusyPoll
	for _, f := range []struct {
		to   *string
		from string
	}{{&n.XDPMode, ready.XDPMode}, {&n.ZeroCopy, ready.ZeroCopy}, {&n.BusyPoll, ready.BusyPoll}} {
		if f.from != "" {
			*f.to = f.from
		}
	}
}

// finish adds what can be said when all rounds are there, or no more come.
func finish(r *result.Report) {
	if r.Run.Workload == Sweep {
		r.NoteKnees()
	}
	var stolen, seconds float64
	for i := range r.Results {
		for _, round := range r.Results[i].Rounds {
			stolen += round.Steal * round.Seconds
			seconds += round.Seconds
		}
	}
	if seconds == 0 {
		return
	}
	r.Machine.StealPercent = math.Round(100*stolen/seconds) / 100
	if r.Server != nil {
		r.Server.StealPercent = r.Machine.StealPercent // of both machines' CPUs, as in each round
	}
}
