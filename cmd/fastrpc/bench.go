package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

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
	}, compareCommand(), diffCommand(), benchAgentCommand(), benchChildCommand())
}

func compareCommand() *cobra.Command {
	var b benchRun
	c := &b.config
	cmd := &cobra.Command{
		Use:   "compare",
		Short: "Compare several systems in one interleaved run",
		Long: `Compare makes a lab of two network namespaces joined by a veth pair, runs each system in turn, round after
round, with a server process in one and a client process in the other, and prints one table. Every byte that
comes back is checked. What it measures is the workload:

  latency     a round trip with one call outstanding: its time, calls per second, heap allocations per
              call, and the ratio of the median to net-tcp's and to the ring's
  rate        calls per second with many outstanding (--outstanding) from one goroutine, against the packets
              per second that the bare ring receives in a flood one way
  bulk        long messages one way, each answered by a few bytes: Gbit/s, against the payload of the largest
              packets that the bare ring receives in a flood one way
  flood       packets one way, of --size bytes from the IP header on, as fast as they go: those that arrive

These are the systems:

  ring        raw UDP packets over bare AF_XDP rings, no protocol: the floor, or with rate and bulk the ceiling
  ring-copy   the same flood, copied from a message and into one: the ceiling for bulk of whoever uses the data
  xdp         fastrpc over AF_XDP, inline handler
  xdp-worker  fastrpc over AF_XDP, handler on the worker pool
  udp         fastrpc over kernel UDP, inline handler
  net-tcp     Go's net.Conn over TCP, as programs write it
  net-udp     Go's net.UDPConn; nothing is sent again, so that a lost datagram fails the run
  unix        net.Conn over a Unix stream socket: processes of one machine only
  spin-tcp    TCP at its best: raw non-blocking sockets, spinning; latency only
  spin-tcp-busy  the same with SO_BUSY_POLL: a note says whether the device takes part

With 'make peers' there is the RPC of others over TCP too, for every workload but flood:

  grpc        google.golang.org/grpc            kitex       github.com/cloudwego/kitex, over netpoll
  connect     connectrpc.com/connect, over h2c  rpcx        github.com/smallnest/rpcx
  drpc        storj.io/drpc                     arpc        github.com/lesismal/arpc
  net-rpc     the standard library's net/rpc

and bare AF_XDP sockets of others, for workloads latency and flood:

  libxdp      a C program on libxdp; libxdp-tx: it sends a flood and the ring receives, libxdp-rx: the reverse
  asavie      Go's github.com/asavie/xdp

A lab and AF_XDP need root, or CAP_SYS_ADMIN, CAP_DAC_OVERRIDE, CAP_NET_RAW, CAP_NET_ADMIN, CAP_BPF, CAP_PERFMON
and, under a low RLIMIT_MEMLOCK, CAP_IPC_LOCK. Without them the systems that need none run over loopback.

The order of the systems differs from round to round. Ctrl-C ends the run at any time: the lab goes, and what was
measured by then is written as if it had been all. One comparison runs on a machine at a time. With two machines
'fastrpc bench agent' runs on the server's, and --agent names it.`,
		Example: `  fastrpc bench compare
  fastrpc bench compare --systems ring,xdp,net-tcp --size 256 --duration 2s --rounds 3 --json result.json
  fastrpc bench compare --workload rate --outstanding 32 --duration 2s
  fastrpc bench compare --workload bulk --size 8388608
  fastrpc bench compare --systems all
  fastrpc lab up && fastrpc bench compare --lab fastrpc`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			completeConfig(cmd, c)
			return b.run(cmd)
		},
	}
	f := cmd.Flags()
	f.StringVar(&c.Workload, "workload", bench.Latency, "what to measure: "+strings.Join(bench.Workloads(), ", "))
	f.StringSliceVar(&c.Systems, "systems", bench.Default(bench.Latency), "what to compare; all: every one that has the workload; by default those of this project and the kernel's")
	f.IntVar(&c.Size, "size", 64, fmt.Sprintf("payload in bytes, %d to %d; workload bulk: %d to %d, by default %d; workload flood: %d to %d",
		bench.MinSize, bench.MaxSize, bench.MinBulk, bench.MaxBulk, bulkBytes, bench.MinFlood, bench.MaxFlood))
	f.IntVar(&c.Outstanding, "outstanding", 1, fmt.Sprintf("calls at once, up to %d; workload rate: by default %d", bench.MaxOutstanding, rateOutstanding))
	f.IntVar(&c.Requests, "requests", 20000, "measured calls a round; workload latency only")
	f.DurationVar(&c.Duration, "duration", 0, fmt.Sprintf("measure for this long a round, instead of a number of requests; workloads rate and bulk: by default %v", loadFor))
	f.IntVar(&c.Rounds, "rounds", 5, "how often each system runs")
	f.IntVar(&c.MTU, "mtu", 0, "MTU of the lab that is made; by default 1500, or the size of workload flood")
	b.addFlags(cmd)
	_ = cmd.RegisterFlagCompletionFunc("workload", cobra.FixedCompletions(bench.Workloads(), cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("systems", completeList(func() []string { return slices.Concat(bench.Names(), bench.Peers(), []string{bench.All}) }))
	_ = cmd.RegisterFlagCompletionFunc("size", cobra.NoFileCompletions)
	return cmd
}

// Defaults of the workloads other than latency.
const (
	rateOutstanding = 32
	bulkBytes       = 8 << 20
	loadFor         = 2 * time.Second
)

// completeConfig sets what was not given as the workload has it.
func completeConfig(cmd *cobra.Command, c *bench.Config) {
	given := cmd.Flags().Changed
	if !given("systems") {
		c.Systems = bench.Default(c.Workload)
	}
	if c.Workload == bench.Rate && !given("outstanding") {
		c.Outstanding = rateOutstanding
	}
	if c.Workload == bench.Bulk && !given("size") {
		c.Size = bulkBytes
	}
	if c.Workload == bench.Flood && !given("size") {
		c.Size = bench.MinFlood
	}
	if c.Workload != bench.Latency && !given("duration") {
		c.Duration = loadFor
	}
	if !given("requests") && c.Duration != 0 {
		c.Requests = 0
	}
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
