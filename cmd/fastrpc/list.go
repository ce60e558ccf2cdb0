package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// askFlags are how a schema is asked for, by list and describe.
type askFlags struct {
	insecure bool
	headers  []string
	timeout  time.Duration
	tls      tlsFlags
	schema   schemaFlags
}

func (f *askFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringArrayVarP(&f.headers, "header", "H", nil, "metadata for the server, 'name: value', in base64 where the name ends in -bin; may be repeated")
	flags.DurationVar(&f.timeout, "timeout", 5*time.Second, "how long it may take; 0 is for ever")
	f.schema.add(flags)
	f.tls.add(flags)
	addInsecure(cmd, &f.insecure)
	_ = cmd.RegisterFlagCompletionFunc("header", cobra.NoFileCompletions)
	_ = cmd.RegisterFlagCompletionFunc("timeout", cobra.NoFileCompletions)
}

// ask calls answer with the schema that flags and arguments name, [TARGET] [SYMBOL], and with the symbol, or "".
func (f *askFlags) ask(cmd *cobra.Command, args []string, answer func(s *schema, symbol string) error) (err error) {
	if err := errors.Join(f.tls.check(), f.schema.check()); err != nil {
		return err
	}
	target := ""
	if len(args) > 0 && strings.Contains(args[0], "://") {
		target, args = args[0], args[1:]
	}
	fromFiles := len(f.schema.protos)+len(f.schema.protosets) > 0
	switch {
	case len(args) > 1:
		return usageError{fmt.Errorf("one symbol at a time, not %q", args)}
	case target == "" && !fromFiles:
		return usageError{errors.New("nobody to ask: name a server, such as xdp://192.0.2.7:9000 or grpc://192.0.2.7:50051, or give --proto or --protoset")}
	}
	ctx, cancel := limit(cmd.Context(), f.timeout)
	defer cancel()
	if ctx, err = outgoing(ctx, f.headers); err != nil {
		return err
	}
	var cc connection
	if !fromFiles {
		if err := checkEnd(target, f.insecure); err != nil {
			return err
		}
		if cc, err = connect(ctx, target, &f.tls, anyLength); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, cc.Close()) }()
	}
	s, err := f.schema.load(ctx, cc)
	if err != nil {
		return err
	}
	defer s.close()
	if err = answer(s, strings.Join(args, "")); err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("%w (see --timeout)", err)
	}
	return err
}

func listCommand() *cobra.Command {
	var f askFlags
	cmd := &cobra.Command{
		Use:   "list [TARGET] [SERVICE] --insecure",
		Short: "List the gRPC services of a server, or the methods of one",
		Long: `List the gRPC services of a server, or the methods of one, in the form that 'fastrpc call' takes.

The server tells them by its reflection service; without one, files tell them that are given with --proto or
--protoset, and then no TARGET is needed. 'fastrpc call --help' says what a TARGET is.`,
		Example: `  fastrpc list xdp://192.0.2.7:9000 --insecure
  fastrpc list grpc://192.0.2.7:50051 helloworld.Greeter --insecure
  fastrpc list --proto helloworld.proto`,
		Args:              usageArgs(cobra.MaximumNArgs(2)),
		ValidArgsFunction: completeEnd,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.ask(cmd, args, func(s *schema, symbol string) error {
				names, err := s.list(symbol)
				for _, name := range names {
					fmt.Fprintln(cmd.OutOrStdout(), shown(name, false))
				}
				return err
			})
		},
	}
	f.add(cmd)
	return cmd
}

// list names the services, or with a service its methods.
func (s *schema) list(service string) (names []string, err error) {
	if service == "" {
		all, err := s.services()
		if err != nil {
			return nil, s.explain("service", err)
		}
		for _, name := range all {
			names = append(names, string(name))
		}
		return names, nil
	}
	d, err := s.find(service)
	if err != nil {
		return nil, err
	}
	sd, ok := d.(protoreflect.ServiceDescriptor)
	if !ok {
		return nil, fmt.Errorf("%s is no service, but %s: see 'fastrpc describe'", service, kindOf(d))
	}
	for i := range sd.Methods().Len() {
		names = append(names, fmt.Sprintf("%s/%s", sd.FullName(), sd.Methods().Get(i).Name()))
	}
	return names, nil
}
