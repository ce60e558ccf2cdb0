package text

import (
	"bytes"
	"strings"
	"testing"

	"github.com/fastrpc/fastrpc/bench/result"
	"github.com/fastrpc/fastrpc/bench/result/diff"
)

func diffOf(t *testing.T, old, now *result.Report, o diff.Options) string {
	t.Helper()
	d, err := diff.Compare(old, now, o)
	if err != nil {
		t.Fatal(err)
	}
	return string(writeTo(t, func(w *bytes.Buffer) error { return Diff(w, old, now, d) }, Diff(full{}, old, now, d)))
}

func TestDiff(t *testing.T) {
	o := diff.Options{Alpha: diff.DefaultAlpha, Worse: diff.DefaultWorse}
	worse := sample()
	worse.Results[1].Rounds = roundsOf(9, 2, 5)
	worse.Results[2].Rounds, worse.Results[2].Error = nil, "client: exit status 3"
	worse.Machine.Revision = "fedcba9876543210"
	golden(t, "diff-worse.txt", []byte(diffOf(t, sample(), worse, o)))
	golden(t, "diff-equal.txt", []byte(diffOf(t, sample(), sample(), o)))
	few := sample()
	for i := range few.Results {
		few.Results[i].Rounds = few.Results[i].Rounds[:min(2, len(few.Results[i].Rounds))]
	}
	if text := diffOf(t, few, few, o); !strings.Contains(text, "20 of 20 comparisons have too few rounds: with theirs, p is 0.333 at best") || strings.Contains(text, "~:") {
		t.Error(text)
	}
	o.RelativeTo, o.Worse = "net-tcp", 0.05
	if text := diffOf(t, sample(), worse, o); !strings.Contains(text, "p50, relative to net-tcp") || !strings.Contains(text, "WORSE by more than 5.0 %: p50 of xdp, +") {
		t.Error(text)
	}
}
