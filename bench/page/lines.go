package page

import (
	"html/template"
	"math"
	"slices"
	"strings"
)

// lines is a chart of curves, one or two a system, with the systems' names at their ends.
type lines struct {
	id, title, desc string
	x, y            axis
	curves          []curve
	samples         []float64 // of x: where a reader can stop to see all values; nil where the curves share none
	logY            bool
}

// axis is what stands beside one: its name, and the scale when linear and when logarithmic.
type axis struct {
	name             string
	linear, logScale scale
	format           format
}

// curve is the way of one system through the chart.
type curve struct {
	key     key
	name    string
	points  []point
	ghost   bool // second in rank: thin, without a name
	markers []point
	knee    *point
}

type point struct{ x, y float64 }

// Widths of drawings, in CSS pixels: across the page, in two columns, and on a phone.
const (
	wide   = 1040.0
	half   = 500.0
	narrow = 350.0
)

// plot is the rectangle between the axes, and what maps values into it.
type plot struct {
	left, right, top, bottom float64
	x, y                     scale
}

func (p plot) at(q point) (x, y float64) {
	return p.left + p.x.at(q.x)*(p.right-p.left), p.bottom - p.y.at(q.y)*(p.bottom-p.top)
}

func (l lines) draw(suffix string, width float64) template.HTML {
	var c canvas
	p := plot{top: 34, x: l.x.linear, y: l.y.linear}
	if l.logY {
		p.y = l.y.logScale
	}
	named := l.named()
	names := 0.0
	for _, v := range named {
		names = max(names, textWidth(abbreviate(v.name, longLabel))*1.06)
	}
	ticks := 0.0
	for _, t := range p.y.ticks {
		ticks = max(ticks, textWidth(t.label))
	}
	height := min(max(width*0.44, 290), 430)
	height = max(height, 90+lineStep*float64(len(named)))
	p.left, p.right, p.bottom = ticks+8, width-names-26, height-44

	id := l.id + suffix
	c.begin(id, width, height, l.title, l.desc, "class", "plot", "data-x", l.stops(p), "data-top", p.top, "data-bottom", p.bottom)
	c.text(0, 13, "start", "soft", l.y.name)
	drawGrid(&c, p)
	c.text(p.right, height-4, "end", "soft", l.x.name)
	ends := make([]float64, len(named))
	for i, v := range named {
		_, ends[i] = p.at(v.points[len(v.points)-1])
	}
	places := spread(ends, p.top-4, p.bottom)
	for _, v := range l.curves {
		i := slices.IndexFunc(named, func(n *curve) bool { return n.key == v.key && n.name == v.name })
		c.open("g", "class", "series "+v.key.class(), "data-s", int(v.key))
		drawCurve(&c, p, v)
		if i >= 0 && !v.ghost {
			drawName(&c, p, v, places[i], width-names-20)
		}
		c.close("g")
	}
	c.line(p.left, p.top, p.left, p.bottom, "hairline")
	return c.end()
}

// named are the curves that have a name at their end.
func (l lines) named() []*curve {
	var out []*curve
	for i := range l.curves {
		if v := &l.curves[i]; !v.ghost && len(v.points) > 0 {
			out = append(out, v)
		}
	}
	return out
}

// stops are the places of the samples in the drawing, for the script that shows values.
func (l lines) stops(p plot) string {
	var b strings.Builder
	for i, s := range l.samples {
		if i > 0 {
			b.WriteByte(' ')
		}
		x, _ := p.at(point{s, 1})
		b.WriteString(px(x))
	}
	return b.String()
}

