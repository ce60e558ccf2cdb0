package page

import (
	"cmp"
	"errors"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"

	"github.com/fastrpc/fastrpc/bench/result"
)

// glance is the main figure: the median and the 99th percentile of all systems on one logarithmic axis.
type glance struct {
	id, title, desc string
	above           []string // title and subtitle, in the drawing itself
	below           string
	base            string // the system that the others are compared with
	rows            []span
}

// span is one system's median and 99th percentile.
type span struct {
	key      key
	name     string
	p50, p99 float64
	missing  string
}

// baseSystem is what others are compared with, where it was measured; else the best is.
const baseSystem = "xdp"

// Figure writes the main figure of a report as an SVG that stands by itself, in light or dark as the reader's device is set: median and 99th
// percentile of each system at the first point that has them. It is an error if no system has latencies.
func Figure(w io.Writer, r *result.Report) error {
	s := &section{report: r, keys: &keys{}, systems: systems(r)}
	for _, name := range s.systems {
		s.keys.of(name)
	}
	for _, rs := range s.points() {
		g := s.spans(rs)
		if g.base == "" {
			continue
		}
		g.id, g.title = "latency", "Latency by system: median and 99th percentile"
		g.above = []string{"Round-trip latency, " + strings.Join(pointWords(rs[0].Point, result.AxisNone), ", "), subtitle(r)}
		g.below = r.Machine.Network
		_, err := io.WriteString(w, string(g.draw("", 860))+"\n")
		return err
	}
	return errors.New("page: no system of the report has latencies to draw; is it of workload latency?")
}

func subtitle(r *result.Report) string {
	words := []string{}
	add := func(s string) {
		if s != "" && s != "unknown" {
			words = append(words, s)
		}
	}
	add(r.Machine.CPU)
	if r.Machine.Cores > 0 {
		add(plural(float64(r.Machine.Cores), "core", "cores"))
	}
	if r.Machine.Kernel != "" {
		add("Linux " + r.Machine.Kernel)
	}
	add(plural(float64(r.Run.Rounds), "round", "rounds"))
	return strings.Join(words, " · ")
}

// glance adds the figure to the page.
func (s *section) glance(id, title string, rs []*result.Result) {
	g := s.spans(rs)
	if g.base == "" {
		return
	}
	g.id, g.title = id, title
	s.Figures = append(s.Figures, figure{ID: id, Title: title, Full: true,
		Caption: "Median (filled) and 99th percentile (hollow) of a call, on a logarithmic axis: the same distance is the same ratio everywhere.",
		Drawings: []drawing{
			{"broad", g.draw("-broad", wide)}, {"slim", g.draw("-slim", narrow)},
		}})
}

// spans are the systems by their median, those without one last. The base is empty if none has one.
func (s *section) spans(rs []*result.Result) glance {
	var g glance
	for _, r := range rs {
		row := span{key: s.keys.of(r.System), name: r.System, p50: r.Median(result.P50), p99: r.Median(result.P99)}
		if !finite(row.p50) {
			if r.Error == "" {
				continue
			}
			row.missing = r.Error
		}
		g.rows = append(g.rows, row)
	}
	slices.SortStableFunc(g.rows, func(a, b span) int {
		if a.missing != "" || b.missing != "" {
			return cmp.Compare(len(a.missing), len(b.missing))
		}
		return cmp.Compare(a.p50, b.p50)
	})
	for _, r := range g.rows {
		if r.missing == "" && (g.base == "" || r.name == baseSystem) {
			g.base = r.name
		}
		if r.missing == "" {
			g.desc += fmt.Sprintf("%s: median %s, 99th percentile %s. ", r.name, microseconds(r.p50), microseconds(r.p99))
		}
	}
	return g
}

// Heights of a system's row: on a phone the figures stand above the line, so that it has the whole width.
const (
	spanStep   = 27.0
	spanNarrow = 40.0
	spanColumn = 74.0
)

