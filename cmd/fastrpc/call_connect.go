package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/fastrpc/fastrpc"
	"github.com/fastrpc/fastrpc/fastgrpc"
	"github.com/fastrpc/fastrpc/transport"
)

// Schemes of gRPC over HTTP/2, which are no drivers: without and with TLS.
const (
	schemeHTTP2    = "grpc"
	schemeHTTP2TLS = "grpcs"
)

// overHTTP2 tells targets of real gRPC, and the host and port in them.
func overHTTP2(target string) (hostPort string, withTLS, ok bool) {
	scheme, hostPort, _ := strings.Cut(target, "://")
	return strings.TrimSuffix(hostPort, "/"), scheme == schemeHTTP2TLS, scheme == schemeHTTP2 || scheme == schemeHTTP2TLS
}

// checkEnd refuses a target that is neither gRPC over HTTP/2 nor fastrpc, and one without encryption that nobody has allowed.
func checkEnd(target string, allowed bool) error {
	_, withTLS, ok := overHTTP2(target)
	if !withTLS {
		if err := checkInsecure(allowed); err != nil {
			return err
		}
	}
	if !ok {
		return checkTarget(target)
	}
	t, err := transport.ParseTarget(target)
	if err != nil {
		return usageError{fmt.Errorf("address %q: %w", target, err)}
	}
	if len(t.Query) > 0 {
		return usageError{fmt.Errorf("%s: gRPC over HTTP/2 has no settings", target)}
	}
	return nil
}

// connection carries calls of gRPC to a server.
type connection interface {
	grpc.ClientConnInterface
	Close() error
}

// anyLength takes replies as long as the server sends them: the user asked for them.
const anyLength = math.MaxInt32

// connect connects to a server of gRPC, over HTTP/2 or over fastrpc, whose messages are of most bytes. Over HTTP/2 it finds out with the first
// call whether one is there.
func connect(ctx context.Context, target string, f *tlsFlags, most int) (connection, error) {
	limit := grpc.MaxCallRecvMsgSize(most)
	hostPort, withTLS, ok := overHTTP2(target)
	if !ok {
		c, err := fastgrpc.Dial(ctx, target, fastgrpc.WithTransport(fastrpc.WithInsecure()), fastgrpc.WithDefaultCallOptions(limit))
		if err != nil {
			return nil, explainDial(ctx, err)
		}
		return c, nil
	}
	creds := insecure.NewCredentials()
	if withTLS {
		cfg, err := f.config()
		if err != nil {
			return nil, err
		}
		cfg.RootCAs = cfg.ClientCAs
		creds = credentials.NewTLS(cfg)
	}
	return grpc.NewClient("dns:///"+hostPort, grpc.WithTransportCredentials(creds), grpc.WithDefaultCallOptions(limit))
}

// explainDial says what to look at where nobody answers.
func explainDial(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || status.Code(err) == codes.DeadlineExceeded {
		return fmt.Errorf("%w; is a server there ('fastrpc serve'), and does its host reach this one?", err)
	}
	return err
}

// tlsFlags say who one end of TLS is and whom it trusts.
type tlsFlags struct{ cert, key, ca string }

func (f *tlsFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.cert, "cert", "", "with grpcs://, the file of the certificate to show, PEM")
	flags.StringVar(&f.key, "key", "", "with grpcs://, the file of the certificate's private key, PEM")
	flags.StringVar(&f.ca, "cacert", "", "with grpcs://, the file of the certificates to trust, PEM, instead of the system's")
}

func (f *tlsFlags) check() error {
	if (f.cert == "") != (f.key == "") {
		return usageError{errors.New("--cert and --key go together")}
	}
	return nil
}

// config makes a configuration for either end. The certificate is read anew for each connection, so that one that was renewed takes no
// restart.
func (f *tlsFlags) config() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12} // as gRPC over HTTP/2 has it, RFC 9113 section 9.2
	if f.ca != "" {
		pem, err := os.ReadFile(f.ca)
		if err != nil {
			return nil, err
		}
		if cfg.ClientCAs = x509.NewCertPool(); !cfg.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate in PEM", f.ca)
		}
	}
	if f.cert != "" {
		load := func() (*tls.Certificate, error) {
			c, err := tls.LoadX509KeyPair(f.cert, f.key)
			if err != nil {
				return nil, fmt.Errorf("--cert %s, --key %s: %w", f.cert, f.key, err)
			}
			return &c, nil
		}
		if _, err := load(); err != nil {
			return nil, err
		}
		cfg.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return load() }
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	return cfg, nil
}

// completeEnd completes the scheme of a TARGET that may be a server of gRPC over HTTP/2.
func completeEnd(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for _, s := range append(schemes(), schemeHTTP2, schemeHTTP2TLS) {
		out = append(out, s+"://")
	}
	return out, cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
}
