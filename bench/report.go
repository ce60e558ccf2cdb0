package bench

import "github.com/fastrpc/fastrpc/bench/result"

func newReport(c *Config, p *place, notes []string) *result.Report {
	r := &result.Report{Schema: result.Schema, Machine: thisMachine(), Notes: notes}
	r.Machine.Network, r.Machine.Pinning = p.network, p.pinning
	r.Run = result.Run{Workload: c.Workload, Systems: c.Systems, Rounds: c.Rounds, Seed: c.Seed, Requests: c.Requests, Seconds: c.Duration.Seconds()}
	for _, name := range c.Systems {
		why, absent := p.without(name, c.Workload)
		for _, point := range c.points() {
			r.Results = append(r.Results, result.Result{System: name, Point: point, Rounds: []result.Round{}, Error: why, Absent: absent})
		}
	}
	return r
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
	}
	return "", false
}

// add puts what one run gave into the report.
func add(r *result.Report, res *result.Result, out outcome) {
	res.Rounds = append(res.Rounds, out.round)
	n := &r.Machine.NIC
	n.Driver, n.Queues = out.ready.Driver, out.ready.Queues
	for _, f := range []struct {
		to   *string
		from string
	}{{&n.XDPMode, out.ready.XDPMode}, {&n.ZeroCopy, out.ready.ZeroCopy}, {&n.BusyPoll, out.ready.BusyPoll}} {
		if f.from != "" {
			*f.to = f.from
		}
	}
}
