package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/bench"
	"github.com/fastrpc/fastrpc/internal/lab"
)

func benchCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:     "bench",
		Short:   "Measure on this machine",
		Long:    "Measure fastrpc, and what one would use instead, on this machine.",
		Example: "  fastrpc bench compare",
	}, compareCommand(), anatomyCommand(), diffCommand(), reportCommand(), benchAgentCommand(), benchChildCommand())
}

func compareCommand() *cobra.Command {
	var b benchRun
	c := &b.config
	var along alongFlags
	cmd := &cobra.Command{
		Use:   "compare",
		Short: "Compare several systems in one interleaved run",
		Long: `Compare makes a lab of two network namespaces joined by a veth pair, runs each system in turn, round after
round, with a server process in one and a client process in the other, and prints one table. Every byte that
comes back is checked. What it measures is the workload:

` + workloadHelp() + `
These are the systems:

  ring        raw UDP packets over bare AF_XDP rings, no protocol: the floor, or with rate and bulk the ceiling
  ring-copy   the same flood, copied from a message and into one: the ceiling for bulk of whoever uses the data
  xdp         fastrpc over AF_XDP, inline handler
  xdp-worker  fastrpc over AF_XDP, handler on the worker pool
  udp         fastrpc over kernel UDP, inline handler
  tcp         fastrpc over kernel TCP, inline handler
  net-tcp     Go's net.Conn over TCP, as programs write it
  net-udp     Go's net.UDPConn; nothing is sent again, so that a lost datagram fails the run
  unix        net.Conn over a Unix stream socket: processes of one machine only
  spin-tcp    TCP at its best: raw non-blocking sockets, spinning over one connection
  spin-tcp-busy  the same with SO_BUSY_POLL: a note says whether the device takes part

In programs built with RDMA ('make build-rdma'), with --interface or --agent:

  rdma-ud, rdma-rc       fastrpc over datagrams and over connections, inline handler
  rdma-read, rdma-write  a one-sided operation on a region of the server's
  ib_send_lat (UD), ib_send_lat-rc, ib_write_lat, ib_read_lat, and for workload flood ib_send_bw: perftest's tools, the floor

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

The order of the systems differs from round to round. Ctrl-C ends the run at any time: the lab goes, and what
was measured by then is written, with a word on why it is not all. One comparison runs on a machine at a time.
With two machines 'fastrpc bench agent' runs on the server's, and --agent names it.

The exit code is 0 when anything was measured, also where a system is missing or failed, which the report says;
1 when nothing was, or an output could not be written; 2 when what was asked for cannot be; 130 after Ctrl-C.`,
		Example: `  fastrpc bench compare
  fastrpc bench compare --systems ring,xdp,net-tcp --size 256 --duration 2s --rounds 3 --json result.json
  fastrpc bench compare --workload rate --outstanding 32 --duration 2s
  fastrpc bench compare --workload rate --outstanding 64 --blocking
  fastrpc bench compare --workload open --rps 20000,50000 --systems xdp,net-tcp
  fastrpc bench compare --workload sweep --systems xdp,net-tcp,grpc
  fastrpc bench compare --workload sessions --sessions 1,1000,10000
  fastrpc bench compare --workload bulk --size 8388608
  fastrpc bench compare --systems all
  fastrpc bench compare --interface enp1s0 --systems rdma-ud,rdma-rc,ib_send_lat,rdma-read,ib_read_lat
  fastrpc lab up && fastrpc bench compare --lab fastrpc`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("systems") {
				c.Systems = bench.Default(c.Workload)
			}
			if c.Workload == bench.Anatomy {
				return usageError{errors.New("what takes a round trip apart is 'fastrpc bench anatomy'")}
			}
			if err := along.apply(cmd, c); err != nil {
				return err
			}
			return b.run(cmd)
		},
	}
	f := cmd.Flags()
	f.StringVar(&c.Workload, "workload", bench.Latency, "`name` of what to measure, see above")
	f.StringSliceVar(&c.Systems, "systems", nil, "`names` of what to compare, or all for every one that has the workload; by default those of this project and the kernel's")
	addLoadFlags(f, c, &along)
	f.IntVar(&c.Rounds, "rounds", 0, "how often each system runs; by default 11 times with workload latency, else 5")
	f.IntVar(&c.MTU, "mtu", 0, fmt.Sprintf("MTU of the lab that is made, %d to %d; by default 1500, or the size of workload flood", lab.MinMTU, lab.MaxMTU))
	b.addFlags(cmd)
	_ = cmd.RegisterFlagCompletionFunc("workload", cobra.FixedCompletions(compared(), cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("systems", completeList(func() []string { return slices.Concat(bench.Names(), bench.Peers(), []string{bench.All}) }))
	_ = cmd.RegisterFlagCompletionFunc("size", cobra.NoFileCompletions)
	_ = cmd.RegisterFlagCompletionFunc("arrivals", cobra.FixedCompletions([]string{bench.Poisson, bench.Constant}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// compared are the workloads of compare: the others have a command of their own.
func compared() []string {
	return slices.DeleteFunc(bench.Workloads(), func(name string) bool { return name == bench.Anatomy })
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
