package text

import (
	"fmt"
	"math"
	"strings"

	"github.com/fastrpc/fastrpc/bench/result"
)

// How the drawing of a round trip tells whose code runs.
const (
	anatomyWidth = 60 // columns of a whole round trip
	ownCode      = "█"
	kernelCode   = "▒"
	eitherCode   = "░"
)

// anatomies draws a round trip of each system that has stages: time runs from left to right, a line for each stage.
func anatomies(b *strings.Builder, r *result.Report) {
	drawn := false
	for i := range r.Results {
		res := &r.Results[i]
		stages := res.MedianStages()
		if len(stages) == 0 {
			continue
		}
		drawn = true
		anatomy(b, res, stages)
	}
	if drawn {
		fmt.Fprintf(b, "\n%s the process's own code  %s the kernel's  %s both, or the way between two machines: the stamps do not tell\n",
			ownCode, kernelCode, eitherCode)
		b.WriteString("The medians of the stages add up to the median of the round trip only about.\n")
	}
}

func anatomy(b *strings.Builder, res *result.Result, stages []result.Stage) {
	stamped, plain := res.Median(result.P50), res.Median(result.Part(result.PartUnstamped, result.P50))
	fmt.Fprintf(b, "\n%s: %s µs", res.System, number(stamped))
	switch {
	case stamped > plain:
		fmt.Fprintf(b, ", and %s without stamps: they cost %s µs a round trip", number(plain), number(stamped-plain))
	case stamped <= plain:
		fmt.Fprintf(b, ", and %s without stamps: what they cost does not show beside other differences", number(plain))
	}
	var unclear int64
	for i := range res.Rounds {
		unclear += res.Rounds[i].Unclear
	}
	if unclear > 0 {
		fmt.Fprintf(b, "; %s left out, whose stamps were unclear", plural(int(unclear), "call"))
	}
	fmt.Fprintf(b, "\n  %-7s %-18s %7s %7s %7s\n", "side", "stage", "p50", "p99", "kernel")
	var total, from float64
	for _, s := range stages {
		total += s.P50
	}
	for _, s := range stages {
		share := "-"
		if s.KernelP50 != nil && s.P50 > 0 {
			share = fmt.Sprintf("%.0f %%", 100**s.KernelP50/s.P50)
		}
		fmt.Fprintf(b, "  %-7s %-18s %7s %7s %7s  %s\n", s.Side, s.Name, number(s.P50), number(s.P99), share, stageBar(&s, from, total))
		from += s.P50
	}
}

// stageBar draws a stage from its begin to its end, the process's own part first.
func stageBar(s *result.Stage, from, total float64) string {
	column := func(at float64) int { return int(math.Round(at / max(total, 1e-9) * anatomyWidth)) }
	begin, end := column(from), column(from+s.P50)
	end = min(max(end, begin+1), anatomyWidth)
	begin = min(begin, end-1)
	if s.KernelP50 == nil {
		return strings.Repeat(" ", begin) + strings.Repeat(eitherCode, end-begin)
	}
	kernel := 0
	if s.P50 > 0 {
		kernel = int(math.Round(float64(end-begin) * min(*s.KernelP50/s.P50, 1)))
	}
	own, kernels := strings.Repeat(ownCode, end-begin-kernel), strings.Repeat(kernelCode, kernel)
	if s.Name == result.StageRX {
		own, kernels = kernels, own // it comes from the kernel
	}
	return strings.Repeat(" ", begin) + own + kernels
}
