package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fastrpc/fastrpc/bench"
	"github.com/fastrpc/fastrpc/bench/result"
)

// lockFile keeps other benchmarks off the machine.
var lockFile = bench.LockFile()

// tokenVariable is the environment's word for --token, which other users of the machine do not see.
const tokenVariable = "FASTRPC_BENCH_TOKEN"

// A benchRun is what the commands that measure have in common: where they measure, and what becomes of it.
type benchRun struct {
	config bench.Config
	out    outputs
	wait   bool
}

func (b *benchRun) addFlags(cmd *cobra.Command) {
	f, c := cmd.Flags(), &b.config
	f.StringVar(&c.Lab, "lab", "", "use this lab, which stays, instead of making one")
	f.StringVar(&c.Agent.Addr, "agent", "", "have the server run where 'fastrpc bench agent' listens, `HOST[:PORT]`, instead of in a lab")
	f.StringVar(&c.Agent.Token, "token", "", "the agent's; by default $"+tokenVariable)
	f.StringVar(&c.Interface, "interface", "", "send packets to the agent's machine over this interface, by default the one that leads there; without an agent both ends are here, on this interface, as RDMA wants it")
	f.IntSliceVar(&c.CPUs, "cpus", nil, "CPUs of the client and of the server, as in 2,3; by default the first two of those allowed")
	f.Uint64Var(&c.Seed, "seed", 0, "decides the order of the systems in each round, and the arrivals of open loops; 0: any, which the report tells")
	f.BoolVar(&b.wait, "wait", false, "wait while another benchmark runs on the machine, instead of giving up")
	b.out.addFlags(cmd)
	_ = cmd.RegisterFlagCompletionFunc("lab", completeLabs)
	_ = cmd.RegisterFlagCompletionFunc("interface", completeInterface)
}

// run measures what the configuration says. What was measured is written also when the run ended before its time.
func (b *benchRun) run(cmd *cobra.Command) error {
	c := &b.config
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	c.Child = []string{exe, "bench", benchChild}
	bench.AddPeers(peersDir(exe), c.Systems)
	c.Systems = bench.Expand(c.Systems, c.Workload)
	c.LockFile = lockFile
	if b.wait {
		c.Waiting = func(err error) { fmt.Fprintf(cmd.ErrOrStderr(), "fastrpc: %v; waiting\n", err) }
	}
	switch {
	case c.Agent.Addr == "" && c.Agent.Token != "":
		return usageError{errors.New("--token is an agent's; name that with --agent")}
	case c.Agent.Addr != "":
		if _, _, err := net.SplitHostPort(c.Agent.Addr); err != nil {
			c.Agent.Addr = net.JoinHostPort(strings.Trim(c.Agent.Addr, "[]"), agentPort)
		}
		c.Agent.Token = cmp.Or(c.Agent.Token, os.Getenv(tokenVariable))
	}
	defer b.out.discard()
	runs, err := c.Runs()
	if err != nil {
		return usageError{err}
	}
	if err := b.out.prepare(c.Workload, runs); err != nil {
		return err
	}
	bar := newBar(cmd.ErrOrStderr(), bench.AxisOf(c.Workload))
	c.Progress = bar.show
	report, err := bench.Compare(cmd.Context(), *c)
	bar.clear()
	switch {
	case errors.Is(err, bench.ErrBusy):
		return fmt.Errorf("%w; --wait waits for it", err)
	case report == nil:
		return err
	}
	written := b.out.write(cmd, report)
	if err == nil && !slices.ContainsFunc(report.Results, func(r result.Result) bool { return len(r.Rounds) > 0 }) {
		err = errors.New("nothing was measured, for the reasons above")
	}
	if err == nil || written == nil {
		return errors.Join(err, written)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "fastrpc: %v\n", written) // of an interruption no more is said than that
	return err
}

// peersDir is where 'make peers' puts the programs of other systems.
func peersDir(exe string) string { return filepath.Join(filepath.Dir(exe), "peers") }
