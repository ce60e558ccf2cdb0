package diff

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/fastrpc/fastrpc/bench/result"
)

// passing are the fields of a machine that differ between runs on the same one: what was measured, with what, and when.
var passing = []string{"date", "revision", "go", "steal_percent", "advice"}

// machines lists what differs between the machines of two reports, each as "cpu is A, was B".
func machines(old, now *result.Report) []string {
	out := differences("", reflect.ValueOf(old.Machine), reflect.ValueOf(now.Machine))
	switch {
	case old.Server == nil && now.Server == nil:
	case old.Server == nil:
		out = append(out, "the server is on another machine, was on the same")
	case now.Server == nil:
		out = append(out, "the server is on the same machine, was on another")
	default:
		out = append(out, differences("server's ", reflect.ValueOf(*old.Server), reflect.ValueOf(*now.Server))...)
	}
	return out
}

func differences(prefix string, old, now reflect.Value) []string {
	var out []string
	for _, f := range reflect.VisibleFields(old.Type()) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		x, y := old.FieldByIndex(f.Index), now.FieldByIndex(f.Index)
		switch {
		case slices.Contains(passing, name):
		case f.Type.Kind() == reflect.Struct:
			out = append(out, differences(prefix+name+" ", x, y)...)
		case !reflect.DeepEqual(x.Interface(), y.Interface()):
			out = append(out, fmt.Sprintf("%s%s is %s, was %s", prefix, strings.ReplaceAll(name, "_", " "), shown(y), shown(x)))
		}
	}
	return out
}

func shown(v reflect.Value) string {
	if v.IsZero() && v.Kind() == reflect.String {
		return "not known"
	}
	return fmt.Sprint(v.Interface())
}

// settings notes what else may explain a difference.
func (d *Diff) settings(old, now *result.Report) {
	for _, s := range []struct {
		what     string
		old, now any
	}{
		{"revision", old.Machine.Revision, now.Machine.Revision},
		{"Go", old.Machine.Go, now.Machine.Go},
		{"requests a round", old.Run.Requests, now.Run.Requests},
		{"seconds a round", old.Run.Seconds, now.Run.Seconds},
		{"rounds", old.Run.Rounds, now.Run.Rounds},
	} {
		if s.old != s.now {
			d.Notes = append(d.Notes, fmt.Sprintf("%s: %v, was %v", s.what, s.now, s.old))
		}
	}
	for _, r := range []struct {
		name string
		of   *result.Report
	}{{"old", old}, {"new", now}} {
		if r.of.Interrupted != "" {
			d.Notes = append(d.Notes, fmt.Sprintf("the %s report was interrupted: %s", r.name, r.of.Interrupted))
		}
	}
}

func (d *Diff) note(res *result.Result, what string) {
	d.Notes = append(d.Notes, fmt.Sprintf("%s at %s: %s", res.System, place(res.Point), what))
}

// points lists where a report measured, each place once.
func points(r *result.Report) string {
	var out []string
	for i := range r.Results {
		if p := place(r.Results[i].Point); len(r.Results[i].Rounds) > 0 && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	if len(out) == 0 {
		return "no figures"
	}
	return strings.Join(out, ", ")
}

// place says where a point stands: every field that is set.
func place(p result.Point) string {
	var out []string
	v := reflect.ValueOf(p)
	for _, f := range reflect.VisibleFields(v.Type()) {
		if x := v.FieldByIndex(f.Index); !x.IsZero() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			out = append(out, fmt.Sprintf("%s %v", strings.ReplaceAll(name, "_", " "), x.Interface()))
		}
	}
	return strings.Join(out, " ")
}
