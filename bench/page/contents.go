package page

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/fastrpc/fastrpc/bench/result"
)

// titles say in words what a workload is; one that is not here goes by its name.
var titles = map[string]string{
	"latency":  "Latency of one call at a time",
	"rate":     "Calls a second with many outstanding",
	"open":     "Latency at a given load",
	"sweep":    "Latency under rising load",
	"sizes":    "Latency and throughput by size",
	"bulk":     "Long messages one way",
	"flood":    "Packets one way, as fast as they go",
	"incast":   "Many senders, one receiver",
	"mixed":    "Small calls beside long messages",
	"sessions": "Many sessions",
	"loss":     "Packets lost on purpose",
	"idle":     "The first call after a pause",
	"churn":    "Dial, call, close",
	"anatomy":  "Where the time of a round trip goes",
}

// newSection makes everything that the page says of a report.
func newSection(id string, in Input, k *keys) *section {
	r := in.Report
	s := &section{ID: id, Title: titles[r.Run.Workload], Source: in.Name, Notes: r.Notes, report: r, keys: k}
	if s.Title == "" {
		s.Title = cmp.Or(r.Run.Workload, "Unnamed workload")
	}
	s.systems = systems(r)
	for _, name := range s.systems {
		k.of(name)
	}
	s.settings()
	s.warn()
	s.Reading = []string{medianWords}
	if s.has(result.OfUncorrected) {
		s.Reading = append(s.Reading, sentWords)
	}
	if _, known := ways[r.Run.Axis]; known {
		s.alongAxis()
	} else {
		groups := s.points()
		for i, g := range groups {
			suffix, title := "", ""
			if len(groups) > 1 {
				suffix, title = fmt.Sprintf("-%d", i+1), ": "+strings.Join(pointWords(g[0].Point, result.AxisNone), ", ")
			}
			s.atPoint(id+suffix, title, g)
		}
	}
	s.tables()
	s.machines()
	return s
}

