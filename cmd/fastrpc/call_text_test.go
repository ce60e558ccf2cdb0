package main

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	"github.com/fastrpc/fastrpc"
	"github.com/fastrpc/fastrpc/fastgrpc"
)

func TestShown(t *testing.T) {
	for _, x := range []struct{ in, line, lines string }{
		{"plain ü 日本\uFFFD", "plain ü 日本\uFFFD", "plain ü 日本\uFFFD"},
		{"a\n\tb", `a\u000a\u0009b`, "a\n\tb"},
		{"\x1b[2J\r\u009b31m\x7f", `\u001b[2J\u000d\u009b31m\u007f`, `\u001b[2J\u000d\u009b31m\u007f`},
		{"\xff\x9bm", `\xff\x9bm`, `\xff\x9bm`},
	} {
		if got := shown(x.in, false); got != x.line {
			t.Errorf("%q is shown as %q, want %q", x.in, got, x.line)
		}
		if got := shown(x.in, true); got != x.lines {
			t.Errorf("%q is shown as %q, want %q, with its lines", x.in, got, x.lines)
		}
	}
}

// rude answers with what a terminal would obey.
type rude struct {
	healthpb.UnimplementedHealthServer
}

const escape = "\x1b]0;owned\x07\u009b2J"

func (rude) Check(ctx context.Context, r *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	if err := grpc.SetTrailer(ctx, metadata.Pairs("rude-bin", escape)); err != nil {
		return nil, err
	}
	st, err := status.New(codes.Aborted, "no "+escape).WithDetails(&healthpb.HealthCheckRequest{Service: escape})
	if err != nil {
		return nil, err
	}
	return nil, st.Err()
}

// Whatever a server says, no terminal is made to do anything.
func TestCallShowsNoEscapes(t *testing.T) {
	native := fastrpc.NewServer(fastrpc.WithInsecure())
	native.Handle("rude", func(*fastrpc.Response, *fastrpc.Request) error {
		return fastrpc.Errorf(fastrpc.Aborted, "no %s", escape)
	})
	s := fastgrpc.NewServer(native)
	healthpb.RegisterHealthServer(s, rude{})
	reflection.Register(s)
	addr, err := s.Listen(t.Context(), "udp://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	for _, args := range []string{"grpc.health.v1.Health/Check -v", "grpc.health.v1.Health/Check", "rude"} {
		code, out, errOut := fast(t, append([]string{"call", "udp://" + addr.String(), "--insecure"}, strings.Fields(args)...)...)
		if said := out + errOut; code != exitStatus+int(codes.Aborted) || !strings.Contains(said, `no \u001b]0;owned\u0007\u009b2J`) || strings.ContainsAny(said, "\x1b\x07\u009b") {
			t.Errorf("%s: exit code %d, output %q", args, code, said)
		}
	}
}
