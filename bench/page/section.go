package page

import (
	"cmp"
	"encoding/json"
	"fmt"
	"html/template"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/fastrpc/fastrpc/bench/result"
)

// section is what the page says of one report.
type section struct {
	ID       string
	Title    string
	Source   string // the report's file
	Settings []string
	Leaders  []leader
	Warnings []string
	Notes    []string
	Reading  []string // how to read the figures
	Figures  []figure
	Tables   []table
	Machines []machine
	Advice   []string

	report  *result.Report
	keys    *keys
	systems []string
}

// figure is one picture, in the widths and with the scales that it has.
type figure struct {
	ID, Title, Caption string
	Full               bool // across the page
	Third              bool // three beside each other
	Data               *stops
	Switch             bool // between a logarithmic and a linear scale
	Drawings           []drawing
}

// drawing is one form of a figure; the style sheet shows one of them.
type drawing struct {
	Class string
	SVG   template.HTML
}

// keys tells how a system looks, the same in all reports of a page.
type keys struct{ names []string }

func (k *keys) of(system string) key {
	i := slices.Index(k.names, system)
	if i < 0 {
		i = len(k.names)
		k.names = append(k.names, system)
	}
	return key(i)
}

// add draws the chart in all its forms.
func (s *section) add(f figure, l lines) {
	f.Switch = true
	broad := half
	if f.Full {
		broad = wide
	}
	for _, form := range []struct {
		class string
		width float64
		logY  bool
	}{{"log broad", broad, true}, {"log slim", narrow, true}, {"lin broad", broad, false}, {"lin slim", narrow, false}} {
		l.logY = form.logY
		f.Drawings = append(f.Drawings, drawing{form.class, l.draw("-"+strings.ReplaceAll(form.class, " ", "-"), form.width)})
	}
	s.Figures = append(s.Figures, f)
}

// barFigure draws one figure of these results, the best first.
func (s *section) barFigure(id, title, caption string, rs []*result.Result, f result.Figure, m measure, parts ...result.Figure) {
	b := bars{id: id, title: title, format: m.format, more: m.more}
	any := false
	for _, r := range rs {
		row := bar{key: s.keys.of(r.System), name: r.System}
		e := r.Estimate(f)
		row.value, row.low, row.high = e.Value, e.Low, e.High
		if !finite(row.value) {
			if r.Error == "" {
				continue
			}
			row.missing = r.Error
		}
		for _, p := range parts {
			row.parts = append(row.parts, part{p.Name, finiteOr(r.Median(p), 0)})
		}
		any = any || row.missing == "" && row.value > 0
		b.desc += row.name + " " + m.format(row.value) + ". "
		b.rows = append(b.rows, row)
	}
	if !any {
		return
	}
	s.Figures = append(s.Figures, figure{ID: id, Title: title, Caption: caption, Drawings: []drawing{
		{"broad", b.draw("-broad", half)}, {"slim", b.draw("-slim", narrow)},
	}})
}

// stops are the values that the script shows where a reader stops on a chart.
type stops struct {
	Labels []string `json:"labels"`
	Series []stop   `json:"series"`
}

type stop struct {
	Key    key      `json:"key"`
	Name   string   `json:"name"`
	Values []string `json:"values"`
	Order  []number `json:"order"` // the same as numbers, to sort by
}

// number is a JSON number of four figures, or null.
type number float64

func (n number) MarshalJSON() ([]byte, error) {
	if !finite(float64(n)) {
		return []byte("null"), nil
	}
	return strconv.AppendFloat(nil, float64(n), 'g', 4, 64), nil
}

var _ json.Marshaler = number(0)

func newStops(l lines, say format) *stops {
	d := &stops{}
	for _, x := range l.samples {
		d.Labels = append(d.Labels, say(x))
	}
	for _, c := range l.curves {
		name := c.name
		if c.ghost {
			name += ", uncorrected"
		}
		v := stop{Key: c.key, Name: name}
		for _, x := range l.samples {
			y := math.NaN()
			if i := slices.IndexFunc(c.points, func(p point) bool { return p.x == x }); i >= 0 {
				y = c.points[i].y
			}
			said := ""
			if finite(y) {
				said = l.y.format(y)
			}
			v.Values = append(v.Values, said)
			v.Order = append(v.Order, number(y))
		}
		d.Series = append(d.Series, v)
	}
	return d
}

// leader names the best systems of a figure, whosoever they are.
type leader struct {
	Name  string
	First []place
}

type place struct {
	Key    key
	System string
	Figure string
}

// lead finds the best three.
func (s *section) lead(name string, rs []*result.Result, f result.Figure, m measure) {
	var es []entry
	for _, r := range rs {
		es = append(es, entry{system: r.System, value: r.Median(f)})
	}
	s.leadOf(name, es, m)
}

// leadKnee finds those that carry the highest load: that of the knee, or, where it was not reached, the highest there was, or more.
func (s *section) leadKnee() {
	var es []entry
	for _, system := range s.systems {
		if k := s.report.Knee(system); k != nil {
			es = append(es, entry{system: system, value: k.OfferedLoad()})
		} else if highest, all := s.report.CarriedAll(system); all {
			es = append(es, entry{system: system, value: highest, atLeast: true})
		}
	}
	s.leadOf("load carried", es, rate)
}

type entry struct {
	system  string
	value   float64
	atLeast bool // it may be more
}

func (s *section) leadOf(name string, es []entry, m measure) {
	es = slices.DeleteFunc(es, func(e entry) bool { return !finite(e.value) || e.value <= 0 })
	if len(es) < 2 {
		return
	}
	slices.SortStableFunc(es, func(a, b entry) int {
		if m.more {
			a, b = b, a
		}
		return cmp.Compare(a.value, b.value)
	})
	l := leader{Name: name}
	for _, e := range es[:min(3, len(es))] {
		figure := m.format(e.value)
		if e.atLeast {
			figure = "≥ " + figure
		}
		l.First = append(l.First, place{s.keys.of(e.system), e.system, figure})
	}
	s.Leaders = append(s.Leaders, l)
}

// pointWords says where a point stands, but for what the axis says.
func pointWords(p result.Point, besides result.Axis) []string {
	var out []string
	say := func(on bool, axis result.Axis, text string) {
		if on && (axis == result.AxisNone || axis != besides) {
			out = append(out, text)
		}
	}
	say(p.Size > 0, result.AxisSize, byteSize(float64(p.Size))+" payload")
	say(p.Outstanding > 0, result.AxisNone, plural(float64(p.Outstanding), "call outstanding", "calls outstanding"))
	say(p.Clients > 1, result.AxisNone, count(float64(p.Clients))+" connections")
	say(p.Blocking, result.AxisNone, "a goroutine for each call")
	say(p.RPS > 0, result.AxisRPS, perSecond(p.RPS)+" offered")
	say(p.Load > 0, result.AxisLoad, "a load of "+share(p.Load)+" of what the system carries")
	say(p.Arrivals != "", result.AxisNone, p.Arrivals+" arrivals")
	say(p.Sessions > 0, result.AxisSessions, plural(float64(p.Sessions), "session", "sessions"))
	say(p.Senders > 0, result.AxisSenders, plural(float64(p.Senders), "sender", "senders"))
	say(p.Loss > 0, result.AxisLoss, share(p.Loss)+" loss")
	say(p.PauseMs > 0, result.AxisPause, milliseconds(p.PauseMs)+" pause")
	return out
}

func plural(n float64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%s %s", count(n), many)
}
