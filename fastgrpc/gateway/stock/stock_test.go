package stock

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/reflection"

	"github.com/fastrpc/fastrpc"
	"github.com/fastrpc/fastrpc/fastgrpc"
	"github.com/fastrpc/fastrpc/internal/lab"
	"github.com/fastrpc/fastrpc/internal/lab/labtest"
	_ "github.com/fastrpc/fastrpc/transport/tcp"
	_ "github.com/fastrpc/fastrpc/transport/udp"
)

// stock are the programs of others, by version. ghz v0.93.0 brings gRPC v1.34.0, the others one of this year.
var stock = []string{
	"google.golang.org/grpc/interop/client@v1.84.0",
	"google.golang.org/grpc/interop/server@v1.84.0",
	"github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4",
	"github.com/bojand/ghz/cmd/ghz@v0.93.0",
}

// programs is the folder that they, and fastrpc, are in.
var programs string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	var err error
	if programs, err = os.MkdirTemp("", "stock-"); err == nil {
		defer os.RemoveAll(programs)
		err = build()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func build() error {
	commands := [][]string{{"build", "-C", "../../..", "-o", programs + "/", "./cmd/fastrpc"}}
	for _, program := range stock {
		commands = append(commands, []string{"install", program})
	}
	for _, args := range commands {
		cmd := exec.Command("go", args...)
		cmd.Env = append(os.Environ(), "GOBIN="+programs)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	return nil
}

// cases are those of 'client --test_case' that need no account of Google's. pick_first_unary and orca_oob, orca_per_rpc are left out: they are
// about how a client chooses among several servers.
var cases = []string{
	"empty_unary", "large_unary", "client_streaming", "server_streaming", "ping_pong", "empty_stream", "timeout_on_sleeping_server",
	"cancel_after_begin", "cancel_after_first_response", "status_code_and_message", "special_status_message", "custom_metadata",
	"unimplemented_method", "unimplemented_service", "rpc_soak", "channel_soak",
}

// start starts a program on a host of a lab, or here, which ends with the test by the signal of Ctrl-C, and well.
func start(t *testing.T, h *lab.Host, name string, args ...string) *bufio.Reader {
	t.Helper()
	cmd := exec.Command(filepath.Join(programs, name), args...)
	errOut, err := cmd.StderrPipe()
	if err == nil && h != nil {
		err = h.Start(cmd)
	} else if err == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // not in a lab: the thread that starts it there ends
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGINT)
		if err := cmd.Wait(); err != nil && name == "fastrpc" {
			t.Errorf("%s %q: %v", name, args, err)
		}
	})
	return bufio.NewReader(errOut)
}

// gateway starts one, and returns the address that it listens on.
func gateway(t *testing.T, h *lab.Host, listen, to string) (addr string) {
	t.Helper()
	line, err := start(t, h, "fastrpc", "gateway", "--listen", listen, "--to", to, "--insecure", "--drain", "30s").ReadString('\n')
	_, rest, ok := strings.Cut(line, " at ")
	addr, _, ok2 := strings.Cut(rest, " over ")
	if !ok || !ok2 {
		t.Fatalf("the gateway from %s to %s said %q (%v)", listen, to, line, err)
	}
	return addr
}

// interopCases runs every case with gRPC's own client.
func interopCases(t *testing.T, h *lab.Host, addr string) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range cases {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(filepath.Join(programs, "client"), "--server_host", host, "--server_port", port, "--test_case", name,
				"--soak_per_iteration_max_acceptable_latency_ms", "60000", "--soak_overall_timeout_seconds", "120")
			var out strings.Builder
			cmd.Stdout, cmd.Stderr = &out, &out
			if h != nil {
				err = h.Start(cmd)
			} else {
				err = cmd.Start()
			}
			if err == nil {
				err = cmd.Wait()
			}
			if err != nil {
				t.Errorf("%v: %s", err, out.String())
			}
		})
	}
}

