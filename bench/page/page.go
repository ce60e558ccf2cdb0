// Package page draws benchmark reports: one HTML page that holds all it needs, and SVG figures.
//
// The drawings are made here, not by a plotting library. What there is for Go (gonum.org/v1/plot is the best kept) sets every colour and size at
// the time of drawing, so that a figure cannot follow the reader's dark mode or be hidden curve by curve, writes no title and description for
// screen readers, and has neither names at the ends of curves nor an axis of percentiles; what is needed beyond it is most of what is here.
package page

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"io"
	"strings"

	"github.com/fastrpc/fastrpc/bench/result"
)

// Input is a report and the name that it goes by, such as that of its file.
type Input struct {
	Name   string
	Report *result.Report
}

// Write writes one page of the reports, in their order. The page loads nothing: style, script and figures are inside, and its policy forbids
// the rest. Names, notes and errors in reports are text to it, whatever they hold. It reads the reports, does not change them, and needs
// memory of some times the page's size.
func Write(w io.Writer, reports ...Input) error {
	p := contents{Style: template.CSS(style), Script: template.JS(script), Policy: policy}
	k := &keys{}
	for i, in := range reports {
		p.Sections = append(p.Sections, newSection("r"+count(float64(i+1)), in, k))
	}
	p.Title = "Benchmarks"
	if len(p.Sections) == 1 {
		p.Title = p.Sections[0].Title
	}
	return templates.Execute(w, p)
}

// contents is what the template makes the page of.
type contents struct {
	Title    string
	Style    template.CSS
	Script   template.JS
	Policy   string
	Sections []*section
}

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

//go:embed page.js
var script string

var (
	style     = strings.TrimSpace(drawingCSS() + pageCSS)
	templates = template.Must(template.New("page").Funcs(template.FuncMap{"class": key.class}).Parse(pageHTML))

	// policy allows the style and the script that are in the page, by their digest, and nothing else at all (Content Security Policy
	// Level 3, 2.3.1). A style attribute would be refused: drawings have presentation attributes, which are no styles.
	policy = "default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'sha256-" + digest(style) + "'; script-src 'sha256-" + digest(script) + "'"
)

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.StdEncoding.EncodeToString(sum[:])
}
