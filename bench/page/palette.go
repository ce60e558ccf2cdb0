package page

import (
	"fmt"
	"math"
	"strings"
)

// hue is a colour of a system in light and in dark surroundings. The eight keep apart for readers with protanopia, deuteranopia and
// tritanopia (after Okabe and Ito, "Color Universal Design", 2008), and have a contrast of at least 3:1 with the background (WCAG 2.2,
// 1.4.11); that is why the light ones are darker, and yellow has become ochre. Marker and dash tell systems apart without any colour.
type hue struct{ light, dark string }

var hues = [...]hue{
	{"#0067b3", "#58aef2"}, // blue
	{"#c94f00", "#ff934f"}, // vermilion
	{"#00805c", "#35cf9f"}, // green
	{"#a8327f", "#f08cc8"}, // purple
	{"#8a6a00", "#e2bb3d"}, // ochre
	{"#4a56c6", "#a3aeff"}, // indigo
	{"#5c6670", "#b4bec8"}, // grey
	{"#1a8fb8", "#7fdcff"}, // sky
}

var dashes = [...]string{"", "7 3", "2 3", "9 3 2 3"}

// key is how one system looks in all drawings of a page.
type key int

// class is the style class that sets the colour.
func (k key) class() string { return fmt.Sprintf("k%d", int(k)%len(hues)) }

// dash is the pattern of its lines. It changes when the colours begin again.
func (k key) dash() string { return dashes[int(k)/len(hues)%len(dashes)] }

// markers is the number of shapes. It has no factor in common with the number of hues, so that colour and shape together repeat late.
const markers = 7

// marker draws the system's shape, of some 3.5 pixels radius, filled or hollow.
func (k key) marker(c *canvas, x, y float64, class string) {
	const r = 3.6
	var d strings.Builder
	polygon := func(corners int, turn, r float64) {
		for i := range corners {
			a := turn + 2*math.Pi*float64(i)/float64(corners)
			fmt.Fprintf(&d, "%c%s %s", "ML"[min(i, 1)], px(x+r*math.Sin(a)), px(y-r*math.Cos(a)))
		}
		d.WriteByte('Z')
	}
	switch int(k) % markers {
	case 0:
		c.draw("circle", "class", class, "cx", x, "cy", y, "r", r)
		return
	case 1:
		polygon(4, math.Pi/4, r*1.3) // square
	case 2:
		polygon(3, 0, r*1.4) // triangle
	case 3:
		polygon(4, 0, r*1.35) // diamond
	case 4:
		polygon(3, math.Pi, r*1.4) // triangle on its tip
	case 5:
		polygon(5, 0, r*1.25) // pentagon
	case 6:
		polygon(6, math.Pi/2, r*1.2) // hexagon
	}
	c.draw("path", "class", class, "d", d.String())
}

// Colours of everything that is no system.
var surroundings = struct{ ground, ink, soft, hair hue }{
	ground: hue{"#ffffff", "#14181c"},
	ink:    hue{"#1c2329", "#e6eaee"},
	soft:   hue{"#58626c", "#a3adb7"}, // second in rank; contrast 4.5:1 and more
	hair:   hue{"#dde2e7", "#2f373f"}, // lines of the grid
}

// drawingCSS is the style of all drawings. Colours of systems go by the property color, so that lines take it as currentColor.
func drawingCSS() string {
	var b strings.Builder
	b.WriteString(`svg{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",Arial,sans-serif}
.line,.ghost,.lead,.knee,.grid,.axis,.whisker{fill:none;stroke:currentColor}
.line{stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}
.ghost{stroke-width:1.3;stroke-dasharray:1 4;stroke-linecap:round}
.lead{stroke-width:.8;opacity:.45}.knee{stroke-width:1.6}.whisker{stroke-width:1.5}
.mark,.box,.name{fill:currentColor}.name,.strong{font-weight:600}.large{font-size:15px;font-weight:600}
.hollow{stroke:currentColor;stroke-width:1.5}.second{fill:currentColor;fill-opacity:.45}
`)
	theme := func(pick func(hue) string) {
		for i, h := range hues {
			fmt.Fprintf(&b, ".k%d{color:%s}", i, pick(h))
		}
		for _, rule := range []struct {
			selectors, property string
			of                  hue
		}{
			{".ink,.strong,.large", "fill", surroundings.ink},
			{".soft", "fill", surroundings.soft},
			{".grid", "stroke", surroundings.hair},
			{".axis", "stroke", surroundings.soft},
			{".whisker,.hair", "stroke", surroundings.ink},
			{".hollow,.ground", "fill", surroundings.ground},
			{".box,.second", "stroke", surroundings.ground},
		} {
			fmt.Fprintf(&b, "%s{%s:%s}", rule.selectors, rule.property, pick(rule.of))
		}
	}
	theme(func(h hue) string { return h.light })
	b.WriteString("\n@media screen and (prefers-color-scheme:dark){")
	theme(func(h hue) string { return h.dark })
	b.WriteString("}\n")
	return b.String()
}
