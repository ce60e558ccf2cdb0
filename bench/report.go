package bench

import "github.com/fastrpc/fastrpc/bench/result"

func newReport(c *Config, p *place, notes []string) *result.Report {
	r := &result.Report{Schema: result.Schema, Machine: thisMachine(), Notes: notes}
	r.Machine.Network, r.Machine.Pinning = p.network, p.pinning
	r.Run = result.Run{Workload: c.Workload, Systems: c.Systems, Rounds: c.Rounds, Requests: c.Requests, Seconds: c.Duration.Seconds()}
	for _, name := range c.Systems {
		res := result.Result{System: name, Point: result.Point{Size: c.Size}, Rounds: []result.Round{}}
		if c.Workload != Flood {
			res.Point.Outstanding = c.Outstanding
		}
		s, err := Lookup(name)
		switch {
		case err != nil:
			res.Error, _ = absent(name)
		case !has(s, c.Workload):
			res.Error = "has no workload " + c.Workload
		case s.Bypass() && !p.bypass:
			res.Error = "needs AF_XDP, which loopback does not have"
		}
		r.Results = append(r.Results, res)
	}
	return r
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
