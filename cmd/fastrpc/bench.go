package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/bench"
)

func benchCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:     "bench",
		Short:   "Measure on this machine",
		Long:    "Measure fastrpc, and what one would use instead, on this machine.",
		Example: "  fastrpc bench compare",
	}, compareCommand(), benchChildCommand())
}

func compareCommand() *cobra.Command {
	var c bench.Config
	var jsonFile string
	cmd := &cobra.Command{
		Use:   "compare",
		Short: "Compare round trips over several systems in one interleaved run",
		Long: `Compare makes a lab of two network namespaces joined by a veth pair, runs each system in turn, round after
round, with a server process in one and a client process in the other, and prints one table: latency of a
round trip with one call outstanding, calls per second, heap allocations per call, and the ratio of the
median to net-tcp's and to the ring's. Every byte that comes back is checked.

  ring        a raw UDP packet over bare AF_XDP rings, no protocol: the floor
  xdp         fastrpc over AF_XDP, inline handler
  xdp-worker  fastrpc over AF_XDP, handler on the worker pool
  udp         fastrpc over kernel UDP, inline handler
  net-tcp     Go's net.Conn over TCP, as programs write it
  spin-tcp    TCP at its best: raw non-blocking sockets, spinning

A lab and AF_XDP need root, or CAP_SYS_ADMIN, CAP_DAC_OVERRIDE, CAP_NET_RAW, CAP_NET_ADMIN, CAP_BPF, CAP_PERFMON
and, under a low RLIMIT_MEMLOCK, CAP_IPC_LOCK. Without them the systems that need none run over loopback.`,
		Example: `  fastrpc bench compare
  fastrpc bench compare --systems ring,xdp,net-tcp --size 256 --duration 2s --rounds 3 --json result.json
  fastrpc lab up && fastrpc bench compare --lab fastrpc`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("duration") && !cmd.Flags().Changed("requests") {
				c.Requests = 0
			}
			exe, err := os.Executable()
			if err != nil {
				return err
			}
			c.Child = []string{exe, "bench", benchChild}
			clearLine := func() {}
			if terminal(cmd.ErrOrStderr()) {
				clearLine = func() { fmt.Fprint(cmd.ErrOrStderr(), "\r\x1b[K") }
				c.Progress = func(p bench.Progress) {
					clearLine()
					fmt.Fprintf(cmd.ErrOrStderr(), "round %d of %d: %s", p.Round, p.Rounds, p.System)
				}
			}
			write, discard, err := createJSON(cmd, jsonFile)
			if err != nil {
				return err
			}
			defer discard()
			report, err := bench.Compare(cmd.Context(), c)
			clearLine()
			if errors.Is(err, bench.ErrConfig) {
				return usageError{err}
			}
			if err != nil {
				return err
			}
			table := cmd.OutOrStdout()
			if jsonFile == "-" {
				table = cmd.ErrOrStderr()
			}
			return errors.Join(report.Table(table), write(report))
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&c.Systems, "systems", bench.Default(), "what to compare, in this order")
	f.IntVar(&c.Size, "size", 64, fmt.Sprintf("payload in bytes, %d to %d", bench.MinSize, bench.MaxSize))
	f.IntVar(&c.Requests, "requests", 20000, "measured calls a round")
	f.DurationVar(&c.Duration, "duration", 0, "measure for this long a round, instead of a number of requests")
	f.IntVar(&c.Rounds, "rounds", 5, "how often each system runs")
	f.StringVar(&c.Lab, "lab", "", "use this lab, which stays, instead of making one")
	f.StringVar(&jsonFile, "json", "", "also write the report as JSON to this file; - is standard output, the table then goes to standard error")
	_ = cmd.RegisterFlagCompletionFunc("systems", completeList(bench.Names))
	_ = cmd.RegisterFlagCompletionFunc("lab", completeLabs)
	_ = cmd.RegisterFlagCompletionFunc("size", cobra.NoFileCompletions)
	return cmd
}

// createJSON makes sure, before minutes of measuring, that the report can be written; it stands under its name once it is whole.
func createJSON(cmd *cobra.Command, name string) (write func(*bench.Report) error, discard func(), err error) {
	nothing := func() {}
	switch name {
	case "":
		return func(*bench.Report) error { return nil }, nothing, nil
	case "-":
		return func(r *bench.Report) error { return r.JSON(cmd.OutOrStdout()) }, nothing, nil
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".fastrpc-bench-*")
	if err != nil {
		return nil, nothing, fmt.Errorf("--json %s: %w", name, err)
	}
	discard = func() {
		f.Close()
		os.Remove(f.Name())
	}
	write = func(r *bench.Report) error {
		if err := errors.Join(r.JSON(f), f.Chmod(0o644), f.Close()); err != nil {
			return fmt.Errorf("--json %s: %w", name, err)
		}
		return os.Rename(f.Name(), name)
	}
	return write, discard, nil
}

const benchChild = "child"

// benchChildCommand is one side of one run, started by compare.
func benchChildCommand() *cobra.Command {
	return &cobra.Command{
		Use:    benchChild,
		Hidden: true,
		Args:   usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return bench.Child(cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
}

// terminal tells whether people watch w.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// completeList completes the last of several words joined by commas, each used once.
func completeList(words func() []string) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		head, used := "", ","
		if i := strings.LastIndex(typed, ","); i >= 0 {
			head, used = typed[:i+1], ","+typed[:i+1]
		}
		var out []string
		for _, w := range words() {
			if !strings.Contains(used, ","+w+",") {
				out = append(out, head+w)
			}
		}
		return out, cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
	}
}
