package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Version is that of the JSON form. It grows when a field goes away or changes its meaning; fields, checks and groups may be added without.
const Version = 1

// Level says how much a finding matters.
type Level string

// The levels.
const (
	OK    Level = "ok"
	Note  Level = "note"  // works, and could be better, or must be known
	Wrong Level = "wrong" // prevents xdp://, or rdma:// in a report about that
)

// Group is the layer of the machine that a finding is about.
type Group string

// The groups, in the order of a report.
const (
	Kernel     Group = "kernel"
	Interface  Group = "interface"
	XDP        Group = "xdp"
	RDMA       Group = "rdma"
	Interrupts Group = "interrupts"
	CPU        Group = "cpu"
	Memory     Group = "memory"
)

// Finding is the outcome of one check.
type Finding struct {
	Check  string   `json:"check"` // its name, stable
	Group  Group    `json:"group"`
	Device string   `json:"device,omitempty"` // of RDMA, that it is about
	Level  Level    `json:"level"`
	Text   string   `json:"text"`
	Fix    []string `json:"fix,omitempty"` // commands that mend it, to be run in turn
}

// Report is all that was found about an interface, or about RDMA devices.
type Report struct {
	Version   int          `json:"version"`
	Scheme    string       `json:"scheme"`              // that it is about: xdp or rdma
	Interface string       `json:"interface,omitempty"` // of xdp
	Fit       bool         `json:"fit"`                 // nothing was found that prevents it
	Granted   *Granted     `json:"granted,omitempty"`
	RDMA      []RDMADevice `json:"rdma,omitempty"` // those that were examined
	Findings  []Finding    `json:"findings"`
}

// Granted is what the probe got.
type Granted struct {
	Mode     string `json:"mode"`      // native or generic
	Queues   int    `json:"queues"`    // that took a socket
	ZeroCopy int    `json:"zero_copy"` // those of them with zero-copy
}

func (g *Granted) String() string {
	s := fmt.Sprintf("%s, sockets on %s", g.Mode, plural(g.Queues, "queue"))
	switch g.ZeroCopy {
	case 0:
		return s + " in copy mode"
	case g.Queues:
		return s + " with zero-copy"
	}
	return s + fmt.Sprintf(", %d of them with zero-copy", g.ZeroCopy)
}

func ok(check, text string, args ...any) Finding    { return found(OK, check, text, args) }
func note(check, text string, args ...any) Finding  { return found(Note, check, text, args) }
func wrong(check, text string, args ...any) Finding { return found(Wrong, check, text, args) }

func found(l Level, check, text string, args []any) Finding {
	return Finding{Check: check, Level: l, Text: fmt.Sprintf(text, args...)}
}

// mend adds commands.
func (f Finding) mend(commands ...string) Finding {
	f.Fix = append(f.Fix, commands...)
	return f
}

// worse adds to what a finding says, and raises its level.
func (f *Finding) worse(l Level, text string, args ...any) {
	if f.Level != Wrong {
		f.Level = l
	}
	f.Text += "; " + fmt.Sprintf(text, args...)
}

// add takes findings of one group; those without a name stand for checks that do not apply.
func (r *Report) add(g Group, findings ...Finding) {
	for _, f := range findings {
		if f.Check == "" {
			continue
		}
		f.Group = g
		r.Findings = append(r.Findings, f)
	}
	r.Fit = r.count(Wrong) == 0
}

func (r *Report) count(l Level) (n int) {
	for _, f := range r.Findings {
		if f.Level == l {
			n++
		}
	}
	return n
}

// JSON writes the report, indented, with a final newline.
func (r *Report) JSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(r)
}

const (
	width  = 80
	indent = 22 // of the text
)

// Print writes the report for people, 80 columns wide: by layer, in each the worst first, below a finding the commands that mend it, which
// are never broken, and at the end the verdict.
func (r *Report) Print(w io.Writer) error {
	var b strings.Builder
	for _, g := range []Group{Kernel, Interface, XDP, RDMA, Interrupts, CPU, Memory} {
		for _, device := range r.devices(g) {
			fmt.Fprintln(&b, strings.TrimSpace(string(g)+" "+device))
			for _, l := range []Level{Wrong, Note, OK} {
				for _, f := range r.Findings {
					if f.Group == g && f.Device == device && f.Level == l {
						printFinding(&b, f)
					}
				}
			}
			b.WriteByte('\n')
		}
	}
	for _, line := range wrap(r.verdict(), width) {
		fmt.Fprintln(&b, line)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// devices lists those that findings of a group are about, each once: with the empty name, if they are not of devices.
func (r *Report) devices(g Group) (names []string) {
	for _, f := range r.Findings {
		if f.Group == g && !slices.Contains(names, f.Device) {
			names = append(names, f.Device)
		}
	}
	return names
}

func printFinding(b *strings.Builder, f Finding) {
	fmt.Fprintf(b, "  %-5s  %-12s ", f.Level, f.Check)
	for i, line := range wrap(f.Text, width-indent) {
		if i > 0 {
			fmt.Fprintf(b, "%*s", indent, "")
		}
		fmt.Fprintln(b, line)
	}
	for _, command := range f.Fix {
		fmt.Fprintf(b, "%*s$ %s\n", 9, "", command)
	}
}

func (r *Report) verdict() string {
	who := r.Interface
	if r.Scheme == "rdma" {
		who = "this machine"
	}
	if !r.Fit {
		return fmt.Sprintf("%s is not fit for %s:// before what is wrong is mended (%d above); udp:// works meanwhile.", who, r.Scheme, r.count(Wrong))
	}
	v := who + " is fit for " + r.Scheme + "://"
	if r.Granted != nil {
		v += ": " + r.Granted.String()
	}
	if n := r.count(Note); n > 0 {
		v += "; " + plural(n, "note") + " above"
	}
	return v + "."
}

// wrap breaks a text at spaces into lines of at most so many characters; longer words stand alone.
func wrap(text string, columns int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case len([]rune(line))+1+len([]rune(word)) <= columns:
			line += " " + word
		default:
			lines, line = append(lines, line), word
		}
	}
	return append(lines, line)
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
