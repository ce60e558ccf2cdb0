package bench

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/fastrpc/fastrpc/bench/result"
	"github.com/fastrpc/fastrpc/bench/stamp"
)

// What a user runs, small: in a lab as root, over loopback otherwise. Each system's stages have their names and their order, and whose code
// ran in them is told where stamps tell it.
func TestAnatomy(t *testing.T) {
	systems := []string{"ring", "xdp", "xdp-worker", "udp", "net-tcp"}
	r, err := Compare(t.Context(), Config{Workload: Anatomy, Systems: systems, Requests: 400, Rounds: 2, Child: childCommand(t)})
	if err != nil {
		t.Fatal(err)
	}
	noLab(t)
	const session, tx, wire, rx, handler, application = result.StageSession, result.StageTX, result.StageWire, result.StageRX, result.StageHandler,
		result.StageApplication
	raw, calls := []string{tx, wire, rx, handler, tx, wire, rx, application}, []string{session, tx, wire, rx, session, handler, session, tx, wire, rx, session, application}
	want := map[string]struct {
		stages []string
		untold []string // whose kernel's part is not told
	}{
		"ring": {raw, nil}, "xdp": {calls, nil}, "xdp-worker": {calls, nil}, "udp": {calls, []string{rx}},
		"net-tcp": {raw, []string{tx, rx}},
	}
	for i := range r.Results {
		res := &r.Results[i]
		if s, _ := Lookup(res.System); missingCapabilities() != "" && s.Bypass() {
			continue
		}
		if res.Error != "" || len(res.Rounds) != 2 {
			t.Errorf("%s: %d rounds, %s", res.System, len(res.Rounds), res.Error)
			continue
		}
		for _, round := range res.Rounds {
			if l := round.Parts[result.PartUnstamped]; l == nil || l.Count != 402 || round.Latency == nil || round.Latency.Count != 400 || round.Unclear > 200 {
				t.Errorf("%s: %d unclear, latency %+v, without stamps %+v", res.System, round.Unclear, round.Latency, l)
			}
			if missingCapabilities() != "" { // without the kernel's stamps stages are missing
				continue
			}
			var names []string
			for _, s := range round.Stages {
				names = append(names, s.Name)
				if told := s.KernelP50 != nil; told == slices.Contains(want[res.System].untold, s.Name) {
					t.Errorf("%s: %+v: the kernel's part", res.System, s)
				}
				if s.P50 < 0 || s.P50 > s.P99 || s.KernelP50 != nil && (*s.KernelP50 < 0 || *s.KernelP50 > s.P99) {
					t.Errorf("%s: implausible %+v", res.System, s)
				}
			}
			if !slices.Equal(names, want[res.System].stages) {
				t.Errorf("%s: stages %v, want %v", res.System, names, want[res.System].stages)
			}
		}
	}
	if missingCapabilities() == "" && len(r.Notes) != 0 {
		t.Errorf("notes %q: want that all is stamped", r.Notes)
	}
}

func TestStageOf(t *testing.T) {
	s := stamp.Span{Name: "a", Side: "b", Kernel: []int64{0}}
	for ns := range int64(100) {
		s.Ns = append(s.Ns, 1000*(100-ns))
	}
	got := stageOf(&s)
	if got.Name != "a" || got.Side != "b" || got.P50 != 50 || got.P99 != 99 || math.Abs(got.Mean-50.5) > 1e-9 || got.KernelP50 == nil || *got.KernelP50 != 0 {
		t.Errorf("%+v", got)
	}
	s.Kernel = nil
	if got = stageOf(&s); got.KernelP50 != nil {
		t.Errorf("%+v: the kernel's part was not stamped", got)
	}
}

func TestAnatomyConfig(t *testing.T) {
	for name, c := range map[string]Config{
		"too many calls":      {Requests: MaxAnatomyCalls + 1},
		"no room for numbers": {Size: MinAnatomy - 1},
		"no single packet":    {Size: MaxSize + 1},
		"several calls":       {Outstanding: 2},
		"a duration":          {Duration: 1e9},
	} {
		c.Workload, c.Systems, c.Rounds, c.Child = Anatomy, []string{"udp"}, 1, []string{"x"}
		if err := c.check(); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if names := AnatomySystems(); !slices.Contains(names, "xdp") || slices.Contains(names, "spin-tcp") {
		t.Error(names)
	}
}

// Two machines' clocks cannot be compared: the wire is known there and back only.
func TestAnatomyOnTwoMachines(t *testing.T) {
	addr, _ := startAgent(t)
	c := withAgent(t, addr, "udp", "net-tcp")
	c.Workload = Anatomy
	r, err := Compare(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	for i := range r.Results {
		res := &r.Results[i]
		if res.Error != "" || len(res.Rounds) != 2 {
			t.Fatalf("%s: %d rounds, %s", res.System, len(res.Rounds), res.Error)
		}
		for _, round := range res.Rounds {
			var wire []result.Stage
			for _, s := range round.Stages {
				if s.Name == result.StageWire {
					wire = append(wire, s)
				}
			}
			if len(wire) != 2 || math.Abs(wire[0].P50-wire[1].P50) > 0.0011 || wire[0].P50 <= 0 || wire[0].KernelP50 != nil {
				t.Errorf("%s: on the wire %+v, want the same there and back", res.System, wire)
			}
		}
	}
	if len(r.Notes) != 2 || !strings.Contains(r.Notes[0], "clocks") {
		t.Errorf("notes %q", r.Notes)
	}
}
