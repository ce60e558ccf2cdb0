package main

import (
	"net"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fastrpc/fastrpc/internal/doctor"
)

func doctorCommand() *cobra.Command {
	var o doctor.Options
	var asJSON, overRDMA bool
	var cpus string
	cmd := &cobra.Command{
		Use:   "doctor IFACE | doctor --rdma [DEVICE]",
		Short: "Tell whether an interface is fit for xdp://, or an RDMA device for rdma://",
		Long: `Doctor looks at the kernel, the privileges of this process, the interface and its driver, interrupts, CPUs and
memory, and tries what the kernel grants: it attaches the steering program and binds a socket to each queue for
a moment, and gives all back. It does so only when no program is attached, not even a running fastrpc's; some
network cards reset their link by that, which --no-probe avoids. Each finding is ok, note (works, but could be
better or must be known) or wrong (prevents xdp://), with the commands that mend it.

With --rdma it looks at modules, device files, locked memory and network namespaces, and at an RDMA device, or all:
its provider in rdma-core, ports, GIDs and which of them is taken, MTU, flow control and ECN where the kernel shows
them. It changes nothing then, and works in programs without RDMA, too.

The exit code is 0 when the interface or a device is fit, 1 when something is wrong and 2 for a mistake on the command line.
docs/hardware.md describes the JSON.`,
		Example: `  fastrpc doctor eth0
  fastrpc doctor eth0 --cpus 2-5
  fastrpc doctor eth0 --no-probe --json | jq '.findings[] | select(.level != "ok")'
  fastrpc doctor --rdma
  fastrpc doctor --rdma mlx5_0 --json | jq '.rdma[].ports[].gids'`,
		Args: usageArgs(func(cmd *cobra.Command, args []string) error {
			if overRDMA {
				return cobra.MaximumNArgs(1)(cmd, args)
			}
			return cobra.ExactArgs(1)(cmd, args)
		}),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, part string) ([]string, cobra.ShellCompDirective) {
			if overRDMA && len(args) == 0 {
				return rdmaNames(), cobra.ShellCompDirectiveNoFileComp
			}
			return completeInterface(cmd, args, part)
		},
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if cmd.Flags().Changed("cpus") {
				if o.CPUs, err = doctor.ParseCPUs(cpus); err != nil {
					return usageError{err}
				}
			}
			var r doctor.Report
			if overRDMA {
				r = doctor.ExamineRDMA(strings.Join(args, ""), o)
			} else {
				r = doctor.Examine(args[0], o)
			}
			write := r.Print
			if asJSON {
				write = r.JSON
			}
			if err := write(cmd.OutOrStdout()); err != nil {
				return err
			}
			if !r.Fit {
				return exitError(exitFailure)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&overRDMA, "rdma", false, "examine RDMA devices instead of an interface")
	cmd.Flags().BoolVar(&o.NoProbe, "no-probe", false, "attach nothing, only look")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().StringVar(&cpus, "cpus", "", "CPUs that are to poll, as in 2-5,8 (default: any that this process may run on)")
	return cmd
}

func rdmaNames() (names []string) {
	for _, d := range doctor.RDMADevices() {
		names = append(names, d.Name)
	}
	return names
}

// completeInterface completes the name of an interface as the only argument, or the first.
func completeInterface(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return interfaceNames(), cobra.ShellCompDirectiveNoFileComp
}

func interfaceNames() []string {
	ifs, err := net.Interfaces()
	if err != nil {
		return nil
	}
	var names []string
	for _, i := range ifs {
		names = append(names, i.Name)
	}
	return names
}
