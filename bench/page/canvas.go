package page

import (
	"encoding/xml"
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"
)

// canvas writes the elements of an SVG. Everything that reaches it as text or attribute is escaped, for XML and with that for HTML.
type canvas struct{ b strings.Builder }

// begin opens an SVG of this size in CSS pixels. Title and description are what a screen reader says in place of it.
func (c *canvas) begin(id string, width, height float64, title, desc string, attrs ...any) {
	c.open("svg", append([]any{"xmlns", "http://www.w3.org/2000/svg", "viewBox", "0 0 " + px(width) + " " + px(height), "width", width, "height", height,
		"role", "img", "aria-labelledby", id + "-t " + id + "-d"}, attrs...)...)
	c.element("title", title, "id", id+"-t")
	c.element("desc", desc, "id", id+"-d")
}

func (c *canvas) end() template.HTML {
	c.close("svg")
	return template.HTML(c.b.String())
}

func (c *canvas) open(name string, attrs ...any) {
	c.b.WriteByte('<')
	c.b.WriteString(name)
	c.attributes(attrs)
	c.b.WriteByte('>')
}

func (c *canvas) close(name string) { c.b.WriteString("</" + name + ">") }

// draw writes an element without content.
func (c *canvas) draw(name string, attrs ...any) {
	c.b.WriteByte('<')
	c.b.WriteString(name)
	c.attributes(attrs)
	c.b.WriteString("/>")
}

// element writes an element that holds text.
func (c *canvas) element(name, text string, attrs ...any) {
	c.open(name, attrs...)
	c.escape(text)
	c.close(name)
}

// text writes a text at x, y of its baseline; anchor is "start", "middle" or "end".
func (c *canvas) text(x, y float64, anchor, class, text string, attrs ...any) {
	attrs = append([]any{"x", x, "y", y, "class", class}, attrs...)
	if anchor != "start" {
		attrs = append(attrs, "text-anchor", anchor)
	}
	c.element("text", text, attrs...)
}

func (c *canvas) line(x1, y1, x2, y2 float64, class string) {
	c.draw("path", "class", class, "d", "M"+px(x1)+" "+px(y1)+"L"+px(x2)+" "+px(y2))
}

// attributes are pairs of a name and a string or a number.
func (c *canvas) attributes(attrs []any) {
	for i := 0; i+1 < len(attrs); i += 2 {
		fmt.Fprintf(&c.b, " %s=\"", attrs[i])
		switch v := attrs[i+1].(type) {
		case float64:
			c.b.WriteString(px(v))
		case int:
			c.b.WriteString(strconv.Itoa(v))
		default:
			c.escape(fmt.Sprint(v))
		}
		c.b.WriteByte('"')
	}
}

func (c *canvas) escape(s string) { _ = xml.EscapeText(&c.b, []byte(s)) } // a Builder does not fail

// px says a length to a tenth of a pixel.
func px(v float64) string {
	if !finite(v) {
		return "0"
	}
	return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64)
}

// Sizes of text, in pixels, as the style sheet has them.
const (
	textSize  = 12.0
	lineStep  = 14.0 // between labels below each other
	longLabel = 18   // characters of a system's name in a drawing; tables have it whole
)

// textWidth is about how wide a text is in a sans-serif of textSize: fonts differ by some percent, and this is on the wide side.
func textWidth(s string) float64 {
	w := 0.0
	for _, r := range s {
		switch {
		case strings.ContainsRune("iljI.,:;'|!() /", r):
			w += 0.35
		case strings.ContainsRune("mwMW%@—", r):
			w += 0.95
		case r > 0x2fff: // wide characters of East Asia
			w += 1.1
		default:
			w += 0.62
		}
	}
	return w * textSize
}

// abbreviate cuts a text to so many characters.
func abbreviate(s string, characters int) string {
	r := []rune(s)
	if len(r) <= characters {
		return s
	}
	return string(r[:characters-1]) + "…"
}
