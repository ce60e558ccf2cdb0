package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/fastrpc/fastrpc/bench/page"
	"github.com/fastrpc/fastrpc/bench/result"
	"github.com/fastrpc/fastrpc/bench/result/text"
)

// htmlForm is the page as an output of a measurement.
func htmlForm() *form {
	return &form{flag: "html", run: 24 << 10, usage: "also write the report as a web page that needs nothing else to this file; - is standard output",
		write: func(w io.Writer, r *result.Report) error { return page.Write(w, page.Input{Report: r}) }}
}

func reportCommand() *cobra.Command {
	var html, svg string
	cmd := &cobra.Command{
		Use:   "report RESULT.json...",
		Short: "Show reports that were kept: as text, as a web page, as a picture",
		Long: `Report reads what 'fastrpc bench' wrote with --json, - for standard input, and prints the same tables again.

With --html it writes one web page of all reports instead, of several workloads if need be: percentile curves, load
against latency, bars with confidence intervals, where the time of a round trip goes, all figures, and the machine.
The page is one file and loads nothing. With --svg it writes the picture of one report's median and 99th percentile
of every system.`,
		Example: `  fastrpc bench report result.json
  fastrpc bench report latency.json sweep.json sizes.json --html report.html
  fastrpc bench report bench/results/unary-64.json --svg docs/latency.svg`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"json"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if svg != "" && len(args) > 1 {
				return usageError{errors.New("--svg is the picture of one report; name one")}
			}
			if svg != "" && html != "" && filepath.Clean(svg) == filepath.Clean(html) {
				return usageError{fmt.Errorf("--html and --svg are both %s; name two files", html)}
			}
			var reports []page.Input
			for _, name := range args {
				in := page.Input{Name: filepath.Base(name)}
				var err error
				if name == standardInput {
					in.Name = "standard input"
					in.Report, err = result.Read(cmd.InOrStdin())
				} else {
					in.Report, err = result.Load(name)
				}
				if err != nil {
					return err
				}
				reports = append(reports, in)
			}
			if html == "" && svg == "" {
				return printReports(cmd.OutOrStdout(), reports)
			}
			return errors.Join(
				writeNamed(cmd, "html", html, func(w io.Writer) error { return page.Write(w, reports...) }),
				writeNamed(cmd, "svg", svg, func(w io.Writer) error { return page.Figure(w, reports[0].Report) }))
		},
	}
	cmd.Flags().StringVar(&html, "html", "", "write one web page of all reports to this file; - is standard output")
	cmd.Flags().StringVar(&svg, "svg", "", "write the picture of the report's latencies to this file; - is standard output")
	_ = cmd.MarkFlagFilename("html", "html")
	_ = cmd.MarkFlagFilename("svg", "svg")
	return cmd
}

const standardInput = "-"

// printReports prints the tables of the reports, a blank line between two.
func printReports(w io.Writer, reports []page.Input) error {
	for i, in := range reports {
		if i > 0 {
			fmt.Fprintln(w)
		}
		if err := text.Screen(w, in.Report); err != nil {
			return err
		}
	}
	return nil
}

// writeNamed writes the file that the flag names, if it does, or nothing of it.
func writeNamed(cmd *cobra.Command, flag, name string, write func(io.Writer) error) error {
	var err error
	switch name {
	case "":
		return nil
	case standardOutput:
		err = write(cmd.OutOrStdout())
	default:
		var s *stage
		if s, err = newStage(name, bytesOfReport); err == nil {
			err = s.commit(write)
		}
	}
	if err != nil {
		return fmt.Errorf("--%s %s: %w", flag, name, err)
	}
	return nil
}
