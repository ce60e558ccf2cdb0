package text

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/fastrpc/fastrpc/bench/result"
)

// A Distribution is one that a report holds, all rounds together.
type Distribution struct {
	// Name says whose: the system; where the system has several points, what is special to the point; and which times of the call they are, unless they are
	// simply the calls': "xdp", "xdp-rps-50000", "xdp-rps-50000-uncorrected". It is fit for the name of a file.
	Name string

	Histogram *hdrhistogram.Histogram // nanoseconds
	Latency   *result.Latency         // its figures
}

// Distributions gives all of the report, in its order.
func Distributions(r *result.Report) ([]Distribution, error) {
	var out []Distribution
	for i := range r.Results {
		res := &r.Results[i]
		for _, k := range kinds() {
			h, l, err := res.Merge(k.of)
			if err != nil {
				return nil, err
			}
			if h != nil {
				out = append(out, Distribution{Name: distributionName(r, res) + k.suffix, Histogram: h, Latency: l})
			}
		}
	}
	return out, nil
}

// kind is one of the times of a call.
type kind struct {
	suffix string
	of     func(*result.Round) *result.Latency
}

func kinds() []kind {
	out := []kind{{"", result.OfCalls}, {"-uncorrected", result.OfUncorrected}}
	for _, part := range Parts {
		out = append(out, kind{"-" + part, result.OfPart(part)})
	}
	return out
}

var unfit = regexp.MustCompile(`[^A-Za-z0-9.]+`)

// distributionName tells a result from the system's others.
func distributionName(r *result.Report, res *result.Result) string {
	name := res.System
	if at := OnAxis(r.Run.Axis, res.Point); at != "" {
		name += "-" + string(r.Run.Axis) + "-" + strings.TrimSuffix(at, "/s")
	}
	if res.Point.Blocking {
		name += "-blocking"
	}
	return strings.Trim(unfit.ReplaceAllString(name, "-"), "-")
}

// ticks is how many lines each halving of the distance to 100 % has; what HdrHistogram's own tools take.
const ticks = 5

// HGRM writes the distribution as HdrHistogram's plotter reads it and its outputPercentileDistribution writes it: microseconds. The lines' fields are
// parted by spaces, as the plotter (GoogleChartsExample/plotFiles.html) wants them, and the last line, of 100 %, has three fields and no point in the plot.
// The percentiles have twelve decimals, more than hdrhistogram-go's PercentilesPrint, whose six end at 99.9999 %.
func HGRM(w io.Writer, d *Distribution) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%12s %14s %10s %14s\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)")
	for _, at := range d.Histogram.CumulativeDistributionWithTicks(ticks) {
		us, quantile := min(float64(at.ValueAt)/1e3, d.Latency.Max), at.Quantile/100
		if quantile >= 1 {
			fmt.Fprintf(&b, "%12.3f %2.12f %10d\n", us, quantile, at.Count)
			break
		}
		fmt.Fprintf(&b, "%12.3f %2.12f %10d %14.2f\n", us, quantile, at.Count, 1/(1-quantile))
	}
	fmt.Fprintf(&b, "#[Mean    = %12.3f, StdDeviation   = %12.3f]\n", d.Latency.Mean, d.Latency.StdDev)
	fmt.Fprintf(&b, "#[Max     = %12.3f, Total count    = %12d]\n", d.Latency.Max, d.Latency.Count)
	_, err := io.WriteString(w, b.String())
	return err
}

// HLog writes a histogram log, format version 1.3, which HdrHistogram's HistogramLogProcessor and HistogramLogAnalyzer read: a line for each round and
// kind of time, tagged with its name as in [Distribution]. Rounds stand one after the other in the order in which they ran, each as long as it was measured; what went
// between them, set-up and warm-up, takes no time there. The longest time of each, the third field, is in milliseconds, as the format has it.
func HLog(w io.Writer, r *result.Report) error {
	log := hdrhistogram.NewHistogramLogWriter(w)
	start, err := time.Parse(time.RFC3339, r.Machine.Date)
	if err != nil {
		start = time.Unix(0, 0)
	}
	base := start.UnixMilli()
	steps := []func() error{
		func() error {
			return log.OutputComment(fmt.Sprintf("[fastrpc bench, workload %s, revision %s]", r.Run.Workload, r.Machine.Revision))
		},
		log.OutputLogFormatVersion,
		func() error { return log.OutputStartTime(base) },
		func() error { return log.OutputBaseTime(base) },
		log.OutputLegend,
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	log.SetBaseTime(base)
	now := float64(base)
	for _, one := range inTurn(r) {
		end := now + 1e3*one.round.Seconds
		for _, k := range kinds() {
			l := k.of(one.round)
			if l == nil {
				continue
			}
			h, err := l.Decode()
			if err != nil {
				return fmt.Errorf("round %d of %s: %w", one.round.Number, one.res.System, err)
			}
			h.SetTag(distributionName(r, one.res) + k.suffix)
			h.SetStartTimeMs(int64(math.Round(now)))
			h.SetEndTimeMs(int64(math.Round(end)))
			if err := log.OutputIntervalHistogram(h); err != nil {
				return err
			}
		}
		now = end
	}
	return nil
}

// turn is a round of a result.
type turn struct {
	res   *result.Result
	round *result.Round
}

// inTurn gives the rounds in the order in which they ran.
func inTurn(r *result.Report) []turn {
	var out []turn
	for i := range r.Results {
		for j := range r.Results[i].Rounds {
			out = append(out, turn{&r.Results[i], &r.Results[i].Rounds[j]})
		}
	}
	slices.SortStableFunc(out, func(a, b turn) int {
		return cmp.Or(cmp.Compare(a.round.Number, b.round.Number), cmp.Compare(a.round.Place, b.round.Place))
	})
	return out
}
