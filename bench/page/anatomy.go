package page

import (
	"fmt"
	"html/template"
	"slices"

	"github.com/fastrpc/fastrpc/bench/result"
)

// anatomy is a round trip of one system as a sequence diagram: time runs down, through a lane for each side.
type anatomy struct {
	id, title, desc string
	key             key
	stages          []stage
}

type stage struct {
	name, side   string
	from, took   float64 // microseconds
	kernel       float64 // of took: in the kernel's code
	kernelStamps bool    // tell it
}

var lanes = []string{result.SideClient, result.SideWire, result.SideServer}

// anatomy adds a diagram for each system that has stages, and bars of the sides for all.
func (s *section) anatomy(id, title string, rs []*result.Result) {
	b := bars{id: id, title: "Whose time it is" + title, format: microseconds}
	var figures []figure
	for i, r := range rs {
		stages := medianStages(r)
		if len(stages) == 0 {
			continue
		}
		a := anatomy{id: fmt.Sprintf("%s-%d", id, i+1), title: "A round trip of " + r.System + title, key: s.keys.of(r.System), stages: stages}
		sides := make([]float64, len(lanes))
		for _, g := range stages {
			sides[lane(g.side)] += g.took
			a.desc += fmt.Sprintf("%s, %s: %s%s. ", g.name, g.side, microseconds(g.took), kernelWords(g))
		}
		row := bar{key: a.key, name: r.System, low: nan, high: nan}
		for l, side := range sides {
			row.parts = append(row.parts, part{lanes[l], side})
			row.value += side
		}
		b.desc += fmt.Sprintf("%s: client %s, wire %s, server %s. ", r.System, microseconds(sides[0]), microseconds(sides[1]), microseconds(sides[2]))
		b.rows = append(b.rows, row)
		figures = append(figures, figure{ID: a.id, Title: a.title, Third: true, Drawings: []drawing{{"any", a.draw("")}}})
	}
	if len(b.rows) == 0 {
		return
	}
	if len(b.rows) > 1 {
		s.Figures = append(s.Figures, figure{ID: id, Title: b.title, Full: true,
			Caption:  "The stages of a round trip by the side on which they pass: from the left client, wire (pale), server. All on one axis.",
			Drawings: []drawing{{"broad", b.draw("-broad", wide)}, {"slim", b.draw("-slim", narrow)}}})
	}
	s.Reading = append(s.Reading, "In the pictures of a round trip time runs down, through a lane for each side. The pale part of a stage's width is the kernel's share of it; "+
		"of a stage drawn empty the stamps do not tell. The medians of stages add up to the median of the whole only about.")
	s.Figures = append(s.Figures, figures...)
}

func lane(side string) int { return max(slices.Index(lanes, side), 0) }

// medianStages are the stages in order, each with the median over the rounds that have it.
func medianStages(r *result.Result) []stage {
	var out []stage
	for i := range r.Rounds {
		if len(r.Rounds[i].Stages) > len(out) {
			out = nil
			for _, g := range r.Rounds[i].Stages {
				out = append(out, stage{name: g.Name, side: g.Side})
			}
		}
	}
	from := 0.0
	for i := range out {
		var took, kernel []float64
		for j := range r.Rounds {
			gs := r.Rounds[j].Stages
			if len(gs) != len(out) || gs[i].Name != out[i].name {
				continue
			}
			took = append(took, gs[i].P50)
			if gs[i].KernelP50 != nil {
				kernel = append(kernel, *gs[i].KernelP50)
			}
		}
		g := &out[i]
		g.from, g.took = from, max(finiteOr(result.Median(took), 0), 0)
		g.kernelStamps = len(kernel) > 0
		g.kernel = min(max(finiteOr(result.Median(kernel), 0), 0), g.took)
		from += g.took
	}
	return out
}

// Measures of the diagram, in pixels: three of them stand beside each other, one on a phone.
const (
	tripWidth = 344.0
	laneTop   = 26.0
	laneFirst = 42.0
	laneWidth = 29.0
	laneStep  = laneWidth + 6
	tripNames = laneFirst + 3*laneStep + 10
)

func laneX(side string) float64 { return laneFirst + float64(lane(side))*laneStep }

func (a anatomy) draw(suffix string) template.HTML {
	var c canvas
	height := max(380, laneTop+20+lineStep*1.3*float64(len(a.stages)))
	last := a.stages[len(a.stages)-1]
	end := max(last.from+last.took, 1e-9)
	y := func(at float64) float64 { return laneTop + at/end*(height-12-laneTop) }
	c.begin(a.id+suffix, tripWidth, height, a.title, a.desc, "class", "plot")
	for _, name := range lanes {
		c.text(laneX(name)+laneWidth/2, 14, "middle", "soft small", name)
		c.draw("rect", "class", "lane", "x", laneX(name), "y", y(0), "width", laneWidth, "height", y(end)-y(0), "rx", 3)
	}
	for _, t := range linearFromZero(end, microseconds).ticks {
		if t.at <= end*(1+1e-9) {
			c.line(laneFirst-6, y(t.at), tripNames-12, y(t.at), "grid")
			c.text(laneFirst-10, y(t.at)+4, "end", "soft small", t.label)
		}
	}
	middles := make([]float64, len(a.stages))
	for i, g := range a.stages {
		middles[i] = y(g.from + g.took/2)
	}
	places := spread(middles, y(0)+4, y(end)-2)
	c.open("g", "class", "series "+a.key.class(), "data-s", int(a.key))
	for i, g := range a.stages {
		x, top, tall := laneX(g.side)+2, y(g.from), max(y(g.from+g.took)-y(g.from), 1)
		if i > 0 && a.stages[i-1].side != g.side {
			before := laneX(a.stages[i-1].side) + 2
			c.line(min(x, before)+laneWidth-4, top, max(x, before), top, "line")
		}
		const width = laneWidth - 4.0
		if own := width * (1 - g.kernel/max(g.took, 1e-12)); g.kernelStamps {
			c.draw("rect", "class", "second", "x", x+own, "y", top, "width", width-own, "height", tall)
			c.draw("rect", "class", "box", "x", x, "y", top, "width", own, "height", tall)
		} else {
			c.draw("rect", "class", "hollow", "x", x+1, "y", top+min(1, tall/4), "width", width-2, "height", max(tall-2, tall/2))
		}
		c.draw("path", "class", "lead", "d", "M"+px(laneX(g.side)+laneWidth)+" "+px(middles[i])+"H"+px(tripNames-10)+"L"+px(tripNames-2)+" "+px(places[i]))
	}
	c.close("g")
	for i, g := range a.stages {
		took := microseconds(g.took)
		room := tripWidth - tripNames - textWidth(took)*1.06 - 6
		name := g.name
		for n := len([]rune(name)) - 1; textWidth(name) > room && n > 1; n-- {
			name = abbreviate(g.name, n)
		}
		c.open("g")
		c.element("title", g.name+", "+g.side+": "+took+kernelWords(g))
		c.text(tripNames, places[i]+4, "start", "ink", name)
		c.text(tripWidth, places[i]+4, "end", "strong", took)
		c.close("g")
	}
	return c.end()
}

func kernelWords(g stage) string {
	if !g.kernelStamps {
		return ""
	}
	return ", of which the kernel " + microseconds(g.kernel)
}
