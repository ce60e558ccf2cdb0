package page

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/fastrpc/fastrpc/bench/result"
)

func write(t *testing.T, reports ...Input) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, reports...); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestPage looks for what each workload's reader came for.
func TestPage(t *testing.T) {
	for name, want := range map[string][]string{
		"sample-latency": {
			"Latency of one call at a time", "64 B payload", "1 call outstanding", "5 rounds", "5,000 calls a round",
			"asavie: not on this machine: the program fastrpc-peers is not built; run &#39;make peers&#39;",
			"net-tcp: rounds are missing: round 5: server ended: exit status 1", "4 of 5", "the hypervisor took 2.5 % of the CPUs&#39; time",
			"Latency by percentile", "Median latency", "99th percentile", "Calls a second", "Processor time a call", "At a glance",
			"isolate the two CPUs", "Sample CPU", "A sample: these figures are invented.", "95 % interval",
		},
		"sample-open":    {"Latency at a given load", "20.0 k/s offered", "poisson arrivals", "latency uncorrected", "Another sample CPU", "Server: governor"},
		"sample-sweep":   {"Latency under rising load", "knee", "load carried", "coordinated omission"},
		"sample-sizes":   {"Interrupted", "signal: interrupt in round 1 of 3", "4 KiB", "4 MiB", "Throughput"},
		"sample-loss":    {"0.01 %", "sent again", "packets dropped", "on purpose"},
		"sample-anatomy": {"A round trip of xdp", "A round trip of net-tcp", "TX to wire", "handler", "of which the kernel", "drawn empty"},
	} {
		html := write(t, Input{name + ".json", samples[name]()})
		for _, s := range want {
			if !strings.Contains(html, s) {
				t.Errorf("%s: %q is not on the page", name, s)
			}
		}
	}
}

// TestBestIsMarked gives the best system of each size the bold print and the first place, also where it is not one of ours.
func TestBestIsMarked(t *testing.T) {
	s := newSection("r1", Input{"", sampleSizes()}, &keys{})
	best := map[string]string{}
	for _, r := range s.Tables[0].Rows {
		if r.Cells[1].Best {
			best[r.Cells[0].Text] = r.System
		}
	}
	want := map[string]string{"64 B": "xdp", "256 B": "xdp", "1 KiB": "xdp", "4 KiB": "xdp", "16 KiB": "xdp", "64 KiB": "net-tcp", "256 KiB": "net-tcp", "1 MiB": "net-tcp", "4 MiB": "net-tcp"}
	if fmt.Sprint(best) != fmt.Sprint(want) {
		t.Errorf("best medians are %v, not %v", best, want)
	}
	r := sampleLatency()
	s = newSection("r1", Input{"", r}, &keys{})
	for _, l := range s.Leaders {
		if l.First[0].System != "ring" {
			t.Errorf("best %s is %s", l.Name, l.First[0].System)
		}
	}
}

// TestKnees rings those that were reached on the curves of latency, and on no others.
func TestKnees(t *testing.T) {
	html := write(t, Input{"", sampleSweep()})
	// Five systems, three figures, each in four forms.
	if n := strings.Count(html, `<circle class="knee"`); n != 5*3*4 {
		t.Errorf("%d rings", n)
	}
	r := sampleSweep()
	for i := range r.Results {
		for j := range r.Results[i].Rounds {
			r.Results[i].Rounds[j].PerSec = r.Results[i].Rounds[j].Offered
		}
	}
	html = write(t, Input{"", r})
	if n := strings.Count(html, `<circle class="knee"`); n != 0 {
		t.Errorf("%d rings where no knee was reached", n)
	}
	if !strings.Contains(html, "Best load carried") || strings.Count(html, "≥ ") != 3 {
		t.Error("those that carried every load are not among the best")
	}
}

// hostile is a text that would break out of every place it is put in.
const hostile = "</script></style></svg><img src=x onerror=alert(1)>\"'`${alert(1)}\x00\x1b[2J\u202e]]>&amp;"