func (g glance) draw(suffix string, width float64) template.HTML {
	var c canvas
	alone, slim := len(g.above) > 0, width <= narrow
	margin, top, step := 0.0, 22.0, spanStep
	if alone {
		margin, top = 28, 108
	}
	names, base := 0.0, 0.0
	var vs []float64
	for _, r := range g.rows {
		names = max(names, textWidth(abbreviate(r.name, longLabel))*1.06)
		vs = append(vs, r.p50, r.p99)
		if r.name == g.base {
			base = r.p50
		}
	}
	columns := []string{"p50", "p99", "p50 ÷ " + abbreviate(g.base, 5)}
	p := plot{left: margin + names + 24, right: width - margin - spanColumn*float64(len(columns)) - 12, top: top, x: logOver(vs, microseconds)}
	if slim {
		p.left, p.right, step = 6, width-6, spanNarrow
	}
	measured := 0
	for _, r := range g.rows {
		if r.missing == "" {
			measured++
		}
	}
	// Systems without figures stand below the axis.
	p.bottom = top + step*float64(measured)
	height := p.bottom + 26 + spanStep*float64(len(g.rows)-measured)
	if alone {
		height += 34
	}
	c.begin(g.id+suffix, width, height, g.title, g.desc, "class", "plot")
	if alone {
		c.element("style", drawingCSS())
		c.draw("rect", "class", "ground", "width", width, "height", height, "rx", 10)
		c.text(margin, 38, "start", "large", abbreviate(g.above[0], 90))
		c.text(margin, 58, "start", "soft", abbreviate(g.above[1], 110))
		g.legend(&c, margin, 82)
		c.text(margin, height-14, "start", "soft", abbreviate(g.below, 120))
	}
	g.grid(&c, p, width, slim)
	figures := func(y float64, class string, texts []string) {
		for i, text := range texts {
			if i > 0 {
				class = strings.TrimPrefix(class, "strong ")
			}
			c.text(width-margin-spanColumn*float64(len(columns)-1-i), y, "end", class, text)
		}
	}
	figures(top-10, "soft", columns)
	for i, r := range g.rows {
		y := top + step*(float64(i)+0.5)
		text := y + 4
		if r.missing != "" {
			text = p.bottom + 26 + spanStep*(float64(i-measured)+0.5)
		} else if slim {
			text, y = y-4, y+10
		}
		c.open("g", "class", "series "+r.key.class(), "data-s", int(r.key))
		c.open("g", "class", "label", "data-s", int(r.key))
		r.key.marker(&c, margin+5, text-4, "mark")
		c.text(margin+14, text, "start", "name", abbreviate(r.name, longLabel))
		c.close("g")
		if r.missing != "" {
			from := margin + names + 24
			c.text(from, text, "start", "soft", abbreviate("not measured: "+r.missing, int((width-margin-from)/7)))
			c.close("g")
			continue
		}
		x50, _ := p.at(point{r.p50, 1})
		if finite(r.p99) {
			x99, _ := p.at(point{r.p99, 1})
			c.line(x50, y, x99, y, "line")
			r.key.marker(&c, x99, y, "hollow")
		}
		r.key.marker(&c, x50, y, "mark")
		figures(text, "strong ink", []string{microseconds(r.p50), microseconds(r.p99), ratio(r.p50 / base)})
		c.close("g")
	}
	return c.end()
}

func (g glance) legend(c *canvas, x, y float64) {
	c.open("g", "class", "soft")
	c.open("g", "class", "k6")
	key(0).marker(c, x+5, y-4, "mark")
	key(0).marker(c, x+80, y-4, "hollow")
	c.close("g")
	c.text(x+14, y, "start", "soft", "median")
	c.text(x+89, y, "start", "soft", "99th percentile, on a logarithmic axis")
	c.close("g")
}

func (g glance) grid(c *canvas, p plot, width float64, slim bool) {
	class := "grid"
	if slim {
		class = "grid faint" // the figures stand on it
	}
	free := 0.0
	for _, t := range p.x.ticks {
		x, _ := p.at(point{t.at, 1})
		c.line(x, p.top, x, p.bottom, class)
		w := textWidth(t.label)
		from := min(max(x-w/2, 0), width-w)
		if t.label != "" && from >= free {
			c.text(from+w/2, p.bottom+17, "middle", "soft", t.label)
			free = from + w + 8
		}
	}
}
