package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/fastrpc/fastrpc/bench"
	"github.com/fastrpc/fastrpc/bench/result"
)

// workloadHelp has a line for each workload.
func workloadHelp() string {
	var b strings.Builder
	for _, name := range compared() {
		for i, line := range wrap(bench.AboutWorkload(name), 96) {
			if i > 0 {
				name = ""
			}
			fmt.Fprintf(&b, "  %-11s %s\n", name, line)
		}
	}
	return b.String()
}

// wrap breaks text into lines of so many characters at most, where it can.
func wrap(text string, width int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return append(lines, line)
}

// alongFlags are where a workload stands on its axis; each axis has a flag of its own.
type alongFlags struct {
	rps, load, loss          []float64
	sizes, sessions, senders []int
	pauses                   []time.Duration
}

// values are the flags by name: the axis, and what was given.
func (a *alongFlags) values() map[string]alongFlag {
	return map[string]alongFlag{
		"rps":      {result.AxisRPS, a.rps},
		"load":     {result.AxisLoad, a.load},
		"loss":     {result.AxisLoss, a.loss},
		"sizes":    {result.AxisSize, floats(a.sizes, func(n int) float64 { return float64(n) })},
		"sessions": {result.AxisSessions, floats(a.sessions, func(n int) float64 { return float64(n) })},
		"senders":  {result.AxisSenders, floats(a.senders, func(n int) float64 { return float64(n) })},
		"pause":    {result.AxisPause, floats(a.pauses, func(d time.Duration) float64 { return d.Seconds() * 1e3 })},
	}
}

type alongFlag struct {
	axis   result.Axis
	values []float64
}

func floats[T any](xs []T, f func(T) float64) []float64 {
	var out []float64
	for _, x := range xs {
		out = append(out, f(x))
	}
	return out
}

// apply sets the points of c to what was given, which has to be of the workload's axis. A zero that was given is a mistake: in c it stands for
// what the workload has by itself.
func (a *alongFlags) apply(cmd *cobra.Command, c *bench.Config) error {
	zeros := map[string]bool{
		"size": c.Size == 0, "outstanding": c.Outstanding == 0, "clients": c.Clients == 0, "requests": c.Requests == 0, "duration": c.Duration == 0,
		"rounds": c.Rounds == 0,
	}
	for _, name := range slices.Sorted(maps.Keys(zeros)) {
		if zeros[name] && cmd.Flags().Changed(name) {
			return usageError{fmt.Errorf("--%s takes no 0; leave it out for what the workload has by itself", name)}
		}
	}
	if cmd.Flags().Changed("size") && bench.AxisOf(c.Workload) == result.AxisSize {
		return usageError{fmt.Errorf("workload %s goes along several sizes: give them with --sizes", c.Workload)}
	}
	values := a.values()
	for _, name := range slices.Sorted(maps.Keys(values)) {
		switch {
		case !cmd.Flags().Changed(name):
		case values[name].axis != bench.AxisOf(c.Workload):
			return usageError{fmt.Errorf("--%s is not for workload %s; see 'fastrpc bench compare --help'", name, c.Workload)}
		default:
			c.Along = values[name].values
		}
	}
	return nil
}

// addLoadFlags adds what says how much of a workload there shall be. What is not given is the workload's to say.
func addLoadFlags(f *pflag.FlagSet, c *bench.Config, a *alongFlags) {
	f.IntVar(&c.Size, "size", 0, fmt.Sprintf("payload in bytes, %d to %d, by default 64; of bulk and incast from %d on, by default 8 MiB and 64 KiB; of flood the packet's, %d to %d",
		bench.MinSize, bench.MaxSize, bench.MinBulk, bench.MinFlood, bench.MaxFlood))
	f.IntVar(&c.Outstanding, "outstanding", 0, fmt.Sprintf("calls at once, up to %d; by default 32 with workload rate, 64 with open and sweep, else 1", bench.MaxOutstanding))
	f.IntVar(&c.Clients, "clients", 0, "connections that share the calls outstanding; by default 1")
	f.BoolVar(&c.Blocking, "blocking", false, "make blocking calls, from a goroutine for each that is outstanding, also over systems with asynchronous ones")
	f.IntVar(&c.Requests, "requests", 0, "measured calls a round, instead of a duration")
	f.DurationVar(&c.Duration, "duration", 0, "measure for this long a round; by default 250ms to 2s, by workload")
	f.StringVar(&c.Arrivals, "arrivals", "", "how the calls of workloads open and sweep come due: poisson (the default) or constant")
	f.Float64SliceVar(&a.rps, "rps", nil, "workload open: calls a second, one `number` or several")
	f.Float64SliceVar(&a.load, "load", nil, "workload sweep: `shares` of what the system carries; by default 0.1 to 1.1")
	f.Float64SliceVar(&a.loss, "loss", nil, "workload loss: `shares` of the packets that are lost, each way; by default 0,0.001,0.01,0.05")
	f.IntSliceVar(&a.sizes, "sizes", nil, "workload sizes: payloads in bytes; by default 64 to 8 MiB, each four times the last")
	f.IntSliceVar(&a.sessions, "sessions", nil, "workload sessions: numbers of connections, up to 20000; by default 1,10,100,1000")
	f.IntSliceVar(&a.senders, "senders", nil, "workload incast: numbers of senders; by default 1,4,16,64")
	f.DurationSliceVar(&a.pauses, "pause", nil, "workload idle: `pauses` between calls; by default 1ms,10ms,100ms")
	for _, name := range []string{"rps", "load", "loss", "pause"} {
		f.Lookup(name).DefValue = "" // else the help has an empty list
	}
}
