package text

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/fastrpc/fastrpc/bench/result"
)

// writeTo gives what a form writes, and checks that it tells of a full disk.
func writeTo(t *testing.T, write func(w *bytes.Buffer) error, toFull error) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(toFull, errFull) {
		t.Errorf("to a full disk: %v", toFull)
	}
	return b.Bytes()
}

// A report of a workload with an axis, drops, parts and the times from when calls were sent.
func rich() *result.Report {
	r := along("idle", result.AxisPause, result.Point{Size: 64, PauseMs: 0.5}, result.Point{Size: 64, PauseMs: 10})
	two, instructions := uint64(2), 1234.5
	n := &r.Results[0].Rounds[0].Network
	n.Sent, n.Retransmissions, n.Drops = 2000, &two, map[string]uint64{"ring full": 3, "no route": 1}
	r.Results[0].Rounds[1].Client.Instructions = &instructions
	return r
}

// The columns are a promise to other programs: new ones are welcome, those that are there stay.
func TestCSV(t *testing.T) {
	r := rich()
	text := writeTo(t, func(w *bytes.Buffer) error { return CSV(w, r) }, CSV(full{}, r))
	golden(t, "idle.csv", text)
	lines, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	at := func(line int, column string) string {
		i := slices.Index(lines[0], column)
		if i < 0 {
			t.Fatalf("no column %s", column)
		}
		return lines[line][i]
	}
	rounds := 0
	for _, res := range r.Results {
		rounds += len(res.Rounds)
	}
	if len(lines) != 1+rounds {
		t.Fatalf("%d lines of %d rounds", len(lines), rounds)
	}
	for column, want := range map[string]string{
		"workload": "idle", "system": "net-tcp", "point.pause_ms": "0.5", "point.rps": "", "round": "1", "latency.p50_us": number(r.Results[0].Rounds[0].Latency.P50),
		"uncorrected.p50_us": "1", "parts.first.max_us": "700", "parts.dial.p50_us": "", "client.calls": "1000", "client.instructions": "",
		"network.sent_packets": "2000", "network.retransmissions": "2", "network.drops": "no route=1 ring full=3", "steal_percent": "0.1",
	} {
		if got := at(1, column); got != want && !(strings.HasSuffix(column, "p50_us") && near(got, want)) {
			t.Errorf("%s is %q, want %q", column, got, want)
		}
	}
	if at(2, "client.instructions") != "1234.5" || at(2, "network.retransmissions") != "" {
		t.Errorf("%q, %q", at(2, "client.instructions"), at(2, "network.retransmissions"))
	}
	for _, name := range lines[0] {
		if strings.Contains(name, "histogram") || slices.Index(lines[0], name) != slices.Index(lines[0], strings.ToLower(name)) {
			t.Errorf("column %s", name)
		}
	}
	other := loaded("flood", result.Point{Size: 64}, 1)
	if head, _, _ := strings.Cut(string(writeTo(t, func(w *bytes.Buffer) error { return CSV(w, other) }, errFull)), "\n"); head != strings.Join(lines[0], ",") {
		t.Errorf("another workload has other columns: %s", head)
	}
}

func near(a, b string) bool {
	x, err1 := strconv.ParseFloat(a, 64)
	y, err2 := strconv.ParseFloat(b, 64)
	return err1 == nil && err2 == nil && math.Abs(x-y) <= 0.001*y
}

// What HdrHistogram's plotter (GoogleChartsExample/plotFiles.html) takes from a line: it cuts at spaces, passes over comments and lines without four
// fields, and needs numbers in the first and the last. It does not look at the third, the calls so far.
func plotted(text string) (values, calls, inverse []float64) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		fields := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' })
		if strings.HasPrefix(line, "#") || len(fields) != 4 {
			continue
		}
		y, err1 := strconv.ParseFloat(fields[0], 64)
		x, err2 := strconv.ParseFloat(fields[3], 64)
		if n, err := strconv.ParseFloat(fields[2], 64); err1 == nil && err2 == nil && err == nil {
			values, calls, inverse = append(values, y), append(calls, n), append(inverse, x)
		}
	}
	return values, calls, inverse
}

func TestHGRM(t *testing.T) {
	all, err := Distributions(sample())
	if err != nil || len(all) != 4 || all[1].Name != "xdp" {
		t.Fatalf("%d distributions, %v", len(all), err)
	}
	d := &all[1]
	text := writeTo(t, func(w *bytes.Buffer) error { return HGRM(w, d) }, HGRM(full{}, d))
	golden(t, "xdp.hgrm", text)
	values, calls, inverse := plotted(string(text))
	if len(values) < 20 || !slices.IsSorted(values) || !slices.IsSorted(inverse) || inverse[0] != 1 {
		t.Fatalf("the plotter sees %v at %v", values, inverse)
	}
	// Of every point, as many calls as it says took as long at most, and they are the share that it stands for, or more.
	for i := range values {
		share := calls[i] / float64(d.Latency.Count)
		want := min(float64(d.Histogram.ValueAtPercentile(100*share))/1e3, d.Latency.Max)
		if math.Abs(values[i]-want) > 0.001 || share < 1-1/inverse[i]-1e-4 {
			t.Errorf("1/(1-percentile) of %v: %v of %v calls, want %v", inverse[i], values[i], calls[i], want)
		}
	}
	if last := values[len(values)-1]; math.Abs(last-d.Latency.Max) > 0.001 {
		t.Errorf("the last point is %v, the longest call %v", last, d.Latency.Max)
	}
}

