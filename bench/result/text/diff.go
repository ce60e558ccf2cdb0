package text

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"

	"github.com/fastrpc/fastrpc/bench/result"
	"github.com/fastrpc/fastrpc/bench/result/diff"
)

// Diff writes what changed between two reports, old and now, which d was made of: a table for each figure, then what got worse.
func Diff(w io.Writer, old, now *result.Report, d *diff.Diff) error {
	var b strings.Builder
	fmt.Fprintf(&b, "old: %s\nnew: %s\n", origin(old), origin(now))
	for _, note := range d.Notes {
		fmt.Fprintf(&b, "note: %s\n", strings.ReplaceAll(note, "\n", "; "))
	}
	for i := 0; i < len(d.Rows); {
		n := i + 1
		for n < len(d.Rows) && d.Rows[n].Figure.Name == d.Rows[i].Figure.Name {
			n++
		}
		changes(&b, old, d, d.Rows[i:n])
		i = n
	}
	b.WriteByte('\n')
	verdict(&b, old, d)
	_, err := io.WriteString(w, b.String())
	return err
}

func origin(r *result.Report) string {
	return fmt.Sprintf("%s, workload %s, revision %s, %s", orUnknown(r.Machine.Date), r.Run.Workload, orUnknown(r.Machine.Revision), orUnknown(r.Machine.Go))
}

var verdicts = map[diff.Verdict]string{diff.Better: "better", diff.Worse: "WORSE", diff.FewRounds: "too few rounds"}

// changes writes the rows of one figure.
func changes(b *strings.Builder, old *result.Report, d *diff.Diff, rows []diff.Row) {
	f := rows[0].Figure
	title := f.Name
	if f.Unit != "" && f.Unit != "1/s" {
		title += ", " + f.Unit
	}
	if d.Options.RelativeTo != "" && f.Name != result.Allocs.Name {
		title = f.Name + ", relative to " + d.Options.RelativeTo
	}
	fmt.Fprintf(b, "\n%s\n", title)
	tw := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(tw, "system\told\tnew\tchange\tp\t\t\n")
	for i := range rows {
		r := &rows[i]
		change := "~"
		if r.Verdict != diff.Same && r.Verdict != diff.FewRounds {
			change = percent(r.Change())
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%.3f\t%s\t\n", label(old, r.Old), ratio(r.Before), ratio(r.After), change, r.P, verdicts[r.Verdict])
	}
	tw.Flush()
}

func percent(change float64) string {
	if math.IsInf(change, 0) {
		return "from 0"
	}
	return fmt.Sprintf("%+.1f %%", 100*change)
}

// verdict is what it all comes to.
func verdict(b *strings.Builder, old *result.Report, d *diff.Diff) {
	few, least := 0, 0.0
	for i := range d.Rows {
		if d.Rows[i].Verdict == diff.FewRounds {
			few, least = few+1, max(least, d.Rows[i].Least)
		}
	}
	if few > 0 {
		fmt.Fprintf(b, "%d of %d comparisons have too few rounds: with theirs, p is %.3f at best, above %.3g; measure both with more, 5 and 5 can reach 0.008\n",
			few, len(d.Rows), least, d.Options.Alpha)
	}
	if n := len(d.Rows) - few; n > 0 {
		fmt.Fprintf(b, "~: no difference at p = %.3g (Mann-Whitney U); of %s without any, chance alone makes about %.2g differ\n",
			d.Options.Alpha, plural(n, "comparison"), float64(n)*d.Options.Alpha)
	}
	for _, f := range d.Failed {
		fmt.Fprintf(b, "FAILED: %s, which was measured before: %s\n", label(old, f.Result), strings.ReplaceAll(f.Why, "\n", "; "))
	}
	worse := d.Worse()
	for i := range worse {
		fmt.Fprintf(b, "WORSE by more than %s: %s of %s, %s\n", strings.TrimPrefix(percent(d.Options.Worse), "+"), worse[i].Figure.Name, label(old, worse[i].Old),
			percent(worse[i].Change()))
	}
	if d.OK() {
		fmt.Fprintf(b, "nothing is worse by more than %s\n", strings.TrimPrefix(percent(d.Options.Worse), "+"))
	}
}
