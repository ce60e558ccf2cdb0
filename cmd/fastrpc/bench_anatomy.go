package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/fastrpc/fastrpc/bench"
)

func anatomyCommand() *cobra.Command {
	var b benchRun
	c := &b.config
	cmd := &cobra.Command{
		Use:   "anatomy",
		Short: "Show where the time of a round trip goes",
		Long: `Anatomy makes calls, one at a time, with stamps on both sides: by the caller, the handler and the link, and in
the kernel by BPF programs at the driver and at the socket's ring. It splits each round trip into its stages,
which add up to it, and draws their medians:

  session            from the call to Link.Send, or from Link.Recv to the handler; and back
  TX to wire         from Link.Send, or a socket's write, until the driver has the packet
  wire               from one driver to the other's first code for the packet
  RX to application  from there until Link.Recv, or a socket's read, has returned it
  handler            on the server
  application        the reply is compared and released

A veth pair has no wire: there it is the kernel's code between the two drivers. Between two machines, whose clocks
differ, each way counts for half of what neither spent.

Stamps cost time, in the stages where they are made. Half of the calls are made without them, before and after the
others and in the same processes, and the difference is shown. Calls beside which other packets went, such as
heartbeats, are left out and counted.

It needs what 'fastrpc bench compare' needs for AF_XDP, and Linux 5.12 with BTF (/sys/kernel/btf/vmlinux) for the
kernel's stamps; what cannot be stamped is said, and its stage counts to the next.`,
		Example: `  fastrpc bench anatomy
  fastrpc bench anatomy --systems ring,xdp --size 1024 --rounds 5
  fastrpc bench anatomy --json anatomy.json --html anatomy.html`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c.Workload = bench.Anatomy
			return b.run(cmd)
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&c.Systems, "systems", []string{"ring", "xdp", "udp", "net-tcp"}, "whose round trips; all: every one that can be stamped")
	f.IntVar(&c.Size, "size", 64, fmt.Sprintf("bytes of the payload, %d to %d", bench.MinAnatomy, bench.MaxSize))
	f.IntVar(&c.Requests, "requests", 20000, fmt.Sprintf("measured calls a round with stamps, and as many without, up to %d", bench.MaxAnatomyCalls))
	f.IntVar(&c.Rounds, "rounds", 3, "how often each system runs")
	b.addFlags(cmd)
	_ = cmd.RegisterFlagCompletionFunc("systems", completeList(func() []string { return append(bench.AnatomySystems(), bench.All) }))
	_ = cmd.RegisterFlagCompletionFunc("size", cobra.NoFileCompletions)
	return cmd
}
