package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	_ "google.golang.org/grpc/encoding/gzip" // a client over HTTP/2 may compress what it sends
	"google.golang.org/grpc/keepalive"

	"github.com/fastrpc/fastrpc"
	"github.com/fastrpc/fastrpc/fastgrpc"
	"github.com/fastrpc/fastrpc/fastgrpc/gateway"
)

// Bounds of a gateway's HTTP/2 side.
const (
	gatewayMessage = 16 << 20    // bytes of a message: fastrpc's own default
	gatewayStreams = 1000        // calls at once on a connection: a client has more of them wait, or opens another connection
	gatewayIdle    = time.Minute // of silence after which a client is asked whether it is still there
)

type gatewayFlags struct {
	listen, to string
	insecure   bool
	drain      time.Duration
	tls        tlsFlags
}

func gatewayCommand() *cobra.Command {
	var f gatewayFlags
	cmd := &cobra.Command{
		Use:   "gateway --listen TARGET --to TARGET --insecure",
		Short: "Join gRPC over HTTP/2 and gRPC over fastrpc",
		Long: `Take calls of gRPC over HTTP/2, from programs in any language, and pass them on to a server over fastrpc; or the other
way round, take them over fastrpc for a server over HTTP/2. So a fleet moves one service at a time.

One of the TARGETs is grpc://ADDRESS:PORT, or grpcs:// with TLS, and the other what 'fastrpc serve' and 'fastrpc call' take,
such as xdp://IFACE:PORT to listen and xdp://HOST:PORT to call; any other two will do as well. Calls of all four kinds
pass with their metadata, deadlines, cancellation, and the status with its details; the gateway needs no .proto files.
Services of the server's such as reflection and health pass like others.

A side that stops reading holds the other back. Messages are at most 16 MiB long. After the first Ctrl-C, or SIGTERM, calls in
progress may finish; those that do not end as Unavailable, and a second one ends the program at once.

With grpcs:// to listen, --cert and --key are the server's, and --cacert asks clients for a certificate of whom it
names; with grpcs:// to call, --cacert says whom to trust as the server, and --cert and --key are shown to it.`,
		Example: `  fastrpc gateway --listen grpc://:50051 --to xdp://192.0.2.7:9000 --insecure
  fastrpc gateway --listen xdp://eth0:9000 --to grpc://192.0.2.8:50051 --insecure
  fastrpc gateway --listen grpcs://:443 --cert tls.crt --key tls.key --to xdp://192.0.2.7:9000 --insecure`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", "", "where to take calls, such as grpc://:50051")
	flags.StringVar(&f.to, "to", "", "the server to pass them on to, such as xdp://192.0.2.7:9000")
	flags.DurationVar(&f.drain, "drain", 5*time.Second, "how long calls in progress may take after Ctrl-C")
	f.tls.add(flags)
	addInsecure(cmd, &f.insecure)
	_ = cmd.RegisterFlagCompletionFunc("listen", completeListen)
	_ = cmd.RegisterFlagCompletionFunc("to", func(cmd *cobra.Command, _ []string, s string) ([]string, cobra.ShellCompDirective) {
		return completeEnd(cmd, nil, s)
	})
	_ = cmd.RegisterFlagCompletionFunc("drain", cobra.NoFileCompletions)
	return cmd
}

func (f *gatewayFlags) run(cmd *cobra.Command) (err error) {
	for _, end := range []struct{ flag, target, example string }{{"--listen", f.listen, "grpc://:50051"}, {"--to", f.to, "xdp://192.0.2.7:9000"}} {
		if end.target == "" {
			return usageError{fmt.Errorf("a gateway has two ends: say %s %s, for example", end.flag, end.example)}
		}
		if err := checkEnd(end.target, f.insecure); err != nil {
			return err
		}
	}
	if err := f.tls.check(); err != nil {
		return err
	}
	ctx := cmd.Context()
	to, err := connect(ctx, f.to, &f.tls, gatewayMessage)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	s, err := f.serve(ctx, gateway.Handler(to))
	if err != nil {
		return err
	}
	if err := dropPrivileges(f.listen, f.to); err != nil {
		return errors.Join(err, s.shutdown(ctx))
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "passing calls on at %s over %s to %s\n", s.addr, s.over, f.to)
	select {
	case <-ctx.Done():
	case err = <-s.failed:
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.drain)
	defer cancel()
	return errors.Join(err, s.shutdown(limit))
}

// front is the end of a gateway that takes calls.
type front struct {
	addr, over string
	failed     <-chan error                    // it takes no more calls
	shutdown   func(ctx context.Context) error // lets calls in progress finish until ctx is over
}

func (f *gatewayFlags) serve(ctx context.Context, h grpc.StreamHandler) (*front, error) {
	hostPort, withTLS, ok := overHTTP2(f.listen)
	if !ok {
		streams := fastrpc.WithDrainTimeout(f.drain * 9 / 10) // then they are ended, and have the rest of the time to say so
		s := fastgrpc.NewServer(fastrpc.NewServer(fastrpc.WithInsecure(), streams), fastgrpc.UnknownServiceHandler(h),
			fastgrpc.ForceServerCodecV2(gateway.Codec{}), fastgrpc.MaxRecvMsgSize(gatewayMessage))
		addr, err := s.Listen(ctx, f.listen)
		if err != nil {
			return nil, err
		}
		return &front{addr: addr.String(), over: strings.Join(s.Transports(), ", "), shutdown: s.Shutdown}, nil
	}
	opts := []grpc.ServerOption{
		grpc.UnknownServiceHandler(h), grpc.ForceServerCodecV2(gateway.Codec{}),
		grpc.MaxRecvMsgSize(gatewayMessage), grpc.MaxConcurrentStreams(gatewayStreams),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: gatewayIdle}), // a client that vanished keeps nothing open at the server
	}
	over := "HTTP/2"
	if withTLS {
		if f.tls.cert == "" {
			return nil, usageError{errors.New("to listen with grpcs://, give --cert and --key")}
		}
		cfg, err := f.tls.config()
		if err != nil {
			return nil, err
		}
		if cfg.ClientCAs != nil {
			cfg.ClientAuth = tls.RequireAndVerifyClientCert
		}
		opts, over = append(opts, grpc.Creds(credentials.NewTLS(cfg))), "HTTP/2 with TLS"
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", hostPort)
	if err != nil {
		return nil, err
	}
	s := grpc.NewServer(opts...)
	failed := make(chan error, 1)
	go func() { failed <- s.Serve(l) }()
	return &front{addr: l.Addr().String(), over: over, failed: failed, shutdown: func(ctx context.Context) error { return stop(ctx, s) }}, nil
}

// stop lets the calls of a server finish until ctx is over.
func stop(ctx context.Context, s *grpc.Server) error {
	done := make(chan struct{})
	go func() {
		s.GracefulStop()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		s.Stop()
		<-done
	}
	return nil
}