// awkward are reports that a page must stand, whole and well-formed.
func awkward() map[string]*result.Report {
	out := map[string]*result.Report{"empty": {}, "no rounds": {Results: []result.Result{{System: "xdp"}}}, "asked, not run": {Run: result.Run{Systems: []string{"xdp", "grpc"}}}}

	r := sampleLatency()
	r.Run.Workload, r.Interrupted, r.Notes, r.Machine.Advice, r.Machine.CPU = hostile, hostile, []string{hostile}, []string{hostile}, hostile
	r.Server = &result.Machine{CPU: hostile}
	for i := range r.Results {
		res := &r.Results[i]
		res.System += hostile
		res.Error = hostile
		res.Point.Arrivals = hostile
		for j := range res.Rounds {
			res.Rounds[j].Parts = map[string]*result.Latency{hostile: res.Rounds[j].Latency}
			res.Rounds[j].Network.Drops = map[string]uint64{hostile: 3}
			res.Rounds[j].Stages = []result.Stage{{Name: hostile, Side: hostile, P50: 1}, {Name: "", Side: "wire", P50: 0}}
			res.Rounds[j].Latency.Histogram = hostile
		}
	}
	out["hostile names"] = r

	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), 0, -5, math.MaxFloat64, math.SmallestNonzeroFloat64} {
		for name, make := range samples {
			r := make()
			for i := range r.Results {
				res := &r.Results[i]
				if i%3 == 0 {
					res.Point.RPS, res.Point.Loss, res.Point.PauseMs, res.Point.Size, res.Point.Sessions = v, v, v, int(int32(i))-1, -i
				}
				for j := range res.Rounds {
					d := &res.Rounds[j]
					d.PerSec, d.Gbit, d.Seconds = v, v, v
					d.Client.Calls, d.Server.Calls, d.Ops = int64(j)-1, int64(j), int64(j)-1
					if l := d.Latency; l != nil {
						l.P50, l.P99, l.P999, l.Max, l.Histogram = v, v, v, v, ""
						l.Count = int64(j) * math.MaxInt64
					}
					for k := range d.Stages {
						d.Stages[k].P50, d.Stages[k].KernelP50 = v, &v
					}
				}
			}
			if finite(v) { // JSON has no others
				r.Machine.StealPercent = v
			}
			out[fmt.Sprintf("%s of %g", name, v)] = r
		}
	}

	r = sampleLatency()
	r.Results, r.Run.Rounds = r.Results[:1], 1
	r.Results[0].Rounds = r.Results[0].Rounds[:1]
	out["one system, one round"] = r

	r = &result.Report{Run: result.Run{Workload: "latency", Rounds: 1}}
	for i := range 40 {
		l := &result.Latency{Count: 1000, P50: float64(i + 1), P90: float64(i + 2), P99: float64(i + 3), P999: float64(i + 4), Max: float64(i + 5)}
		r.Results = append(r.Results, result.Result{System: fmt.Sprintf("a-system-with-quite-a-long-name-number-%d", i), Point: result.Point{Size: 8 << 20}, Rounds: []result.Round{{Number: 1, Place: i, Ops: 1000, PerSec: 1e6, Latency: l}}})
	}
	out["forty systems"] = r
	return out
}

// TestAwkward makes pages of reports that nobody would write, and takes them apart: every drawing is well-formed XML without a number that is
// none, and nothing of the reports is anything but text.
func TestAwkward(t *testing.T) {
	drawings := regexp.MustCompile(`(?s)<svg .*?</svg>`)
	for name, r := range awkward() {
		t.Run(name, func(t *testing.T) {
			html := write(t, Input{hostile, r}, Input{"again", r})
			for _, bad := range []string{"<img", "onerror=alert(1)>", "NaN", "Inf", "ZgotmplZ"} {
				if bad == "onerror=alert(1)>" {
					continue // as text it is welcome
				}
				if i := strings.Index(html, bad); i >= 0 {
					t.Errorf("%q on the page: …%s…", bad, html[max(0, i-80):min(len(html), i+80)])
				}
			}
			if n := strings.Count(html, "<script"); n != strings.Count(html, "</script>") || n != strings.Count(html, "<script>")+strings.Count(html, `<script type="application/json">`) {
				t.Errorf("%d scripts begin, %d end", n, strings.Count(html, "</script>"))
			}
			ids := map[string]bool{}
			for _, m := range regexp.MustCompile(` id="([^"]*)"`).FindAllStringSubmatch(html, -1) {
				if ids[m[1]] {
					t.Errorf("id %q twice", m[1])
				}
				ids[m[1]] = true
			}
			for _, d := range drawings.FindAllString(html, -1) {
				checkDrawing(t, d)
			}
			var b bytes.Buffer
			if err := Figure(&b, r); err == nil {
				checkDrawing(t, b.String())
			}
		})
	}
}

// checkDrawing takes a drawing apart as XML.
func checkDrawing(t *testing.T, svg string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(svg))
	number := regexp.MustCompile(`^-?\d+(\.\d)?$`)
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("%v in %.300s", err, svg)
		}
		e, ok := tok.(xml.StartElement)
		if !ok {
			continue
		}
		if !slices.Contains([]string{"svg", "title", "desc", "style", "g", "path", "rect", "circle", "text"}, e.Name.Local) {
			t.Errorf("element %s", e.Name.Local)
		}
		for _, a := range e.Attr {
			switch a.Name.Local {
			case "x", "y", "cx", "cy", "r", "width", "height":
				if !number.MatchString(a.Value) {
					t.Errorf("%s of %s is %q", a.Name.Local, e.Name.Local, a.Value)
				}
				if (a.Name.Local == "width" || a.Name.Local == "height") && strings.HasPrefix(a.Value, "-") {
					t.Errorf("%s of %s is %q", a.Name.Local, e.Name.Local, a.Value)
				}
			case "style", "href", "onclick":
				t.Errorf("attribute %s", a.Name.Local)
			}
		}
	}
}

// FuzzPage makes pages of any report that can be read.
func FuzzPage(f *testing.F) {
	for _, make := range samples {
		var b bytes.Buffer
		r := make()
		r.Results = r.Results[:min(2, len(r.Results))]
		if err := r.Write(&b); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	drawings := regexp.MustCompile(`(?s)<svg .*?</svg>`)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := result.Read(bytes.NewReader(b))
		if err != nil {
			return
		}
		for _, d := range drawings.FindAllString(write(t, Input{"fuzz", r}), -1) {
			checkDrawing(t, d)
		}
	})
}
