package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/status"

	"github.com/fastrpc/fastrpc"
)

// exitStatus is added to the code of a call's status for the exit code, as grpcurl does.
const exitStatus = 64

// statusExit is the exit code of a call that ended with a status. Servers may send any number: one that gRPC does not name counts as Unknown, as
// exit codes have eight bits, and some sum would be that of success.
func statusExit(code fastrpc.Code) exitError {
	if code > fastrpc.Unauthenticated {
		code = fastrpc.Unknown
	}
	return exitError(exitStatus + int(code))
}

// callFlags are how a call is made.
type callFlags struct {
	data, file string
	raw        bool
	insecure   bool
	verbose    bool
	defaults   bool
	headers    []string
	timeout    time.Duration
	tls        tlsFlags
	schema     schemaFlags
}

func callCommand() *cobra.Command {
	var f callFlags
	cmd := &cobra.Command{
		Use:   "call TARGET METHOD --insecure",
		Short: "Call a method and print the reply",
		Long: `Call a method and print the reply.

A METHOD with a slash, package.Service/Method, is gRPC's: requests are protobuf in JSON, one for a unary call, several
one after the other for a stream, and so are the replies. What the messages look like the server tells by its reflection
service, or else files given with --proto or --protoset. Any other METHOD, and with --raw any at all, takes and gives
bytes as they are, with a newline behind the reply when standard output is a terminal; 'fastrpc serve --help' lists the
built-in ones.

TARGET is xdp://HOST:PORT, udp://HOST:PORT, or auto://HOST:PORT for the best that works, whichever of them
the server listens with; tcp:// or rdma://HOST:PORT for one that listens with that; or grpc://HOST:PORT for a server of
gRPC over HTTP/2, grpcs:// with TLS, of whatever make.

A call that ends with a status other than OK makes the exit code 64 more than the status: 69 is NotFound.`,
		Example: `  fastrpc call xdp://192.0.2.7:9000 echo --data hello --insecure
  fastrpc call xdp://192.0.2.7:9000 helloworld.Greeter/SayHello -d '{"name": "you"}' --insecure
  fastrpc call grpcs://example.com:443 routeguide.RouteGuide/RouteChat --proto route_guide.proto -d @ < notes.json
  fastrpc call udp://192.0.2.7:9000 source --data 100000 --timeout 2s --insecure > bytes`,
		Args:              usageArgs(cobra.ExactArgs(2)),
		ValidArgsFunction: completeCall,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd, args[0], args[1])
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.data, "data", "d", "", "the request, or the requests of a stream; @ is standard input")
	flags.StringVar(&f.file, "data-file", "", "read them from this file; - is standard input")
	flags.BoolVar(&f.raw, "raw", false, "bytes as they are, although METHOD has a slash")
	flags.StringArrayVarP(&f.headers, "header", "H", nil, "metadata of gRPC, 'name: value', in base64 where the name ends in -bin; may be repeated")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "print gRPC's metadata to standard error")
	flags.BoolVar(&f.defaults, "emit-defaults", false, "print fields of replies that have their default value")
	flags.DurationVar(&f.timeout, "timeout", 5*time.Second, "how long connecting and calling may take, together; 0 is for ever")
	f.schema.add(flags)
	f.tls.add(flags)
	addInsecure(cmd, &f.insecure)
	_ = cmd.RegisterFlagCompletionFunc("data", cobra.NoFileCompletions)
	_ = cmd.RegisterFlagCompletionFunc("header", cobra.NoFileCompletions)
	_ = cmd.RegisterFlagCompletionFunc("timeout", cobra.NoFileCompletions)
	return cmd
}

func (f *callFlags) run(cmd *cobra.Command, target, method string) error {
	raw := f.raw || !strings.Contains(method, "/")
	_, _, http2 := overHTTP2(target)
	if err := errors.Join(checkEnd(target, f.insecure), f.tls.check(), f.schema.check()); err != nil {
		return err
	}
	if raw && http2 {
		return usageError{fmt.Errorf("gRPC over HTTP/2 has no method %q of bytes: name one of 'fastrpc list %s'", method, target)}
	}
	if f.file != "" && cmd.Flags().Changed("data") {
		return usageError{errors.New("give either --data or --data-file")}
	}
	in, err := f.input(cmd)
	if err != nil {
		return err
	}
	defer in.Close()
	ctx, cancel := limit(cmd.Context(), f.timeout) // the deadline travels with the call
	defer cancel()
	if raw {
		return callRaw(ctx, cmd, target, method, in)
	}
	return f.callGRPC(ctx, cmd, target, method, in)
}

// limit bounds a context by a duration that is not 0.
func limit(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, d)
}

func (f *callFlags) input(cmd *cobra.Command) (io.ReadCloser, error) {
	if f.data == "@" || f.file == "-" {
		return io.NopCloser(cmd.InOrStdin()), nil
	}
	if f.file != "" {
		return os.Open(f.file)
	}
	return io.NopCloser(strings.NewReader(f.data)), nil
}

func callRaw(ctx context.Context, cmd *cobra.Command, target, method string, in io.Reader) (err error) {
	request, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	c, err := fastrpc.Dial(ctx, target, fastrpc.WithInsecure())
	if err != nil {
		return explainDial(ctx, err)
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	reply, err := c.Method(method).Call(ctx, request)
	if e := (*fastrpc.Error)(nil); errors.As(err, &e) && cmd.Context().Err() == nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s (the request was %s)\n", shown(err.Error(), false), fate(e.Outcome))
		return statusExit(e.Code)
	}
	if err != nil {
		return err
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

func (f *callFlags) callGRPC(ctx context.Context, cmd *cobra.Command, target, method string, in io.Reader) (err error) {
	if ctx, err = outgoing(ctx, f.headers); err != nil {
		return err
	}
	cc, err := connect(ctx, target, &f.tls, anyLength)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cc.Close()) }()
	s, err := f.schema.load(ctx, cc)
	if err != nil {
		return err
	}
	defer s.close()
	m, err := s.method(method)
	if err != nil {
		return err
	}
	c := newGRPCCall(s, m, in, cmd.OutOrStdout())
	if c.defaults = f.defaults; f.verbose {
		c.log = cmd.ErrOrStderr()
	}
	err = c.run(ctx, cc)
	if st, ok := status.FromError(err); ok && err != nil && cmd.Context().Err() == nil {
		c.explainStatus(cmd.ErrOrStderr(), st)
		return statusExit(fastrpc.Code(st.Code()))
	}
	return err
}

func completeCall(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	switch len(args) {
	case 0:
		return completeEnd(cmd, args, toComplete)
	case 1:
		return methodNames(), cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}
