package diff

import (
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/fastrpc/fastrpc/bench/result"
)

var at = result.Point{Size: 64, Outstanding: 1}

// system has a round for each median, and nothing else that could differ.
func system(name string, p50 ...float64) result.Result {
	res := result.Result{System: name, Point: at}
	for i, x := range p50 {
		res.Rounds = append(res.Rounds, result.Round{Number: i + 1, PerSec: 1000, Latency: &result.Latency{P50: x, P99: 9}})
	}
	return res
}

func report(systems ...result.Result) *result.Report {
	m := result.Machine{CPU: "x", Cores: 2, Kernel: "6.12", NIC: result.NIC{Driver: "veth", MTU: 1500}}
	return &result.Report{Schema: 1, Machine: m, Run: result.Run{Workload: "latency", Rounds: 5, Requests: 100}, Results: systems}
}

var usual = Options{Alpha: DefaultAlpha, Worse: DefaultWorse}

// find gives the row of a figure of a system.
func find(t *testing.T, d *Diff, system string, f result.Figure) *Row {
	t.Helper()
	for i := range d.Rows {
		if d.Rows[i].Old.System == system && d.Rows[i].Figure.Name == f.Name {
			return &d.Rows[i]
		}
	}
	t.Fatalf("no %s of %s in %+v", f.Name, system, d.Rows)
	return nil
}

// Probabilities of a rank test of five and five rounds: of the 252 orders, two are as apart as wholly apart ones.
func TestVerdicts(t *testing.T) {
	old := []float64{5.0, 5.1, 5.2, 5.3, 5.4}
	for _, c := range []struct {
		name    string
		old, to []float64
		p       float64
		want    Verdict
		ok      bool
	}{
		{"equal", old, old, 1, Same, true},
		{"all of one value", []float64{5, 5, 5, 5, 5}, []float64{5, 5, 5, 5, 5}, 1, Same, true},
		{"worse", old, []float64{6.0, 6.1, 6.2, 6.3, 6.4}, 2. / 252, Worse, false},
		{"better", old, []float64{4.0, 4.1, 4.2, 4.3, 4.4}, 2. / 252, Better, true},
		{"slightly worse", old, []float64{5.45, 5.5, 5.55, 5.6, 5.7}, 2. / 252, Changed, true},
		{"noisy", []float64{5, 9, 4, 12, 6}, []float64{7, 5.5, 14, 4.5, 11}, 0.69, Same, true},
		{"three rounds", []float64{5, 5.1, 5.2}, []float64{50, 51, 52}, 0.1, FewRounds, true},
		{"one round", []float64{5}, []float64{50}, 1, FewRounds, true},
		{"four rounds", []float64{5, 5.1, 5.2, 5.3}, []float64{6, 6.1, 6.2, 6.3}, 2. / 70, Worse, false},
		{"three and eight", []float64{5, 5.1, 5.2}, []float64{6, 6.1, 6.2, 6.3, 6, 6.1, 6.4, 6.5}, 2. / 165, Worse, false},
	} {
		d, err := Compare(report(system("xdp", c.old...)), report(system("xdp", c.to...)), usual)
		if err != nil {
			t.Fatal(err)
		}
		r := find(t, d, "xdp", result.P50)
		if r.Verdict != c.want || d.OK() != c.ok || math.Abs(r.P-c.p) > 0.02 || c.p < 0.05 && math.Abs(r.P-c.p) > 0.005 {
			t.Errorf("%s: verdict %d, p %v, OK %v; want %d, %v, %v", c.name, r.Verdict, r.P, d.OK(), c.want, c.p, c.ok)
		}
		if other := find(t, d, "xdp", result.P99).Verdict; other != Same && other != FewRounds {
			t.Errorf("%s: p99, which is the same, has verdict %d", c.name, other)
		}
	}
}

// Of what nothing changed in, chance makes no more differ than Alpha says, and less still by more than Worse.
func TestFalseAlarms(t *testing.T) {
	rng, differ, alarms := rand.New(rand.NewPCG(5, 6)), 0, 0
	const runs = 300
	draw := func() (xs []float64) {
		for range 5 {
			xs = append(xs, 5+rng.ExpFloat64())
		}
		return xs
	}
	for range runs {
		d, err := Compare(report(system("xdp", draw()...)), report(system("xdp", draw()...)), usual)
		if err != nil {
			t.Fatal(err)
		}
		if r := find(t, d, "xdp", result.P50); r.Verdict != Same {
			differ++
		}
		if !d.OK() {
			alarms++
		}
	}
	if differ == 0 || differ > runs*6/100 || alarms > differ/2 {
		t.Errorf("%d of %d differ, %d are worse", differ, runs, alarms)
	}
}