// systems are those that were asked for, and those that there are results of.
func systems(r *result.Report) []string {
	var out []string
	add := func(name string) {
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	for _, name := range r.Run.Systems {
		add(name)
	}
	for i := range r.Results {
		add(r.Results[i].System)
	}
	return out
}

// points are the results by the point that they are at, in the order of the report.
func (s *section) points() [][]*result.Result {
	var groups [][]*result.Result
	for i := range s.report.Results {
		r := &s.report.Results[i]
		g := slices.IndexFunc(groups, func(g []*result.Result) bool { return g[0].Point == r.Point })
		if g < 0 {
			groups = append(groups, nil)
			g = len(groups) - 1
		}
		groups[g] = append(groups[g], r)
	}
	return groups
}

// settings says how it was measured.
func (s *section) settings() {
	run := s.report.Run
	if len(s.report.Results) > 0 && (run.Axis != result.AxisNone || len(s.points()) == 1) {
		s.Settings = pointWords(s.report.Results[0].Point, run.Axis)
	}
	if run.Rounds > 0 {
		s.Settings = append(s.Settings, plural(float64(run.Rounds), "round", "rounds")+", the order of the systems shuffled in each")
	}
	if run.Requests > 0 {
		s.Settings = append(s.Settings, plural(float64(run.Requests), "call", "calls")+" a round")
	}
	if run.Seconds > 0 {
		s.Settings = append(s.Settings, short(run.Seconds)+" s a round")
	}
	s.Settings = append(s.Settings, fmt.Sprintf("seed %d", run.Seed))
}

// warn says what spoils the figures, and what is missing from them.
func (s *section) warn() {
	r := s.report
	if r.Interrupted != "" {
		s.Warnings = append(s.Warnings, "Interrupted, so that rounds are missing at the end: "+r.Interrupted)
	}
	if w := r.StealWarning(func(res *result.Result) string { return res.System }); w != "" {
		s.Warnings = append(s.Warnings, w)
	}
	var said []string
	names := map[string][]string{} // by what is said of them
	for _, system := range s.systems {
		text := s.missing(system)
		if text == "" {
			continue
		}
		if names[text] == nil {
			said = append(said, text)
		}
		names[text] = append(names[text], system)
	}
	for _, text := range said {
		s.Warnings = append(s.Warnings, strings.Join(names[text], ", ")+": "+text)
	}
}

// missing says what a system lacks, and why; "" if nothing.
func (s *section) missing(system string) string {
	var reasons []string
	found, absent := false, false
	for i := range s.report.Results {
		if r := &s.report.Results[i]; r.System == system {
			found, absent = true, absent || r.Absent
			if r.Error != "" && !slices.Contains(reasons, r.Error) {
				reasons = append(reasons, r.Error)
			}
		}
	}
	why := cmp.Or(strings.Join(reasons, "; "), "the report does not say why")
	switch {
	case absent:
		return "not on this machine: " + why
	case !found:
		return "asked for, but without a result: " + why
	case len(reasons) > 0:
		return "rounds are missing: " + why
	}
	return ""
}

// What is said once of all figures of a section.
const (
	medianWords = "Bars and points are medians over the rounds. A thin line over a bar's end is the 95 % confidence interval, which takes five rounds at least."
	kneeWords   = "A ring marks the knee: the highest load of which a system still completed 95 %; where there is none, it was not reached, or passed at the first step."
	sentWords   = "Solid lines count from the moment that a call was due; dotted ones with hollow marks from the moment that it was sent, which leaves out the time that it waited for those before it (coordinated omission)."
)

// atPoint draws the results of one point.
func (s *section) atPoint(id, title string, rs []*result.Result) {
	s.leaders(title, rs)
	s.glance(id+"-glance", "At a glance"+title, rs)
	s.anatomy(id+"-anatomy", title, rs)
	bars := func(name, words string, f result.Figure, m measure) {
		s.barFigure(id+"-"+name, words+title, "", rs, f, m)
	}
	bars("p50", "Median latency", result.P50, latency)
	bars("p99", "99th percentile", result.P99, latency)
	bars("rate", s.rateTitle(), result.PerSec, rate)
	bars("gbit", "Throughput", result.Gbit, throughput)
	s.barFigure(id+"-cpu", "Processor time a call"+title, "Of both processes, user and system time; the full part is the client's, the pale part the server's.", rs,
		result.CPU, cpuTime, result.ClientCPU, result.ServerCPU)
	for i, name := range s.drawnParts() {
		bars(fmt.Sprintf("part%d-p50", i+1), partTitle(name)+": median", result.Part(name, result.P50), latency)
		bars(fmt.Sprintf("part%d-p99", i+1), partTitle(name)+": 99th percentile", result.Part(name, result.P99), latency)
	}
	s.percentileFigure(id+"-percentiles", "Latency by percentile"+title,
		"All rounds together. To the right of 99 % is one call in a hundred, of 99.9 % one in a thousand; each curve ends at the longest call.", rs)
}

// alongAxis draws the results of a workload that goes along an axis.
func (s *section) alongAxis() {
	curves := func(name, words string, f result.Figure, m measure) {
		var sent *result.Figure
		if m.knees && s.has(result.OfUncorrected) {
			u := result.Uncorrected(f)
			sent = &u
		}
		s.alongFigure(s.ID+"-"+name, words, f, m, sent)
	}
	if axis := s.report.Run.Axis; axis == result.AxisRPS || axis == result.AxisLoad {
		s.Reading = append(s.Reading, kneeWords)
		s.leadKnee()
	}
	part := latency
	part.knees = false
	parts := func() {
		for i, name := range s.drawnParts() {
			curves(fmt.Sprintf("part%d-p50", i+1), partTitle(name)+": median", result.Part(name, result.P50), part)
			curves(fmt.Sprintf("part%d-p99", i+1), partTitle(name)+": 99th percentile", result.Part(name, result.P99), part)
		}
	}
	if s.report.Run.Axis == result.AxisPause {
		parts() // the first call after the pause is what it is about
	}
	curves("p99", "99th percentile", result.P99, latency)
	curves("p50", "Median latency", result.P50, latency)
	curves("p999", "99.9th percentile", result.P999, latency)
	curves("rate", s.rateTitle(), result.PerSec, rate)
	curves("gbit", "Throughput", result.Gbit, throughput)
	curves("cpu", "Processor time a call, both processes", result.CPU, cpuTime)
	if s.report.Run.Axis == result.AxisPause {
		curves("client-busy", "What waiting costs the client", result.ClientBusy, busy)
		curves("server-busy", "What waiting costs the server", result.ServerBusy, busy)
	}
	if s.report.Run.Axis != result.AxisPause {
		parts()
	}
}

// leaders names who is best at what.
func (s *section) leaders(title string, rs []*result.Result) {
	s.lead("p50"+title, rs, result.P50, latency)
	s.lead("p99"+title, rs, result.P99, latency)
	s.lead("p99.9"+title, rs, result.P999, latency)
	s.lead(strings.ToLower(s.rateTitle())+title, rs, result.PerSec, rate)
	s.lead("throughput"+title, rs, result.Gbit, throughput)
	s.lead("processor time a call"+title, rs, result.CPU, cpuTime)
}

func (s *section) rateTitle() string {
	if s.report.Run.Workload == "flood" {
		return "Packets a second"
	}
	return "Calls a second"
}

// has tells whether a round of the report has this distribution.
func (s *section) has(of func(*result.Round) *result.Latency) bool {
	for i := range s.report.Results {
		for j := range s.report.Results[i].Rounds {
			if of(&s.report.Results[i].Rounds[j]) != nil {
				return true
			}
		}
	}
	return false
}

// partLate is how late an open loop's generator was: it says whether to trust the figures, and stands in the tables.
const partLate = "late"

// partTitles say in words what a part is.
var partTitles = map[string]string{
	"first": "First call after the pause", "dial": "Dialling", "call": "The call", "close": "Closing", "bulk": "Long messages", result.PartUnstamped: "Calls without stamps",
}

func partTitle(name string) string { return cmp.Or(partTitles[name], fmt.Sprintf("%q", name)) }

// drawnParts are the parts that have figures.
func (s *section) drawnParts() []string {
	return slices.DeleteFunc(s.partNames(), func(name string) bool { return name == partLate })
}

// partNames are the names of the rounds' other times.
func (s *section) partNames() []string {
	var out []string
	for _, r := range s.report.Results {
		for _, round := range r.Rounds {
			for name := range round.Parts {
				if !slices.Contains(out, name) {
					out = append(out, name)
				}
			}
		}
	}
	slices.Sort(out)
	return out
}
