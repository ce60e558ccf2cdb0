package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	"github.com/fastrpc/fastrpc"
	"github.com/fastrpc/fastrpc/fastgrpc"
)

// startGRPC serves gRPC's health service, with reflection, over fastrpc.
func startGRPC(t *testing.T) (target string, h *health.Server) {
	t.Helper()
	h = health.NewServer()
	s := fastgrpc.NewServer(fastrpc.NewServer(fastrpc.WithInsecure()))
	healthpb.RegisterHealthServer(s, h)
	reflection.Register(s)
	addr, err := s.Listen(t.Context(), "udp://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return "udp://" + addr.String(), h
}

// startGateway runs a gateway in this process. end is Ctrl-C, and returns the exit code.
func startGateway(t *testing.T, args ...string) (addr string, end func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, append([]string{"gateway", "--insecure"}, args...), strings.NewReader(""), io.Discard, w)
		w.Close()
	}()
	t.Cleanup(func() {
		cancel()
		r.Close()
	})
	return serving(t, r), func() int {
		cancel()
		return <-ended
	}
}

// A client over HTTP/2 and back: through a gateway to fastrpc and one from there to a server over HTTP/2, with reflection and JSON.
func TestGatewayBothWays(t *testing.T) {
	s := grpc.NewServer()
	healthpb.RegisterHealthServer(s, health.NewServer())
	reflection.Register(s)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	inner, endInner := startGateway(t, "--listen", "udp://127.0.0.1:0", "--to", "grpc://"+l.Addr().String())
	outer, endOuter := startGateway(t, "--listen", "grpc://127.0.0.1:0", "--to", "udp://"+inner)
	for _, target := range []string{"udp://" + inner, "grpc://" + outer} {
		speaks(t, target)
	}
	if code := endOuter(); code != exitOK {
		t.Errorf("the gateway from HTTP/2: exit code %d", code)
	}
	if code := endInner(); code != exitOK {
		t.Errorf("the gateway to HTTP/2: exit code %d", code)
	}
}

// speaks tests list, describe and call on a server with health and reflection.
func speaks(t *testing.T, target string) {
	t.Helper()
	for _, c := range []struct {
		args string
		code int
		out  string
		says string
	}{
		{"list " + target, exitOK, "grpc.health.v1.Health\ngrpc.reflection.v1.ServerReflection\ngrpc.reflection.v1alpha.ServerReflection\n", ""},
		{"list " + target + " grpc.health.v1.Health", exitOK, "grpc.health.v1.Health/Check\ngrpc.health.v1.Health/List\ngrpc.health.v1.Health/Watch\n", ""},
		{"describe " + target + " grpc.health.v1.HealthCheckRequest", exitOK, "grpc.health.v1.HealthCheckRequest is a message:\nmessage HealthCheckRequest {\n  string service = 1;\n}\n", ""},
		{"describe " + target + " grpc.health.v1.Nothing", exitFailure, "", "there is no grpc.health.v1.Nothing"},
		{"call " + target + " grpc.health.v1.Health/Check", exitOK, "{\n  \"status\": \"SERVING\"\n}\n", ""},
		{`call ` + target + ` grpc.health.v1.Health/Check -d {"service":"nobody"}`, exitStatus + int(codes.NotFound), "", "NotFound: unknown service"},
		{`call ` + target + ` grpc.health.v1.Health/Check -d {"frobnicate":1}`, exitFailure, "", `unknown field "frobnicate"`},
		{"call " + target + " grpc.health.v1.Health/Watch --timeout 300ms", exitStatus + int(codes.DeadlineExceeded), "{\n  \"status\": \"SERVING\"\n}\n", "DeadlineExceeded"},
		{"call " + target + " grpc.health.v1.Health/Frobnicate", exitFailure, "", "fastrpc list"},
	} {
		code, out, errOut := fast(t, append(strings.Fields(c.args), "--insecure")...)
		if code != c.code || out != c.out || !strings.Contains(errOut, c.says) || (c.says == "") != (errOut == "") {
			t.Errorf("%q: exit code %d, output %q, error %q; want %d, %q and %q", c.args, code, out, errOut, c.code, c.out, c.says)
		}
	}
}

func TestCallJSON(t *testing.T) {
	target, _ := startGRPC(t)
	speaks(t, target)
}