// drawGrid draws the lines and labels of both axes; labels for which there is no room are left out, those of the ends last.
func drawGrid(c *canvas, p plot) {
	above := math.Inf(1)
	for _, t := range p.y.ticks {
		_, y := p.at(point{0, t.at})
		class := "grid"
		if t.at == 0 && p.y.kind == linear || t.label == "" {
			class = "grid faint"
		}
		c.line(p.left, y, p.right, y, class)
		if t.label != "" && above-y >= lineStep-1 {
			c.text(p.left-7, y+4, "end", "soft", t.label)
			above = y
		}
	}
	c.line(p.left, p.bottom, p.right, p.bottom, "axis")
	free := math.Inf(-1)
	for i, t := range p.x.ticks {
		x, _ := p.at(point{t.at, 1})
		c.line(x, p.bottom, x, p.bottom+4, "axis")
		w := textWidth(t.label)
		from := max(x-w/2, 0)
		if t.label == "" || from < free {
			continue
		}
		if last := len(p.x.ticks) - 1; i != last && p.x.kind != linear {
			// The last one says how far the axis goes: it is worth more than the one before it.
			end, _ := p.at(point{p.x.ticks[last].at, 1})
			if x+w/2+8 > end-textWidth(p.x.ticks[last].label)/2 {
				continue
			}
		}
		c.text(from+w/2, p.bottom+18, "middle", "soft", t.label)
		free = x + w/2 + 8
	}
}

func drawCurve(c *canvas, p plot, v curve) {
	var d strings.Builder
	pen := byte('M')
	for _, q := range v.points {
		if !finite(q.x) || !finite(q.y) || q.y <= 0 && p.y.kind == logarithmic {
			pen = 'M' // a gap, not a line through what was not measured
			continue
		}
		x, y := p.at(q)
		d.WriteByte(pen)
		d.WriteString(px(x) + " " + px(y))
		pen = 'L'
	}
	class, markerClass := "line", "mark"
	if v.ghost {
		class, markerClass = "ghost", "hollow"
	}
	attrs := []any{"class", class, "d", d.String()}
	if dash := v.key.dash(); dash != "" && !v.ghost {
		attrs = append(attrs, "stroke-dasharray", dash)
	}
	if d.Len() > 0 {
		c.draw("path", attrs...)
	}
	for _, q := range v.markers {
		if finite(q.x) && finite(q.y) && (q.y > 0 || p.y.kind != logarithmic) {
			x, y := p.at(q)
			v.key.marker(c, x, y, markerClass)
		}
	}
	if v.knee != nil {
		x, y := p.at(*v.knee)
		c.draw("circle", "class", "knee", "cx", x, "cy", y, "r", 8.5)
	}
}

// drawName writes a system's name at y, and leads the eye from the curve's end to it.
func drawName(c *canvas, p plot, v curve, y, x float64) {
	ex, ey := p.at(v.points[len(v.points)-1])
	c.draw("path", "class", "lead", "d", "M"+px(ex+2)+" "+px(ey)+"L"+px(max(p.right+2, ex+2))+" "+px(ey)+"L"+px(x-1)+" "+px(y))
	c.open("g", "class", "label", "data-s", int(v.key))
	marked := len(v.markers) > 0 && v.markers[len(v.markers)-1] == v.points[len(v.points)-1]
	if !marked || ex < p.right-1 || math.Abs(y-ey) > 1 { // else the curve's own marker is right beside it
		v.key.marker(c, x+4, y, "mark")
	}
	c.text(x+12, y+4, "start", "name", abbreviate(v.name, longLabel))
	c.close("g")
}

// spread moves places apart that are closer than a line of text, as little as it can, within top and bottom. It keeps their order.
func spread(want []float64, top, bottom float64) []float64 {
	order := make([]int, len(want))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case want[a] < want[b]:
			return -1
		case want[a] > want[b]:
			return 1
		}
		return 0
	})
	// Neighbours that touch become one block, which sits at the mean of what its members want.
	type block struct {
		first, n int
		sum      float64 // of the places wanted by the members, each less its offset in the block
	}
	var blocks []block
	room := func(b block) (from float64) {
		from = b.sum / float64(b.n)
		return max(min(from, bottom-float64(b.n-1)*lineStep), top)
	}
	for i, o := range order {
		b := block{i, 1, want[o]}
		for len(blocks) > 0 {
			last := blocks[len(blocks)-1]
			if room(last)+float64(last.n)*lineStep <= room(b) {
				break
			}
			b = block{last.first, last.n + b.n, last.sum + b.sum - float64(b.n*last.n)*lineStep}
			blocks = blocks[:len(blocks)-1]
		}
		blocks = append(blocks, b)
	}
	places := make([]float64, len(want))
	for _, b := range blocks {
		for j := range b.n {
			places[order[b.first+j]] = room(b) + float64(j)*lineStep
		}
	}
	return places
}
