package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"reflect"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/fastrpc/fastrpc/internal/nic"
	"github.com/fastrpc/fastrpc/internal/tap"
	"github.com/fastrpc/fastrpc/transport/xdp"
)

func statsCommand() *cobra.Command {
	var interval time.Duration
	var count int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "stats [IFACE]",
		Short: "Show what becomes of packets, by queue, live",
		Long: `Stats shows what processes of this program's kind do on IFACE, or on all interfaces, over AF_XDP: packets and
bytes by queue, how full the rings are, where the packet buffers are, what the kernel, the steering program and
the processes counted, and the driver's own counters. The processes are those of the same user, all for root, in
the same network namespace.

On a terminal the table is replaced every second; elsewhere it is printed again. Counters that are 0 are left
out, but not of --json, which prints an object a line. Packets are the sum since a process opened the interface,
rates are those of the last interval. A queue marked * did not answer, because nobody polls it or a handler holds
it up: what stands there is older.`,
		Example: `  fastrpc stats eth0
  fastrpc stats --count 1
  fastrpc stats eth0 --json --interval 10s | jq '.interfaces[].driver'`,
		Args:              usageArgs(cobra.MaximumNArgs(1)),
		ValidArgsFunction: completeInterface,
		RunE: func(cmd *cobra.Command, args []string) error {
			if interval <= 0 || count < 0 {
				return usageError{errors.New("--interval takes a time, --count 0, for no limit, or more")}
			}
			c := statsCollector{log: cmd.ErrOrStderr()}
			defer c.close()
			where := "an interface"
			if len(args) > 0 {
				where = args[0]
				ifi, err := net.InterfaceByName(where)
				if err != nil {
					return fmt.Errorf("interface %q: %w; see 'ip -brief link'", where, err)
				}
				c.ifindex = ifi.Index
			}
			out := statsPrinter{out: cmd.OutOrStdout()}
			if f, ok := cmd.OutOrStdout().(*os.File); ok {
				out.live = term.IsTerminal(int(f.Fd()))
			}
			tick := time.NewTicker(interval)
			defer tick.Stop()
			for i := 1; ; i++ {
				s, err := c.collect()
				if err != nil {
					return err
				}
				if i == 1 && len(s.Interfaces) == 0 {
					return fmt.Errorf("no process has %s open over AF_XDP in this network namespace; start one, or look from its own ('ip netns exec')", where)
				}
				if asJSON {
					err = json.NewEncoder(out.out).Encode(jsonNames(reflect.ValueOf(s)))
				} else {
					err = out.print(s)
				}
				if err != nil || i == count {
					return err
				}
				select {
				case <-cmd.Context().Done():
					return nil
				case <-tick.C:
				}
			}
		},
	}
	f := cmd.Flags()
	f.DurationVar(&interval, "interval", time.Second, "time from one look to the next")
	f.IntVar(&count, "count", 0, "end after so many looks; 0: with Ctrl-C")
	f.BoolVar(&asJSON, "json", false, "print JSON, one object a look")
	for _, name := range []string{"interval", "count"} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions)
	}
	return cmd
}

// statsLook is all that there was to see at one time.
type statsLook struct {
	Time       time.Time
	Interfaces []*interfaceStats
}

type interfaceStats struct {
	Name      string
	Driver    map[string]uint64 // its own counters, by its own names
	Processes []processStats

	index  int
	driver []nic.Stat
}

type processStats struct {
	Pid     int
	Uid     int
	Program string
	xdp.InterfaceStats
	Queues []xdp.QueueStats

	key tap.Name
}
