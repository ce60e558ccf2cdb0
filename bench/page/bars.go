package page

import (
	"cmp"
	"html/template"
	"math"
	"slices"
)

// bars is a chart of one figure of all systems, the best first. Bars begin at zero, so that their lengths compare as the figures do.
type bars struct {
	id, title, desc string
	format          format
	more            bool // is better
	rows            []bar
}

// bar is a system's figure with its interval.
type bar struct {
	key       key
	name      string
	value     float64
	low, high float64 // NaN where there is none
	parts     []part  // of the value; nil where it has none
	missing   string  // why there is no value
}

type part struct {
	name  string
	value float64
}

const barStep = 24.0

func (b bars) draw(suffix string, width float64) template.HTML {
	var c canvas
	rows := slices.Clone(b.rows)
	slices.SortStableFunc(rows, func(p, q bar) int {
		if p.missing != "" || q.missing != "" {
			return cmp.Compare(len(p.missing), len(q.missing))
		}
		if b.more {
			return cmp.Compare(q.value, p.value)
		}
		return cmp.Compare(p.value, q.value)
	})
	top, names, figures := 0.0, 0.0, 0.0
	for _, r := range rows {
		names = max(names, textWidth(abbreviate(r.name, longLabel))*1.06)
		if r.missing == "" {
			top = max(top, r.value, finiteOr(r.high, 0))
			figures = max(figures, textWidth(b.format(r.value))*1.06)
		}
	}
	best := math.NaN()
	if len(rows) > 0 && rows[0].missing == "" {
		best = rows[0].value
	}
	height := 26 + barStep*float64(len(rows))
	// Name, bar, the figure, and how many times the best one's it is.
	times := textWidth("÷ the best")
	left, right := names+22, width-figures-times-20
	c.begin(b.id+suffix, width, height, b.title, b.desc, "class", "plot")
	y := 4.0
	for _, r := range rows {
		c.open("g", "class", "series "+r.key.class(), "data-s", int(r.key))
		c.open("g", "class", "label", "data-s", int(r.key))
		r.key.marker(&c, 5, y+8, "mark")
		c.text(14, y+12, "start", "name", abbreviate(r.name, longLabel))
		c.close("g")
		if r.missing != "" {
			c.text(left+6, y+12, "start", "soft", abbreviate("not measured: "+r.missing, int((width-left)/7)))
		} else {
			b.drawBar(&c, r, left, y, (right-left)/max(top, math.SmallestNonzeroFloat64), best, width)
		}
		c.close("g")
		y += barStep
	}
	c.line(left, 0, left, y, "axis")
	sense := "shorter is better"
	if b.more {
		sense = "longer is better"
	}
	c.text(left, y+14, "start", "soft", sense)
	c.text(width, y+14, "end", "soft", "÷ the best")
	return c.end()
}

func (b bars) drawBar(c *canvas, r bar, left, y, scale, best, width float64) {
	end := left + r.value*scale
	c.open("g")
	c.element("title", r.name+": "+b.format(r.value)+interval(b.format, r.low, r.high))
	if len(r.parts) == 0 {
		c.draw("rect", "class", "box", "x", left, "y", y, "width", max(end-left, 1), "height", 16, "rx", 1.5)
	}
	x := left
	for i, p := range r.parts {
		class := "box"
		if i%2 == 1 {
			class = "second"
		}
		c.draw("rect", "class", class, "x", x, "y", y, "width", max(p.value*scale, 1), "height", 16, "rx", 1.5)
		x += p.value * scale
	}
	right := end
	if finite(r.low) && finite(r.high) {
		lo, hi := left+r.low*scale, left+r.high*scale
		c.draw("path", "class", "whisker", "d", "M"+px(lo)+" "+px(y+4)+"V"+px(y+12)+"M"+px(lo)+" "+px(y+8)+"H"+px(hi)+"M"+px(hi)+" "+px(y+4)+"V"+px(y+12))
		right = max(right, hi)
	}
	c.text(right+7, y+12, "start", "ink strong", b.format(r.value))
	if times := r.value / best; finite(times) {
		c.text(width, y+12, "end", "soft", ratio(times))
	}
	c.close("g")
}

// interval says one in words that follow a figure.
func interval(f format, low, high float64) string {
	if !finite(low) || !finite(high) {
		return ""
	}
	return ", 95 % interval " + f(low) + " to " + f(high)
}

func finiteOr(v, otherwise float64) float64 {
	if finite(v) {
		return v
	}
	return otherwise
}
