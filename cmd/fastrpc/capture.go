package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fastrpc/fastrpc/internal/tap"
)

func captureCommand() *cobra.Command {
	var c capturer
	var file string
	var buffer int
	cmd := &cobra.Command{
		Use:   "capture IFACE [FILTER]",
		Short: "Show the packets that pass the kernel by",
		Long: `Capture shows what tcpdump cannot see: the packets that processes of this program's kind receive and send on
IFACE over AF_XDP, both directions, of all processes and queues, as they are on the rings. The processes are
those of the same user, all for root, in the same network namespace; those that begin during the capture join it
within 100 ms. What goes through the kernel's socket, tcpdump sees.

It prints a line a packet and a line a frame, as 'fastrpc decode' does, or writes a pcapng file with -w. It runs
until Ctrl-C, --count or --duration, and then says how many packets there were, and how many the process dropped
because the buffer was full. A packet's time is that of the burst that it was received or sent with, in
nanoseconds. The checksums of sent packets may be left to the network card.

FILTER is in tcpdump's language:

` + filterHelp,
		Example: `  fastrpc capture eth0
  fastrpc capture eth0 udp port 9000 and host 192.0.2.7 -w calls.pcapng
  fastrpc capture eth0 -w - | wireshark -k -i -`,
		Args:              usageArgs(cobra.MinimumNArgs(1)),
		ValidArgsFunction: completeInterface,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			c.name, c.expression = args[0], strings.Join(args[1:], " ")
			if c.filter, err = parseFilter(c.expression); err != nil {
				return usageError{err}
			}
			if c.options.Snap < 0 || c.count < 0 || c.duration < 0 {
				return usageError{errors.New("--snaplen, --count and --duration take 0, for no limit, or more")}
			}
			if buffer < 1 || buffer > tap.MaxBytes>>10 {
				return usageError{fmt.Errorf("--buffer takes 1 to %d", tap.MaxBytes>>10)}
			}
			c.options.Bytes, c.log = buffer<<10, cmd.ErrOrStderr()
			ifi, err := net.InterfaceByName(c.name)
			if err != nil {
				return fmt.Errorf("interface %q: %w; see 'ip -brief link'", c.name, err)
			}
			c.ifindex = ifi.Index
			switch file {
			case "":
				c.sink = newTextSink(cmd.OutOrStdout(), cmd.ErrOrStderr())
			case "-":
				c.sink = &pcapngSink{out: cmd.OutOrStdout(), about: &c}
			default:
				f, err := os.Create(file)
				if err != nil {
					return err
				}
				defer func() { err = errors.Join(err, f.Close()) }()
				c.sink = &pcapngSink{out: f, about: &c}
			}
			return c.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVarP(&file, "write", "w", "", "write a pcapng file; - is standard output")
	f.IntVarP(&c.options.Snap, "snaplen", "s", 0, "bytes to keep of each packet; 0: all")
	f.IntVarP(&c.count, "count", "c", 0, "end after this many packets; 0: no limit")
	f.DurationVar(&c.duration, "duration", 0, "end after this time; 0: no limit")
	f.IntVarP(&buffer, "buffer", "B", 4096, "KiB of the buffer of each queue")
	_ = cmd.MarkFlagFilename("write", "pcapng")
	for _, name := range []string{"snaplen", "count", "duration", "buffer"} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions)
	}
	return cmd
}
