package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fastrpc/fastrpc/bench/result"
	"github.com/fastrpc/fastrpc/bench/result/diff"
	"github.com/fastrpc/fastrpc/bench/result/text"
)

func diffCommand() *cobra.Command {
	o := diff.Options{Alpha: diff.DefaultAlpha, Worse: diff.DefaultWorse}
	cmd := &cobra.Command{
		Use:   "diff OLD.json NEW.json",
		Short: "Tell what changed between two reports of bench compare",
		Long: `Diff compares two reports that 'bench compare --json' wrote, on the same machine and of the same workload:
p50, p99, calls per second, CPU time and allocations per call, of each system at each point that both have.
Whether a difference is more than chance says the test that benchstat uses (Mann-Whitney U, over the rounds),
which needs four rounds of each for p = 0.05, and five for some reserve.

The exit code is 0 when nothing got worse, 1 when something did, significantly and by more than --worse, or a
system that had been measured failed, and 2 when the reports cannot be compared.

A shared machine drifts from one run to the next, by more than programs do; --relative-to net-tcp compares each
figure as its ratio to that system's in the same round, which leaves that out.`,
		Example: `  fastrpc bench compare --rounds 10 --json old.json
  fastrpc bench compare --rounds 10 --json new.json
  fastrpc bench diff old.json new.json
  fastrpc bench diff --worse 5% --relative-to net-tcp old.json new.json`,
		Args: usageArgs(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			old, err := result.Load(args[0])
			if err != nil {
				return usageError{err}
			}
			now, err := result.Load(args[1])
			if err != nil {
				return usageError{err}
			}
			d, err := diff.Compare(old, now, o)
			if err != nil {
				return usageError{err}
			}
			if err := text.Diff(cmd.OutOrStdout(), old, now, d); err != nil {
				return err
			}
			if !d.OK() {
				return exitError(exitFailure)
			}
			return nil
		},
		ValidArgsFunction: cobra.FixedCompletions([]cobra.Completion{"json"}, cobra.ShellCompDirectiveFilterFileExt),
	}
	f := cmd.Flags()
	f.Var((*share)(&o.Worse), "worse", "how much worse a figure may get")
	f.Var((*share)(&o.Alpha), "alpha", "how probable a difference by chance may be")
	f.StringVar(&o.RelativeTo, "relative-to", "", "compare figures as ratios to this system's in the same round")
	f.BoolVar(&o.Anyway, "anyway", false, "compare reports of different machines, too")
	return cmd
}

// share is a flag's part of a whole: 5% or 0.05.
type share float64

func (s *share) String() string { return strconv.FormatFloat(100*float64(*s), 'g', 4, 64) + "%" }
func (s *share) Type() string   { return "percent" }

func (s *share) Set(text string) error {
	number, percent := strings.CutSuffix(strings.TrimSpace(text), "%")
	x, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if percent {
		x /= 100
	}
	if err != nil || !(x >= 0 && x < 1) {
		return fmt.Errorf("%q is no share; write 5%% or 0.05, below 100%%", text)
	}
	*s = share(x)
	return nil
}
