package text

import (
	"bytes"
	"errors"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/fastrpc/fastrpc/bench/result"
)

func screen(t *testing.T, r *result.Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := Screen(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestScreens(t *testing.T) {
	size := func(n int) result.Point { return result.Point{Size: n, Outstanding: 1} }
	var rates, loads, pauses []result.Point
	for i := range 14 {
		rates = append(rates, result.Point{Size: 64, RPS: 1e4 * float64(i+1), Arrivals: "poisson"})
	}
	for _, load := range []float64{0.1, 0.5, 1, 1.1} {
		loads = append(loads, result.Point{Size: 64, Load: load, Outstanding: 64, Arrivals: "poisson"})
	}
	for _, ms := range []float64{0.1, 1, 10} {
		pauses = append(pauses, result.Point{Size: 64, PauseMs: ms})
	}
	spoilt := sample()
	spoilt.Machine.StealPercent, spoilt.Results[1].Rounds[2].Steal = 3.25, 17
	spoilt.Results[1].Rounds[2].Seconds = 2 // in which steal is no matter of rounding
	spoilt.Machine.Advice = []string{"governor: performance", "isolate CPU 1", "C-states", "mitigations", "SMT"}
	server := machineOf("Other CPU")
	spoilt.Server, spoilt.Interrupted = &server, "by a signal, in round 5"
	spoilt.Results[1].Rounds = spoilt.Results[1].Rounds[:4]
	for name, r := range map[string]*result.Report{
		"latency":   sample(),
		"spoilt":    spoilt,
		"anatomy":   stamped(),
		"rate":      loaded("rate", result.Point{Size: 64, Outstanding: 32}, 0),
		"bulk":      loaded("bulk", result.Point{Size: 8 << 20, Outstanding: 1}, 1e-5),
		"flood":     loaded("flood", result.Point{Size: 64}, 1e-6),
		"open":      along("open", result.AxisRPS, rates[4]),
		"rates":     along("open", result.AxisRPS, rates...),
		"sweep":     along("sweep", result.AxisLoad, loads...),
		"mixed":     along("mixed", result.AxisNone, size(64)),
		"churn":     along("churn", result.AxisNone, size(64)),
		"sizes":     along("sizes", result.AxisSize, size(64), size(1500), size(1<<20)),
		"idle":      along("idle", result.AxisPause, pauses...),
		"unheardof": along("unheardof", result.AxisNone, size(64)),
	} {
		text := screen(t, r)
		golden(t, name+".txt", []byte(text))
		for line := range strings.Lines(text) {
			if n := utf8.RuneCountInString(line); n > 170 {
				t.Errorf("%s: a line of %d characters: %s", name, n, line)
			}
		}
	}
}

// A system's knee is the last load that it carried; one that carried all, or none, says so.
func TestKnees(t *testing.T) {
	var loads []result.Point
	for _, load := range []float64{0.1, 0.5, 1} {
		loads = append(loads, result.Point{Load: load})
	}
	r := along("sweep", result.AxisLoad, loads...)
	for i := range r.Results {
		res := &r.Results[i]
		for j := range res.Rounds {
			round := &res.Rounds[j]
			round.Offered = 1000 * res.Point.Load
			round.PerSec = round.Offered
			if res.System == "net-tcp" && res.Point.Load > 0.5 {
				round.PerSec *= 0.9
			}
		}
	}
	for i := range r.Results {
		if r.Results[i].System == "ring" { // which ends early
			r.Results[i].Rounds = nil
		}
	}
	if text := screen(t, r); !strings.Contains(text, "of which 95 % still ended: xdp not reached at 1000/s, net-tcp 500.0/s (50 %)\n") {
		t.Error(text)
	}
	for i := range r.Results {
		for j := range r.Results[i].Rounds {
			r.Results[i].Rounds[j].PerSec /= 2
		}
	}
	if text := screen(t, r); !strings.Contains(text, "ended: xdp below 100.0/s, net-tcp below 100.0/s\n") {
		t.Error(text)
	}
}

// Who is better stands above, also where that is somebody else than the project's own.
func TestBestIsFirst(t *testing.T) {
	r := sample()
	r.Results[0].Rounds = roundsOf(1, 0, 5)
	text := screen(t, r)
	if tcp, xdp, udp := strings.Index(text, "  net-tcp "), strings.Index(text, "  xdp "), strings.Index(text, "  udp "); tcp < 0 || tcp > xdp || xdp > udp {
		t.Errorf("net-tcp at %d, xdp at %d, udp at %d:\n%s", tcp, xdp, udp, text)
	}
}

// Without the systems that the ratios refer to there is no ratio, rather than a wrong one; and none to rounds that the other has not.
func TestRatioWithoutReference(t *testing.T) {
	r := sample()
	r.Results = r.Results[1:2]
	if text := screen(t, r); strings.Contains(text, "/net-tcp") || strings.Contains(text, "/ring") {
		t.Error(text)
	}
	r = sample()
	r.Results[0].Rounds = r.Results[0].Rounds[2:]
	r.Results[2].Rounds = nil
	if text := screen(t, r); !regexp.MustCompile(`(?m)^ *udp .* -$`).MatchString(text) || strings.Contains(text, "p50/ring") {
		t.Error(text)
	}
}

func TestScreenOfNothing(t *testing.T) {
	if text := screen(t, &result.Report{}); !strings.Contains(text, "unknown") {
		t.Error(text)
	}
	for name := range layouts {
		r := sample()
		r.Run.Workload = name
		for i := range r.Results {
			r.Results[i].Rounds = nil
		}
		if text := screen(t, r); !strings.Contains(text, "grpc: missing: fastrpc-peers is not built") {
			t.Errorf("%s: %s", name, text)
		}
	}
}

type full struct{}

var errFull = errors.New("no space left on device")

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestScreenCannotWrite(t *testing.T) {
	if err := Screen(full{}, sample()); !errors.Is(err, errFull) {
		t.Error(err)
	}
}
