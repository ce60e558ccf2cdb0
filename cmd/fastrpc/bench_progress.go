package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/bench"
	"github.com/fastrpc/fastrpc/bench/result"
	"github.com/fastrpc/fastrpc/bench/result/text"
)

// A bar tells people how far a run is: one line, rewritten in place. Nothing is written to what is no terminal.
type bar struct {
	w       io.Writer
	columns int // 0: no terminal
	axis    result.Axis
}

func newBar(w io.Writer, axis result.Axis) *bar {
	b := &bar{w: w, axis: axis}
	if terminal(w) {
		b.columns = 80
		if size, err := unix.IoctlGetWinsize(int(w.(*os.File).Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 {
			b.columns = int(size.Col)
		}
	}
	return b
}

func (b *bar) show(p bench.Progress) {
	if b.columns > 0 {
		fmt.Fprintf(b.w, "\r%s\x1b[K", barLine(p, b.axis, b.columns))
	}
}

// clear takes the line away.
func (b *bar) clear() {
	if b.columns > 0 {
		fmt.Fprint(b.w, "\r\x1b[K")
	}
}

const barCells = 20

// barLine is the line, short enough that the terminal does not break it.
func barLine(p bench.Progress, axis result.Axis, columns int) string {
	done := barCells * p.Done / max(p.Runs, 1)
	line := fmt.Sprintf("[%s%s] %3d %%  round %d of %d  %s", strings.Repeat("#", done), strings.Repeat(".", barCells-done),
		100*p.Done/max(p.Runs, 1), p.Round, p.Rounds, p.System)
	if at := text.OnAxis(axis, p.Point); at != "" {
		line += " at " + at
	}
	line += " " + string(p.Step)
	if p.Left > 0 {
		line += "  " + p.Left.Round(time.Second).String() + " left"
	}
	return line[:min(len(line), columns-1)]
}