// stockServer starts gRPC's own server.
func stockServer(t *testing.T, h *lab.Host) (addr string) {
	t.Helper()
	port := freePort(t)
	start(t, h, "server", "--port", port)
	return "127.0.0.1:" + port // the client of the gateway tries again until it is there
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// serve serves gRPC's test service, with reflection, over fastrpc.
func serve(t *testing.T, scheme string) (target string) {
	t.Helper()
	s := fastgrpc.NewServer(fastrpc.NewServer(fastrpc.WithInsecure()))
	testgrpc.RegisterTestServiceServer(s, interop.NewTestServer())
	reflection.Register(s)
	addr, err := s.Listen(t.Context(), scheme+"://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return scheme + "://" + addr.String()
}

// gRPC's client, over HTTP/2, to a server over fastrpc.
func TestInteropToFastrpc(t *testing.T) {
	for _, scheme := range []string{"udp", "tcp"} {
		t.Run(scheme, func(t *testing.T) {
			interopCases(t, nil, gateway(t, nil, "grpc://127.0.0.1:0", serve(t, scheme)))
		})
	}
}

// gRPC's client and gRPC's server, over HTTP/2, with fastrpc between them: over AF_XDP in a lab, each with a gateway on its host.
func TestInteropAcross(t *testing.T) {
	l := labtest.New(t, lab.Config{Queues: 1})
	client, server := l.Client(), l.Server()
	for _, scheme := range []string{"xdp", "udp", "tcp"} {
		t.Run(scheme, func(t *testing.T) {
			listen := scheme + "://" + server.IPv4.String() + ":9000"
			if scheme == "xdp" {
				listen = "xdp://" + server.Interface + ":9000"
			}
			gateway(t, &server, listen, "grpc://"+stockServer(t, &server))
			addr := gateway(t, &client, "grpc://127.0.0.1:0", fmt.Sprintf("%s://%v:9000", scheme, server.IPv4))
			interopCases(t, &client, addr)
		})
	}
}

// program runs one of the others' programs to its end.
func program(t *testing.T, name, in string, args ...string) (out string, code int) {
	t.Helper()
	cmd := exec.Command(filepath.Join(programs, name), args...)
	cmd.Stdin = strings.NewReader(in)
	b, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(b), cmd.ProcessState.ExitCode()
}

// grpcurl lists, describes and calls, with the server's reflection alone.
func TestGrpcurl(t *testing.T) {
	addr := gateway(t, nil, "grpc://127.0.0.1:0", serve(t, "udp"))
	for _, c := range []struct {
		in   string
		args []string
		code int
		says string
	}{
		{"", []string{addr, "list"}, 0, "grpc.testing.TestService\n"},
		{"", []string{addr, "describe", "grpc.testing.SimpleRequest"}, 0, "grpc.testing.SimpleRequest is a message:"},
		{"", []string{"-d", `{"responseSize": 3}`, addr, "grpc.testing.TestService/UnaryCall"}, 0, `"body": "AAAA"`},
		{"", []string{"-v", "-H", "x-grpc-test-echo-initial: hello", "-H", "x-grpc-test-echo-trailing-bin: q6ur", "-d", "{}", addr, "grpc.testing.TestService/UnaryCall"}, 0, "x-grpc-test-echo-initial: hello"},
		{"", []string{"-v", "-H", "x-grpc-test-echo-trailing-bin: q6ur", "-d", "{}", addr, "grpc.testing.TestService/UnaryCall"}, 0, "x-grpc-test-echo-trailing-bin: q6ur"},
		{"", []string{"-d", `{"responseStatus": {"code": 9, "message": "Ω"}}`, addr, "grpc.testing.TestService/UnaryCall"}, 64 + 9, "Code: FailedPrecondition\n  Message: Ω"},
		{`{"responseParameters": [{"size": 1}]} {"responseParameters": [{"size": 2}]}`, []string{"-d", "@", addr, "grpc.testing.TestService/FullDuplexCall"}, 0, "\"body\": \"AA==\"\n  }\n}\n{\n  \"payload\": {\n    \"body\": \"AAA=\""},
		{`{"payload": {"body": "AAA="}} {"payload": {"body": "AAAA"}}`, []string{"-d", "@", addr, "grpc.testing.TestService/StreamingInputCall"}, 0, `"aggregatedPayloadSize": 5`},
	} {
		out, code := program(t, "grpcurl", c.in, append([]string{"-plaintext"}, c.args...)...)
		if code != c.code || !strings.Contains(out, c.says) {
			t.Errorf("grpcurl %q: exit code %d, %q; want %d and %q", c.args, code, out, c.code, c.says)
		}
	}
}

// ghz makes calls by the hundred, several at once, and all of them end well.
func TestGhz(t *testing.T) {
	addr := gateway(t, nil, "grpc://127.0.0.1:0", serve(t, "udp"))
	for _, call := range []string{"UnaryCall", "StreamingInputCall", "FullDuplexCall"} {
		data := `{"payload": {"body": "AAAA"}}`
		if call == "FullDuplexCall" {
			data = `{"responseParameters": [{"size": 100}]}`
		}
		out, code := program(t, "ghz", "", "--insecure", "--call", "grpc.testing.TestService."+call, "-d", data, "-n", "500", "-c", "20", "--connections", "2", "--timeout", "60s", "-O", "json", addr)
		var report struct {
			Count  int            `json:"count"`
			Status map[string]int `json:"statusCodeDistribution"`
		}
		if err := json.Unmarshal([]byte(out), &report); err != nil || code != 0 || report.Count != 500 || report.Status["OK"] != 500 {
			t.Errorf("%s: exit code %d, %v, %+v: %.2000s", call, code, err, report, out)
		}
	}
}
