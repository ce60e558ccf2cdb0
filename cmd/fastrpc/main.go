// Command fastrpc serves, calls and measures RPC over AF_XDP, and tells whether a machine is fit for it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

func main() {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // as nohup(1) has it
		signal.Notify(signals, syscall.SIGHUP) // the terminal is gone
	}
	go func() {
		s := <-signals
		signal.Stop(signals) // a second one ends the process at once
		cancel(interruption{s.(syscall.Signal)})
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// interruption is why the program's context ends: a signal.
type interruption struct{ syscall.Signal }

func (i interruption) Error() string        { return "interrupted by " + unix.SignalName(i.Signal) }
func (i interruption) Is(target error) bool { return target == context.Canceled }

// Exit codes.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

// run is the whole program but for the process around it.
func run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	root := rootCommand()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	cmd, err := root.ExecuteContextC(ctx)
	var exit exitError
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &exit):
		return int(exit)
	case errors.As(err, &usage):
		fmt.Fprintf(errOut, "fastrpc: %v\nSee '%s --help'.\n", err, cmd.CommandPath())
		return exitUsage
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		fmt.Fprintln(errOut, "fastrpc: interrupted")
		if i := (interruption{}); errors.As(context.Cause(ctx), &i) {
			return 128 + int(i.Signal) // as a shell has it
		}
		return exitFailure
	}
	fmt.Fprintf(errOut, "fastrpc: %s\n", shown(strings.TrimPrefix(err.Error(), "fastrpc: "), true)) // the package's errors have it already
	return exitFailure
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "fastrpc",
		Short: "RPC over AF_XDP, past the kernel's network stack",
		Long: `fastrpc moves RPCs over AF_XDP sockets, without the kernel's network stack, and falls back to kernel UDP
with the same API.

Start with 'fastrpc doctor IFACE', which tells whether an interface is fit for it, or with
'fastrpc bench compare', which measures it against the kernel's TCP path on this machine.`,
		Example: `  fastrpc doctor eth0
  fastrpc serve --listen xdp://eth0:9000 --insecure
  fastrpc call xdp://192.0.2.7:9000 echo --data hello --insecure
  fastrpc bench compare`,
		Args:          usageArgs(cobra.NoArgs),
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors: true, // run prints them, once
		SilenceUsage:  true,
	}
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), ".FlagUsages ", ".FlagUsagesWrapped 112 "))
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(serveCommand(), callCommand(), listCommand(), describeCommand(), gatewayCommand(), benchCommand(), labCommand(), doctorCommand(), setupCommand(),
		captureCommand(), statsCommand(), decodeCommand(), versionCommand())
	return root
}

// usageError is a mistake on the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// exitError ends the process with this code; what there was to say has been said.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// usageArgs marks the errors of a check of arguments.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{err}
		}
		return nil
	}
}

// group makes a command that only holds others.
func group(cmd *cobra.Command, subcommands ...*cobra.Command) *cobra.Command {
	cmd.Args = usageArgs(cobra.NoArgs)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	cmd.AddCommand(subcommands...)
	return cmd
}
