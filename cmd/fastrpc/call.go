package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/fastrpc/fastrpc"
)

func callCommand() *cobra.Command {
	var data, file string
	var insecure bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "call TARGET METHOD --insecure",
		Short: "Call a method and print the reply",
		Long: `Call a method and print the reply as it is, with a newline behind it when standard output is a terminal.
TARGET is xdp://HOST:PORT, udp://HOST:PORT, or auto://HOST:PORT for the best that works, whichever of them
the server listens with; or tcp:// or rdma://HOST:PORT for one that listens with that. 'fastrpc serve --help' lists the built-in methods.`,
		Example: `  fastrpc call xdp://192.0.2.7:9000 echo --data hello --insecure
  fastrpc call udp://192.0.2.7:9000 source --data 100000 --timeout 2s --insecure > bytes
  date | fastrpc call auto://server:9000 echo --data-file - --insecure`,
		Args:              usageArgs(cobra.ExactArgs(2)),
		ValidArgsFunction: completeCall,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkInsecure(insecure); err != nil {
				return err
			}
			if err := checkTarget(args[0]); err != nil {
				return err
			}
			request := []byte(data)
			if file != "" {
				if cmd.Flags().Changed("data") {
					return usageError{errors.New("give either --data or --data-file")}
				}
				var err error
				if request, err = readAll(cmd, file); err != nil {
					return err
				}
			}
			return call(cmd, args[0], args[1], request, timeout)
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "the request")
	cmd.Flags().StringVar(&file, "data-file", "", "read the request from this file; - is standard input")
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Second, "how long connecting and calling may take, together")
	addInsecure(cmd, &insecure)
	_ = cmd.RegisterFlagCompletionFunc("data", cobra.NoFileCompletions)
	_ = cmd.RegisterFlagCompletionFunc("timeout", cobra.NoFileCompletions)
	return cmd
}

func readAll(cmd *cobra.Command, file string) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(cmd.InOrStdin())
	}
	return os.ReadFile(file)
}

func call(cmd *cobra.Command, target, method string, request []byte, timeout time.Duration) (err error) {
	ctx, cancel := context.WithTimeout(cmd.Context(), timeout) // the deadline travels with the call
	defer cancel()
	c, err := fastrpc.Dial(ctx, target, fastrpc.WithInsecure())
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w; is a server there ('fastrpc serve'), and does its host reach this one?", err)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	reply, err := c.Method(method).Call(ctx, request)
	if err != nil {
		return fmt.Errorf("%w (the request was %s)", err, fate(fastrpc.OutcomeOf(err)))
	}
	defer reply.Release()
	out := cmd.OutOrStdout()
	if _, err := out.Write(reply.Body()); err != nil {
		return err
	}
	if terminal(out) {
		_, err = fmt.Fprintln(out)
	}
	return err
}

// fate says what became of a request whose call failed.
func fate(o fastrpc.Outcome) string {
	switch o {
	case fastrpc.NotExecuted:
		return "not executed"
	case fastrpc.Executed:
		return "executed"
	}
	return "perhaps executed"
}

func completeCall(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	switch len(args) {
	case 0:
		var out []string
		for _, s := range schemes() {
			out = append(out, s+"://")
		}
		return out, cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
	case 1:
		return methodNames(), cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}