func TestMoreIsBetter(t *testing.T) {
	slow, quick := system("xdp", 5, 5, 5, 5, 5), system("xdp", 5, 5, 5, 5, 5)
	for i := range quick.Rounds {
		quick.Rounds[i].PerSec = 2000
	}
	for _, c := range []struct {
		old, to result.Result
		want    Verdict
	}{{slow, quick, Better}, {quick, slow, Worse}} {
		d, err := Compare(report(c.old), report(c.to), usual)
		if err != nil || find(t, d, "xdp", result.PerSec).Verdict != c.want {
			t.Errorf("%+v, %v", d, err)
		}
	}
}

// Some thousandths of an allocation are the runtime's; a tenth of one, also where there was none, is the program's.
func TestAllocations(t *testing.T) {
	of := func(perCall float64) *result.Report {
		r := system("xdp", 5, 5, 5, 5, 5)
		for i := range r.Rounds {
			r.Rounds[i].Client = result.Use{Calls: 100000, Allocs: uint64(perCall*1e5) + uint64(i)}
			r.Rounds[i].Server = result.Use{Calls: 100000, Allocs: 0}
		}
		if perCall == 0 {
			for i := range r.Rounds {
				r.Rounds[i].Client.Allocs = 0
			}
		}
		return report(r)
	}
	for _, c := range []struct {
		old, to float64
		want    Verdict
	}{{0.001, 0.002, Same}, {0, 0.1, Worse}, {0.001, 0.2, Worse}, {2, 2.001, Same}, {2, 1, Better}, {0, 0, Same}} {
		d, err := Compare(of(c.old), of(c.to), usual)
		if err != nil {
			t.Fatal(err)
		}
		if r := find(t, d, "xdp", result.Allocs); r.Verdict != c.want {
			t.Errorf("from %v to %v: verdict %d, change %v, p %v; want %d", c.old, c.to, r.Verdict, r.Change(), r.P, c.want)
		}
	}
}

// A machine that became slower as a whole is no change of a system relative to another; a system that became slower is.
func TestRelative(t *testing.T) {
	old := report(system("net-tcp", 30, 60, 40, 50, 33), system("xdp", 3, 6.1, 4, 5.1, 3.3))
	slower := report(system("net-tcp", 90, 110, 95, 99, 120), system("xdp", 9.1, 11, 9.6, 9.9, 12))
	worse := report(system("net-tcp", 30, 60, 40, 50, 33), system("xdp", 4, 8, 5.3, 6.7, 4.4))
	o := usual
	o.RelativeTo = "net-tcp"
	d, err := Compare(old, slower, o)
	if err != nil {
		t.Fatal(err)
	}
	if r := find(t, d, "xdp", result.P50); r.Verdict != Same || math.Abs(r.Before.Value-0.1) > 0.01 {
		t.Errorf("%+v", r)
	}
	if d, err = Compare(old, slower, usual); err != nil || d.OK() {
		t.Errorf("not relative: %+v, %v", d, err)
	}
	if d, err = Compare(old, worse, o); err != nil || find(t, d, "xdp", result.P50).Verdict != Worse {
		t.Errorf("%+v, %v", d, err)
	}
	for i := range d.Rows {
		if d.Rows[i].Old.System == "net-tcp" {
			t.Error("net-tcp is compared with itself")
		}
	}
	o.RelativeTo = "pigeon"
	if _, err = Compare(old, worse, o); !errors.Is(err, ErrNothing) || !strings.Contains(err.Error(), "pigeon") {
		t.Error(err)
	}
}

