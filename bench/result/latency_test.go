package result

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// latencyOf makes a latency of so many calls of each duration.
func latencyOf(times map[time.Duration]int64) *Latency {
	h, longest := NewHistogram(), time.Duration(0)
	for d, n := range times {
		_ = h.RecordValues(int64(d), n)
		longest = max(longest, d)
	}
	return NewLatency(h, longest)
}

// Each percentile has a value of its own: everything about them is known.
func TestLatencyOfKnownValues(t *testing.T) {
	us := time.Microsecond
	l := latencyOf(map[time.Duration]int64{2 * us: 800000, 3 * us: 180000, 5 * us: 18000, 11 * us: 1800, 23 * us: 180, 47 * us: 18, 10000 * us: 2})
	mean := (1.6e6 + 5.4e5 + 9e4 + 19800 + 4140 + 846 + 20000) / 1e6
	square := (4*8e5 + 9*1.8e5 + 25*18000 + 121*1800 + 529*180 + 2209*18 + 2e8) / 1e6
	for _, c := range []struct {
		name      string
		got, want float64
	}{
		{"p50", l.P50, 2}, {"p90", l.P90, 3}, {"p99", l.P99, 5}, {"p99.9", l.P999, 11}, {"p99.99", l.P9999, 23}, {"p99.999", l.P99999, 47},
		{"mean", l.Mean, mean}, {"stddev", l.StdDev, math.Sqrt(square - mean*mean)},
	} {
		if math.Abs(c.got-c.want) > 0.001*c.want {
			t.Errorf("%s is %v, want %v", c.name, c.got, c.want)
		}
	}
	if l.Count != 1e6 || l.Max != 10000 {
		t.Errorf("%d calls, longest %v", l.Count, l.Max)
	}
	if got := NewLatency(NewHistogram(), 0); got != nil {
		t.Errorf("of nothing: %+v", got)
	}
}

func TestMerge(t *testing.T) {
	r := Result{System: "xdp", Rounds: []Round{
		{Number: 1, Latency: latencyOf(map[time.Duration]int64{1000: 600}), Parts: map[string]*Latency{"first": latencyOf(map[time.Duration]int64{7: 1})}},
		{Number: 2},
		{Number: 3, Latency: latencyOf(map[time.Duration]int64{3000: 399, 2 * time.Hour: 0, 5 * time.Millisecond: 1})},
	}}
	r.Rounds[2].Latency.Max = 123456.789 // exact, where the histogram has a cell
	h, l, err := r.Merge(OfCalls)
	if err != nil {
		t.Fatal(err)
	}
	if h.TotalCount() != 1000 || l.Count != 1000 || l.P50 != 1 || math.Abs(l.P90-3) > 0.003 || math.Abs(l.P9999-5000) > 5 || l.Max != 123456.789 {
		t.Errorf("%d values, %+v", h.TotalCount(), l)
	}
	if _, l, err := r.Merge(OfPart("first")); err != nil || l.Count != 1 || l.P50 != 0.007 {
		t.Errorf("%+v, %v", l, err)
	}
	if h, l, err := r.Merge(OfUncorrected); h != nil || l != nil || err != nil {
		t.Errorf("of nothing: %v, %v, %v", h, l, err)
	}
	for _, bad := range []string{"", "x", "HISTFAAAAB54", strings.Repeat("A", maxEncoded+1)} {
		r.Rounds[2].Latency.Histogram = bad
		if _, _, err := r.Merge(OfCalls); err == nil || !strings.Contains(err.Error(), "round 3 of xdp") {
			t.Errorf("histogram %.20q: %v", bad, err)
		}
	}
}

func TestSaveAndLoad(t *testing.T) {
	retransmissions, instructions := uint64(0), 12.5
	want := &Report{
		Schema: Schema, Machine: Machine{CPU: "x", NIC: NIC{Driver: "veth", NUMANode: -1}, Advice: []string{"isolate CPU 1"}}, Server: &Machine{CPU: "y"},
		Run: Run{Workload: "sweep", Axis: AxisRPS, Systems: []string{"xdp"}, Rounds: 1, Seed: math.MaxUint64, Seconds: 1.5},
		Results: []Result{
			{System: "xdp", Point: Point{Size: 64, RPS: 1e5, Arrivals: "poisson"}, Rounds: []Round{{
				Number: 1, Place: 2, Ops: 3, Latency: latencyOf(map[time.Duration]int64{5: 2}), Uncorrected: latencyOf(map[time.Duration]int64{4: 2}),
				Parts: map[string]*Latency{"dial": latencyOf(map[time.Duration]int64{9: 1})}, Stages: []Stage{{Name: "wire", Side: "wire", P50: 1}},
				Client: Use{Calls: 3, Instructions: &instructions}, Network: Network{Retransmissions: &retransmissions, Drops: map[string]uint64{"ring full": 2}},
			}}},
			{System: "grpc", Rounds: []Round{}, Absent: true, Error: "not built"},
		},
		Notes: []string{"n"}, Interrupted: "by a signal",
	}
	name := filepath.Join(t.TempDir(), "r.json")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(want.Write(f), f.Close()); err != nil {
		t.Fatal(err)
	}
	got, err := Load(name)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if _, err := Load(name + "x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestReadRefuses(t *testing.T) {
	for _, c := range []struct {
		text string
		want error
		says string
	}{
		{"", ErrForm, ""},
		{"hello", ErrForm, ""},
		{"[]", ErrForm, ""},
		{`{"schema":1}`, ErrForm, "no results"},
		{`{"results":[]}`, ErrSchema, "measure again"},
		{`{"schema":2,"results":[]}`, ErrSchema, "has schema 2, this program reads 1"},
		{`{"schema":1,"results":[{"rounds":7}]}`, ErrForm, "rounds"},
		{`{"schema":1,"results":[]} x`, ErrForm, ""},
	} {
		if _, err := Read(strings.NewReader(c.text)); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.text, err)
		}
	}
	if _, err := Read(strings.NewReader(`{"schema":1,"results":[],"later":{"a":1}}`)); err != nil {
		t.Errorf("with a field of a later version: %v", err)
	}
	if _, err := read(endless{}, 1000); !errors.Is(err, ErrTooLarge) {
		t.Errorf("without an end: %v", err)
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }
