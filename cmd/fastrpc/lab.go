package main

import (
	"errors"
	"fmt"
	"os/exec"
	"syscall"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/fastrpc/fastrpc/internal/lab"
)

const defaultLab = "fastrpc"

func labCommand() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "lab",
		Short: "Two hosts on this machine, to try things out",
		Long: `A lab is two hosts on one machine: the network namespaces NAME-client and NAME-server, joined by a veth pair,
with addresses from the ranges set aside for benchmarking. It needs root, and touches nothing that it did
not make.`,
		Example: `  fastrpc lab up
  fastrpc lab exec server -- fastrpc serve --listen udp://:9000 --insecure
  fastrpc lab down`,
	}, labUpCommand(), labDownCommand(), labStatusCommand(), labExecCommand())
	cmd.PersistentFlags().String("lab", defaultLab, "the lab's name")
	_ = cmd.RegisterFlagCompletionFunc("lab", completeLabs)
	return cmd
}

func labName(cmd *cobra.Command) string {
	name, _ := cmd.Flags().GetString("lab") // cannot fail: the flag is ours
	return name
}

func labUpCommand() *cobra.Command {
	var c lab.Config
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Make a lab",
		Long:  "Make a lab. When the command returns, the two hosts reach each other; the lab stays until 'fastrpc lab down'.",
		Example: `  fastrpc lab up
  fastrpc lab up --lab big --queues 4 --mtu 3000`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c.Name = labName(cmd)
			l, err := lab.Up(c)
			if errors.Is(err, lab.ErrExists) {
				return fmt.Errorf("%w; use it, or remove it with 'fastrpc lab down --lab %s'", err, c.Name)
			}
			if err != nil {
				return err
			}
			return printHosts(cmd, l.Client(), l.Server())
		},
	}
	cmd.Flags().IntVar(&c.Queues, "queues", 2, "receive and transmit queues of either end")
	cmd.Flags().IntVar(&c.MTU, "mtu", 1500, "bytes a packet")
	return cmd
}

func printHosts(cmd *cobra.Command, hosts ...lab.Host) error {
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	for _, h := range hosts {
		fmt.Fprintf(w, "%s\t%s\t%v\t%v\t%v\n", h.Namespace, h.Interface, h.IPv4, h.IPv6, h.MAC)
	}
	return w.Flush()
}

func labDownCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "down",
		Short:   "Remove a lab",
		Long:    "Remove a lab, or what is left of one, and nothing else. It is no error when there is none.",
		Example: "  fastrpc lab down",
		Args:    usageArgs(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return lab.Down(labName(cmd)) },
	}
}

func labStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		Short:   "List the labs of this machine",
		Long:    "List the labs of this machine with their hosts and the processes that run in them, whatever --lab says.",
		Example: "  fastrpc lab status",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			labs, err := lab.Status()
			if err != nil {
				return err
			}
			if len(labs) == 0 {
				fmt.Fprintln(cmd.OutOrStdout(), "no labs; make one with 'fastrpc lab up'")
			}
			for _, info := range labs {
				fmt.Fprintf(cmd.OutOrStdout(), "%s: processes %v\n", info.Name, info.Pids)
				if info.Missing != "" {
					fmt.Fprintf(cmd.OutOrStdout(), "broken, it lacks %s; remove it with 'fastrpc lab down --lab %s'\n", info.Missing, info.Name)
					continue
				}
				if err := printHosts(cmd, info.Client, info.Server); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func labExecCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "exec HOST -- COMMAND [ARGUMENT...]",
		Short: "Run a command on a host of a lab",
		Long: `Run a command on a host of a lab, client or server: in its network namespace, with a /sys that shows its
interfaces. The exit code is the command's.`,
		Example: `  fastrpc lab exec client -- ip address
  fastrpc lab exec server -- fastrpc serve --listen udp://:9000 --insecure`,
		Args: usageArgs(cobra.MinimumNArgs(2)),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return []string{"client", "server"}, cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveDefault
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := lab.Open(labName(cmd))
			if errors.Is(err, lab.ErrNotExist) {
				return fmt.Errorf("%w; make it with 'fastrpc lab up --lab %s'", err, labName(cmd))
			}
			if err != nil {
				return err
			}
			switch args[0] {
			case "client":
				return execOn(cmd, l.Client(), args[1:])
			case "server":
				return execOn(cmd, l.Server(), args[1:])
			}
			return usageError{fmt.Errorf("host %q is neither client nor server", args[0])}
		},
	}
}

func execOn(cmd *cobra.Command, h lab.Host, argv []string) error {
	c := exec.Command(argv[0], argv[1:]...)
	c.Stdin, c.Stdout, c.Stderr = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
	if err := h.Start(c); err != nil {
		return err
	}
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-cmd.Context().Done(): // our end is the command's end; a Ctrl-C it has heard itself
			_ = c.Process.Signal(syscall.SIGTERM)
		case <-done:
		}
	}()
	err := c.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if s, ok := exit.Sys().(syscall.WaitStatus); ok && s.Signaled() {
			return exitError(128 + int(s.Signal())) // as shells do
		}
		return exitError(exit.ExitCode())
	}
	return err
}

func completeLabs(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	labs, err := lab.Status()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, l := range labs {
		names = append(names, l.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
