package page

import (
	"math"
	"testing"
)

// TestNumbers says numbers as people do, and none that is none.
func TestNumbers(t *testing.T) {
	for _, test := range []struct{ got, want string }{
		{microseconds(0), "0 µs"}, {microseconds(0.05), "50.0 ns"}, {microseconds(0.106), "0.106 µs"}, {microseconds(5.3), "5.30 µs"}, {microseconds(61.24), "61.2 µs"},
		{microseconds(146.3), "146 µs"}, {microseconds(999.6), "1.00 ms"}, {microseconds(1457), "1.46 ms"}, {microseconds(2.5e6), "2.50 s"}, {microseconds(2e9), "2,000 s"},
		{microseconds(math.NaN()), "–"}, {microseconds(math.Inf(1)), "–"},
		{perSecond(950), "950/s"}, {perSecond(178726), "179 k/s"}, {perSecond(2.381e6), "2.38 M/s"}, {trim(perSecond(10)), "10/s"}, {trim(perSecond(1e5)), "100 k/s"}, {trim(perSecond(2e6)), "2 M/s"},
		{byteSize(64), "64 B"}, {byteSize(1024), "1 KiB"}, {byteSize(1500), "1.46 KiB"}, {byteSize(8 << 20), "8 MiB"},
		{share(0.001), "0.1 %"}, {share(0), "0 %"}, {milliseconds(0.5), "500 µs"}, {milliseconds(100), "100 ms"},
		{ratio(0.716), "0.72×"}, {ratio(1), "1.00×"}, {ratio(0.9999), "1.00×"}, {ratio(11.52), "11.5×"}, {ratio(0.0012), "0.001×"}, {ratio(340.4), "340×"}, {ratio(math.NaN()), "–×"},
		{count(1234567), "1,234,567"}, {count(-1234), "-1,234"}, {count(-123), "-123"}, {count(999.6), "1,000"},
		{percentile(0), "p0"}, {percentile(.5), "p50"}, {percentile(.9), "p90"}, {percentile(.99), "p99"}, {percentile(.9987), "p99.87"}, {percentile(.99998), "p99.998"}, {percentile(1), "p100"},
		{trim("1.50 ms"), "1.5 ms"}, {trim("100 µs"), "100 µs"}, {trim("2.00e-07"), "2.00e-07"}, {trim("–"), "–"},
	} {
		if test.got != test.want {
			t.Errorf("%q, not %q", test.got, test.want)
		}
	}
}

// TestScales puts values where they belong, and labels at round numbers.
func TestScales(t *testing.T) {
	labels := func(s scale) (out string) {
		for _, t := range s.ticks {
			if t.label != "" {
				out += t.label + "|"
			}
		}
		return out
	}
	log := logOver([]float64{5.3, 61, 0, math.NaN(), -1}, microseconds)
	lossy := logAt([]float64{0, .001, .1}, share)
	for _, test := range []struct{ got, want any }{
		{labels(linearFromZero(61, microseconds)), "0 µs|20 µs|40 µs|60 µs|80 µs|"},
		{labels(linearFromZero(0, microseconds)), "0 µs|0.2 µs|0.4 µs|0.6 µs|0.8 µs|1 µs|"},
		{labels(log), "5 µs|10 µs|20 µs|50 µs|100 µs|"},
		{labels(logOver([]float64{5, 5000}, microseconds)), "10 µs|100 µs|1 ms|"},
		{labels(logOver(nil, microseconds)), "1 µs|2 µs|5 µs|10 µs|"},
		{labels(lossy), "0 %|0.1 %|10 %|"},
		{labels(ninesTo(100000)), "0 %|50 %|90 %|99 %|99.9 %|99.99 %|99.999 %|"},
		{log.at(5), 0.0}, {math.Round(log.at(100) * 1e6), 1e6}, {log.at(1e9), 1.0}, {log.at(0), 0.0},
		{lossy.at(0), 0.0}, {lossy.at(.001), zeroStep}, {math.Round(lossy.at(.1) * 1e6), 1e6},
		{ninesTo(1e4).at(0), 0.0}, {math.Round(ninesTo(1e4).at(.9) * 1e6), 250000.0}, {math.Round(ninesTo(1e4).at(.999) * 1e6), 750000.0},
	} {
		if test.got != test.want {
			t.Errorf("%v, not %v", test.got, test.want)
		}
	}
}

// TestSpread keeps labels a line apart, near their place, in order, and inside.
func TestSpread(t *testing.T) {
	want := []float64{100, 101, 102, 10, 300, 299, 300}
	got := spread(want, 0, 300)
	for i, a := range got {
		if a < 0 || a > 300+1e-9 {
			t.Errorf("%v leaves the drawing", a)
		}
		for j, b := range got {
			if i != j && math.Abs(a-b) < lineStep-1e-9 {
				t.Errorf("%v and %v touch", a, b)
			}
			if want[i] < want[j] && a > b {
				t.Errorf("%v and %v have changed places", a, b)
			}
		}
	}
	if got[3] != 10 || math.Abs(got[1]-101) > 1e-9 {
		t.Errorf("moved without need: %v", got)
	}
}
