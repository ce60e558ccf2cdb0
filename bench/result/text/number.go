package text

import (
	"fmt"
	"math"
	"strconv"

	"github.com/fastrpc/fastrpc/bench/result"
)

// number shows three figures or more of x, and none that is noise beside them; "-" for NaN.
func number(x float64) string {
	switch a := math.Abs(x); {
	case math.IsNaN(x):
		return "-"
	case a == 0:
		return "0"
	case a < 10:
		return strconv.FormatFloat(x, 'f', 3, 64)
	case a < 100:
		return strconv.FormatFloat(x, 'f', 2, 64)
	case a < 1000:
		return strconv.FormatFloat(x, 'f', 1, 64)
	}
	return strconv.FormatFloat(x, 'f', 0, 64)
}

// ratio shows three figures of a ratio, and where it lies.
func ratio(e result.Estimate) string {
	text := three(e.Value)
	if e.Interval() {
		text += fmt.Sprintf(" (%s–%s)", three(e.Low), three(e.High))
	}
	return text
}

// three shows three significant figures.
func three(x float64) string {
	switch {
	case math.IsNaN(x):
		return "-"
	case x == 0:
		return "0"
	}
	decimals := min(max(2-int(math.Floor(math.Log10(math.Abs(x)))), 0), 6)
	return strconv.FormatFloat(x, 'f', decimals, 64)
}

// size shows a payload.
func size(n int) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<10 && n%(1<<10) == 0:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}

// OnAxis shows where a point stands on an axis.
func OnAxis(axis result.Axis, p result.Point) string {
	switch axis {
	case result.AxisRPS:
		return strconv.FormatFloat(math.Round(p.RPS), 'f', -1, 64) + "/s"
	case result.AxisLoad:
		return strconv.FormatFloat(100*p.Load, 'g', 4, 64) + " %"
	case result.AxisSize:
		return size(p.Size)
	case result.AxisSessions:
		return strconv.Itoa(p.Sessions)
	case result.AxisSenders:
		return strconv.Itoa(p.Senders)
	case result.AxisLoss:
		return strconv.FormatFloat(100*p.Loss, 'g', 4, 64) + " %"
	case result.AxisPause:
		return strconv.FormatFloat(p.PauseMs, 'g', 6, 64) + " ms"
	}
	return ""
}
