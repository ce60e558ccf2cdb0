package bench

import (
	"math"

	"github.com/fastrpc/fastrpc/bench/machine"
	"github.com/fastrpc/fastrpc/bench/meter"
	"github.com/fastrpc/fastrpc/bench/result"
)

func newReport(c *Config, p *place, notes []string) *result.Report {
	r := &result.Report{Schema: result.Schema, Machine: machine.Describe(), Notes: notes}
	r.Machine.Network, r.Machine.Pinning = p.network, p.pinning
	measured := machine.Measured{Bypass: p.bypass}
	for _, s := range []*side{&p.client, &p.server} {
		if s.cpu >= 0 {
			measured.CPUs = append(measured.CPUs, s.cpu)
		}
	}
	r.Machine.Advice = machine.Advice(measured)
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
	m := &r.Machine
	granted := m.NIC
	m.NIC, m.GoGC, m.MaxProcs = out.client.NIC, out.client.GoGC, out.client.MaxProcs
	n := &m.NIC
	n.XDPMode, n.ZeroCopy, n.BusyPoll = granted.XDPMode, granted.ZeroCopy, granted.BusyPoll
	for _, f := range []struct {
		to   *string
		from string
	}{{&n.XDPMode, out.ready.XDPMode}, {&n.ZeroCopy, out.ready.ZeroCopy}, {&n.BusyPoll, out.ready.BusyPoll}} {
		if f.from != "" {
			*f.to = f.from
		}
	}
}

// finish adds what can be said when all rounds are there, or no more come.
func finish(r *result.Report) {
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
	if w := meter.StealWarning(r.Machine.StealPercent, seconds); w != "" {
		r.Notes = append(r.Notes, w)
	}
}