// Every field of a machine counts but those that say what was measured, and when.
func TestMachines(t *testing.T) {
	five := []float64{1, 2, 3, 4, 5}
	machine := reflect.TypeFor[result.Machine]()
	for _, f := range append(reflect.VisibleFields(machine), reflect.VisibleFields(reflect.TypeFor[result.NIC]())...) {
		if f.Type.Kind() == reflect.Struct {
			continue
		}
		old, to := report(system("xdp", five...)), report(system("xdp", five...))
		v := reflect.ValueOf(&to.Machine).Elem()
		if _, ok := machine.FieldByName(f.Name); !ok {
			v = v.FieldByName("NIC")
		}
		switch x := v.FieldByName(f.Name); x.Kind() {
		case reflect.String:
			x.SetString("other")
		case reflect.Int:
			x.SetInt(77)
		case reflect.Float64:
			x.SetFloat(77)
		case reflect.Slice:
			x.Set(reflect.MakeSlice(x.Type(), 1, 1))
		default:
			t.Fatalf("field %s", f.Name)
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		_, err := Compare(old, to, usual)
		if name == "date" || name == "revision" || name == "go" || name == "steal_percent" || name == "advice" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if !errors.Is(err, ErrMachine) || !strings.Contains(err.Error(), strings.ReplaceAll(name, "_", " ")+" is ") || !strings.Contains(err.Error(), "--anyway") {
			t.Errorf("%s: %v", name, err)
		}
		o := usual
		o.Anyway = true
		if d, err := Compare(old, to, o); err != nil || len(d.Notes) == 0 || !strings.HasPrefix(d.Notes[0], "different machines: ") {
			t.Errorf("%s anyway: %+v, %v", name, d, err)
		}
	}
	one, two := report(system("xdp", five...)), report(system("xdp", five...))
	two.Server = &result.Machine{CPU: "y"}
	for _, c := range [][2]*result.Report{{one, two}, {two, one}} {
		if _, err := Compare(c[0], c[1], usual); !errors.Is(err, ErrMachine) {
			t.Errorf("one and two machines: %v", err)
		}
	}
	three := report(system("xdp", five...))
	three.Server = &result.Machine{CPU: "z"}
	if _, err := Compare(two, three, usual); !errors.Is(err, ErrMachine) || !strings.Contains(err.Error(), "server's cpu is z, was y") {
		t.Errorf("another server: %v", err)
	}
}

func TestNothingInCommon(t *testing.T) {
	old, to := report(system("xdp", 1)), report(system("xdp", 1))
	to.Run.Workload = "rate"
	o := usual
	o.Anyway = true
	if _, err := Compare(old, to, o); !errors.Is(err, ErrWorkload) {
		t.Error(err)
	}
	to.Run.Workload, to.Results[0].Point.Size = "latency", 1500
	if _, err := Compare(old, to, o); !errors.Is(err, ErrNothing) || !strings.Contains(err.Error(), "the old one has size 64 outstanding 1, the new one size 1500") {
		t.Error(err)
	}
	if _, err := Compare(report(), report(), o); !errors.Is(err, ErrNothing) {
		t.Error(err)
	}
}

// A system that fails where it was measured is worse; one that is not there, or was not, is only noted.
func TestFailed(t *testing.T) {
	five := []float64{1, 2, 3, 4, 5}
	failed, absent := system("udp"), system("grpc")
	failed.Error = "100 % lost"
	absent.Error, absent.Absent = "not built", true
	old := report(system("xdp", five...), system("udp", five...), system("grpc", five...), system("gone", five...), system("never"))
	to := report(system("xdp", five...), failed, absent, system("never", five...))
	to.Interrupted, to.Run.Requests, to.Machine.Revision = "by a signal", 200, "abc"
	d, err := Compare(old, to, usual)
	if err != nil {
		t.Fatal(err)
	}
	if d.OK() || len(d.Failed) != 1 || d.Failed[0].Result.System != "udp" || d.Failed[0].Why != "100 % lost" {
		t.Errorf("failed: %+v", d.Failed)
	}
	notes := strings.Join(d.Notes, "\n")
	for _, want := range []string{
		"grpc at size 64 outstanding 1: missing in the new report: not built", "gone at size 64 outstanding 1: only in the old report",
		"never at size 64 outstanding 1: only in the new report", "the new report was interrupted: by a signal", "requests a round: 200, was 100", "revision: abc, was ",
	} {
		if !strings.Contains(notes, want) {
			t.Errorf("no %q in\n%s", want, notes)
		}
	}
}