// A gateway with TLS takes calls of clients with a certificate that it trusts, and no others.
func TestGatewayTLS(t *testing.T) {
	target, _ := startGRPC(t)
	dir := t.TempDir()
	cert, key := selfSigned(t, dir)
	addr, end := startGateway(t, "--listen", "grpcs://127.0.0.1:0", "--to", target, "--cert", cert, "--key", key, "--cacert", cert)
	to := "grpcs://" + addr
	if code, out, errOut := fast(t, "call", to, "grpc.health.v1.Health/Check", "--cacert", cert, "--cert", cert, "--key", key); code != exitOK || !strings.Contains(out, "SERVING") {
		t.Errorf("with a certificate: exit code %d, output %q, error %q", code, out, errOut)
	}
	for _, args := range [][]string{{"--cacert", cert}, {"--cert", cert, "--key", key}} {
		if code, out, errOut := fast(t, append([]string{"call", to, "grpc.health.v1.Health/Check"}, args...)...); code == exitOK || out != "" || errOut == "" {
			t.Errorf("%q: exit code %d, output %q, error %q", args, code, out, errOut)
		}
	}
	if code := end(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}

// selfSigned makes a certificate of 127.0.0.1, for both ends.
func selfSigned(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	for name, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// After Ctrl-C a call in progress may finish, and new ones are refused; one that does not finish ends as Unavailable.
func TestGatewayDrains(t *testing.T) {
	target, h := startGRPC(t)
	watch := func(ctx context.Context, drain string) (healthpb.Health_WatchClient, func() int) {
		addr, end := startGateway(t, "--listen", "grpc://127.0.0.1:0", "--to", target, "--drain", drain)
		cc, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cc.Close() })
		w, err := healthpb.NewHealthClient(cc).Watch(ctx, &healthpb.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Recv(); err != nil {
			t.Fatal(err)
		}
		return w, end
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w, end := watch(ctx, "1h")
	ended := make(chan int, 1)
	go func() { ended <- end() }()
	for _, now := range []healthpb.HealthCheckResponse_ServingStatus{healthpb.HealthCheckResponse_NOT_SERVING, healthpb.HealthCheckResponse_SERVING} {
		h.SetServingStatus("", now)
		if m, err := w.Recv(); err != nil || m.GetStatus() != now {
			t.Fatalf("while the gateway drains: %v, %v", m, err)
		}
	}
	select {
	case code := <-ended:
		t.Fatalf("it ended with a call in progress: exit code %d", code)
	default:
	}
	cancel()
	if code := <-ended; code != exitOK {
		t.Errorf("exit code %d", code)
	}
	w, end = watch(t.Context(), "10ms")
	if code := end(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if _, err := w.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("a call that does not finish: %v", err)
	}
}

func TestGatewayNeedsBothEnds(t *testing.T) {
	for _, c := range []struct{ args, says string }{
		{"gateway --insecure --to udp://127.0.0.1:1", "--listen"},
		{"gateway --insecure --listen grpc://127.0.0.1:0", "--to"},
		{"gateway --listen grpc://127.0.0.1:0 --to udp://127.0.0.1:1", "--insecure"},
		{"gateway --insecure --listen http://127.0.0.1:0 --to udp://127.0.0.1:1", "none of"},
		{"gateway --insecure --listen grpc://127.0.0.1:0?x=y --to udp://127.0.0.1:1", "no settings"},
		{"gateway --insecure --listen grpcs://127.0.0.1:0 --to grpc://127.0.0.1:1", "--cert"},
		{"gateway --insecure --listen grpcs://127.0.0.1:0 --cert x --to grpc://127.0.0.1:1", "--key"},
		{"call grpc://127.0.0.1:1 echo --insecure", "no method"},
		{"call udp://127.0.0.1:1 a/b --insecure --proto x --protoset y", "--protoset"},
		{"call udp://127.0.0.1:1 a/b --insecure --import-path x", "--proto"},
		{"list", "nobody to ask"},
		{"list udp://127.0.0.1:1 --insecure -H x", "--header"},
		{"describe udp://127.0.0.1:1", "--insecure"},
	} {
		code, out, errOut := fast(t, strings.Fields(c.args)...)
		if code != exitUsage || out != "" || !strings.Contains(errOut, c.says) {
			t.Errorf("%q: exit code %d, output %q, error %q; want one that says %q", c.args, code, out, errOut, c.says)
		}
	}
}
