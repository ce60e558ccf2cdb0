package page

import (
	"math"
	"strconv"
	"strings"
)

// A format says a number with its unit, for people. Numbers that are none (NaN, infinite) are a dash.
type format func(float64) string

const dash = "–"

// microseconds says a time that is given in them: 250 ns, 5.30 µs, 61.2 µs, 1.46 ms, 2.50 s.
func microseconds(v float64) string {
	switch a := math.Abs(v); {
	case !finite(v):
		return dash
	case a == 0:
		return "0 µs"
	case a < 0.0995:
		return significant(v*1e3) + " ns"
	case a < 999.5:
		return significant(v) + " µs"
	case a < 999.5e3:
		return significant(v/1e3) + " ms"
	default:
		return significant(v/1e6) + " s"
	}
}

// perSecond says a rate: 950/s, 178 k/s, 2.38 M/s.
func perSecond(v float64) string {
	if !finite(v) {
		return dash
	}
	return thousands(v) + "/s"
}

// thousands says a count in three figures: 950, 178 k, 2.38 M.
func thousands(v float64) string {
	switch a := math.Abs(v); {
	case !finite(v):
		return dash
	case a < 999.5:
		return significant(v)
	case a < 999.5e3:
		return significant(v/1e3) + " k"
	case a < 999.5e6:
		return significant(v/1e6) + " M"
	default:
		return significant(v/1e9) + " G"
	}
}

func gbit(v float64) string {
	if !finite(v) {
		return dash
	}
	return significant(v) + " Gbit/s"
}

// byteSize says a size in binary units: 64 B, 1 KiB, 8 MiB.
func byteSize(v float64) string {
	switch a := math.Abs(v); {
	case !finite(v):
		return dash
	case a < 1<<10:
		return short(v) + " B"
	case a < 1<<20:
		return short(v/(1<<10)) + " KiB"
	case a < 1<<30:
		return short(v/(1<<20)) + " MiB"
	default:
		return short(v/(1<<30)) + " GiB"
	}
}

// share says a fraction of one as a percentage.
func share(v float64) string {
	if !finite(v) {
		return dash
	}
	return short(v*100) + " %"
}

// milliseconds says a time that is given in them.
func milliseconds(v float64) string { return trim(microseconds(v * 1e3)) }

// count says a whole number with its thousands apart: 1,234,567.
func count(v float64) string {
	if !finite(v) || math.Abs(v) >= 1<<63 {
		return dash
	}
	s := strconv.FormatInt(int64(math.Round(v)), 10)
	digits, sign := strings.TrimPrefix(s, "-"), ""
	if len(digits) < len(s) {
		sign = "-"
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

// ratio says how many times: 0.72×, 11.5×, 340×.
func ratio(v float64) string {
	if finite(v) && v >= 0.005 && v < 0.9995 {
		return strconv.FormatFloat(v, 'f', 2, 64) + "×"
	}
	return significant(v) + "×"
}

// percent says a number of hundredths.
func percent(v float64) string {
	if !finite(v) {
		return dash
	}
	return significant(v) + " %"
}

// significant gives three significant figures; whole numbers beyond a thousand stay whole.
func significant(v float64) string {
	switch a := math.Abs(v); {
	case !finite(v):
		return dash
	case a == 0:
		return "0"
	case a >= 99.95:
		return count(v)
	case a >= 9.995:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case a >= 0.9995:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case a >= 0.001:
		return strconv.FormatFloat(v, 'f', 3, 64)
	default:
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
}

// short gives at most three significant figures, without zeros at the end.
func short(v float64) string { return trim(significant(v)) }

// trim takes the zeros off the end of the decimal fraction that a text begins with.
func trim(s string) string {
	end := len(s) - len(strings.TrimLeft(s, "-0123456789."))
	if number := s[:end]; strings.Contains(number, ".") && !strings.HasPrefix(s[end:], "e") {
		return strings.TrimRight(strings.TrimRight(number, "0"), ".") + s[end:]
	}
	return s
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

var nan = math.NaN()