// Every distribution has a name of its own that is good for a file and for a tag.
func TestDistributionNames(t *testing.T) {
	r := along("open", result.AxisRPS, result.Point{Size: 64, RPS: 1e5}, result.Point{Size: 64, RPS: 2e5})
	r.Results[0].Point.Blocking = true
	all, err := Distributions(r)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range all {
		if slices.Contains(names, d.Name) || strings.ContainsAny(d.Name, "/ ,\n") {
			t.Errorf("name %q", d.Name)
		}
		names = append(names, d.Name)
	}
	for _, want := range []string{"net-tcp-rps-100000-blocking", "xdp-rps-200000", "xdp-rps-200000-uncorrected", "xdp-rps-200000-first"} {
		if !slices.Contains(names, want) {
			t.Errorf("no %s in %v", want, names)
		}
	}
	r.Results[0].Rounds[0].Latency.Histogram = "x"
	if _, err := Distributions(r); err == nil || !strings.Contains(err.Error(), "round 1 of net-tcp") {
		t.Error(err)
	}
	if err := HLog(&bytes.Buffer{}, r); err == nil || !strings.Contains(err.Error(), "round 1 of net-tcp") {
		t.Error(err)
	}
}

// The library's reader finds every round in the log, whole, in the order and for as long as it ran.
func TestHLog(t *testing.T) {
	r := rich()
	text := writeTo(t, func(w *bytes.Buffer) error { return HLog(w, r) }, HLog(full{}, r))
	head := bufio.NewScanner(bytes.NewReader(text))
	for _, want := range []string{"#[fastrpc bench", "#[Histogram log format version 1.3]", "#[StartTime: 1767323045 ", "#[BaseTime: 1767323045 ", `"StartTimestamp",`} {
		if !head.Scan() || !strings.HasPrefix(head.Text(), want) {
			t.Errorf("a line %q, want %s", head.Text(), want)
		}
	}
	reader := hdrhistogram.NewHistogramLogReader(bytes.NewReader(text))
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixMilli()
	ends := map[string]int64{}
	for _, one := range inTurn(r) {
		for _, k := range kinds() {
			l := k.of(one.round)
			if l == nil {
				continue
			}
			h, err := reader.NextIntervalHistogram()
			if err != nil || h == nil {
				t.Fatalf("%v, %v", h, err)
			}
			name := distributionName(r, one.res) + k.suffix
			if h.Tag() != name || h.TotalCount() != l.Count || math.Abs(float64(h.ValueAtPercentile(50))/1e3-l.P50) > 0.001*l.P50 {
				t.Errorf("%s: %d values, median %v; want %s, %d, %v", h.Tag(), h.TotalCount(), h.ValueAtPercentile(50), name, l.Count, l.P50)
			}
			length := h.EndTimeMs() - h.StartTimeMs()
			if h.StartTimeMs() < max(start, ends[name]) || math.Abs(float64(length)-1e3*one.round.Seconds) > 1 {
				t.Errorf("%s from %d to %d, after %d; want %v s", name, h.StartTimeMs(), h.EndTimeMs(), ends[name], one.round.Seconds)
			}
			ends[name] = h.EndTimeMs()
		}
	}
	if h, err := reader.NextIntervalHistogram(); h != nil {
		t.Errorf("one more: %v, %v", h, err)
	}
}

// A round trip of 5 µs is 2.5 µs one way; and what is no ping-pong says so.
func TestPerftest(t *testing.T) {
	r := sample()
	text := writeTo(t, func(w *bytes.Buffer) error { return Perftest(w, r) }, Perftest(full{}, r))
	golden(t, "perftest.txt", text)
	sizes := along("sizes", result.AxisSize, result.Point{Size: 64}, result.Point{Size: 1500})
	golden(t, "perftest-sizes.txt", writeTo(t, func(w *bytes.Buffer) error { return Perftest(w, sizes) }, errFull))
	r.Results = r.Results[1:2]
	r.Results[0].Rounds = []result.Round{{Number: 1, Latency: latency(5)}}
	text = writeTo(t, func(w *bytes.Buffer) error { return Perftest(w, r) }, errFull)
	lines := strings.Split(string(text), "\n")
	got := strings.Fields(lines[2])
	for i, want := range []float64{64, 1000, 2.5, 250, 2.5, 0, 0, 7.5, 25} {
		x, err := strconv.ParseFloat(got[i], 64)
		if err != nil || want != 0 && math.Abs(x-want) > 0.001*want {
			t.Errorf("column %d is %s, want %v", i, got[i], want)
		}
	}
	for workload, want := range map[string]string{"latency": "32 calls outstanding", "rate": "workload rate is no ping-pong"} {
		r.Run.Workload, r.Results[0].Point.Outstanding = workload, 32
		if text := writeTo(t, func(w *bytes.Buffer) error { return Perftest(w, r) }, errFull); !strings.HasPrefix(string(text), "# xdp: "+want) {
			t.Errorf("%s", text)
		}
	}
}
