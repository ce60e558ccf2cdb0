package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const testToken = "a token"

// startAgent runs an agent in this process, on loopback; log is closed when it has ended.
func startAgent(t *testing.T) (addr string, log <-chan string) {
	t.Helper()
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	said := make(chan string, 100)
	c := AgentConfig{Token: testToken, Child: childCommand(t), LockFile: filepath.Join(t.TempDir(), "lock"), Log: func(s string) { said <- s }}
	ended := make(chan error, 1)
	go func() {
		ended <- Agent(ctx, ln, c)
		close(said)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("agent: %v", err)
		}
		noChildren(t)
	})
	return ln.Addr().String(), said
}

func withAgent(t *testing.T, addr string, systems ...string) Config {
	return Config{
		Systems: systems, Size: 64, Requests: 100, Rounds: 2, Child: childCommand(t), Agent: AgentAddr{Addr: addr, Token: testToken},
	}
}

// await waits until an agent has said something.
func await(t *testing.T, log <-chan string, what string) {
	t.Helper()
	for s := range log {
		if strings.Contains(s, what) {
			return
		}
	}
	t.Fatalf("the agent ended before it said %q", what)
}

// A comparison with an agent is one like any other: figures of both sides, reasons of systems that fail, and of those that the agent lacks.
func TestAgentOnLoopback(t *testing.T) {
	addr, log := startAgent(t)
	r, err := Compare(t.Context(), withAgent(t, addr, "net-tcp", "udp", "test-panics", "test-refuses", "unix"))
	if err != nil {
		t.Fatal(err)
	}
	checkResult(t, &r.Results[0], 2, 100)
	checkResult(t, &r.Results[1], 2, 100)
	for i, want := range map[int]string{2: "out of luck", 3: "no such luck", 4: "another machine"} {
		if res := r.Results[i]; !strings.Contains(res.Error, want) {
			t.Errorf("%s: %q, want %q", res.System, res.Error, want)
		}
	}
	if r.Server == nil || r.Server.Kernel != r.Machine.Kernel || r.Server.MaxProcs == 0 || r.Machine.NIC.Driver != r.Server.NIC.Driver {
		t.Errorf("the server's machine: %+v", r.Server)
	}
	await(t, log, "left")
}

// What a server's process says when it dies reaches the driver's report.
func TestAgentsServerDies(t *testing.T) {
	addr, _ := startAgent(t)
	r, err := Compare(t.Context(), withAgent(t, addr, "test-server-panics", "net-tcp"))
	if err != nil {
		t.Fatal(err)
	}
	if res := r.Results[0]; !strings.Contains(res.Error, "panic: out of order") || len(res.Rounds) != 0 {
		t.Errorf("%+v, want what the server said", res)
	}
	checkResult(t, &r.Results[1], 2, 100)
}

// One drives; the next is told who that is, or waits. A driver that gives up on a call that hangs frees the agent.
func TestAgentIsBusy(t *testing.T) {
	addr, log := startAgent(t)
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		_, err := Compare(ctx, withAgent(t, addr, "test-hangs"))
		first <- err
	}()
	await(t, log, "drives")
	c := withAgent(t, addr, "net-tcp")
	if _, err := Compare(t.Context(), c); !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), "127.0.0.1:") {
		t.Errorf("%v, want ErrBusy and who drives", err)
	}
	c.Waiting = func(error) { cancel() }
	r, err := Compare(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	checkResult(t, &r.Results[0], 2, 100)
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("the first: %v", err)
	}
}

// Who does not know the token, or is of another build, is refused with words that help.
func TestAgentRefuses(t *testing.T) {
	addr, log := startAgent(t)
	c := withAgent(t, addr, "net-tcp")
	c.Agent.Token = "another token"
	if _, err := Compare(t.Context(), c); err == nil || !strings.Contains(err.Error(), "wrong token") {
		t.Errorf("%v, want a refusal", err)
	}
	await(t, log, "wrong token")
	for name, say := range map[string]func(g greeting) string{
		"version": func(g greeting) string {
			b, _ := json.Marshal(introduction{Version: "protocol 0", Nonce: "n", Proof: prove("driver", testToken, g.Nonce, "n")})
			return string(b) + "\n"
		},
		"no driver":  func(greeting) string { return "GET / HTTP/1.1\n" },
		"too long":   func(greeting) string { return strings.Repeat("x", maxOrder+4096) }, // whole buffers: what is unread would reset the connection
		"own proof":  func(g greeting) string { return echoProof(g, "agent") },
		"old proof":  func(g greeting) string { return echoProof(greeting{Nonce: "another"}, "driver") },
		"no address": func(g greeting) string { return echoProof(g, "driver") },
	} {
		want := map[string]string{
			"version": "use the same program", "no driver": "no driver", "too long": "too long", "own proof": "wrong token", "old proof": "wrong token",
			"no address": "no route",
		}[name]
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(conn)
		var g greeting
		var w welcome
		line, err := readLine(lines, maxOrder)
		if err == nil {
			err = json.Unmarshal(line, &g)
		}
		if err == nil {
			_, err = conn.Write([]byte(say(g)))
		}
		if err == nil {
			if line, err = readLine(lines, maxOrder); err == nil {
				err = json.Unmarshal(line, &w)
			}
		}
		conn.Close()
		if err != nil || !strings.Contains(w.Error, want) || w.Proof != "" {
			t.Errorf("%s: %v, %+v, want %q and nothing else", name, err, w, want)
		}
	}
	if err := Agent(t.Context(), nil, AgentConfig{}); !errors.Is(err, ErrConfig) {
		t.Errorf("without a token: %v", err)
	}
}

func echoProof(g greeting, side string) string {
	b, _ := json.Marshal(introduction{Version: agentVersion(), Nonce: "n", Proof: prove(side, testToken, g.Nonce, "n")})
	return string(b) + "\n"
}

// A driver does not believe everybody who listens.
func TestDriverRefuses(t *testing.T) {
	for name, test := range map[string]struct{ says, want string }{
		"version":  {`{"fastrpc_bench_agent":"protocol 0","nonce":"n"}` + "\n", "use the same program"},
		"no agent": {"SSH-2.0-OpenSSH\n", "no agent"},
		"too long": {strings.Repeat("x", maxOrder+1), "no agent"},
		"proof":    {`{"fastrpc_bench_agent":` + quote(agentVersion()) + `,"nonce":"n"}` + "\n" + `{"proof":"00"}` + "\n", "does not know the token"},
		"gone":     {`{"fastrpc_bench_agent":` + quote(agentVersion()) + `,"nonce":"n"}` + "\n", "is gone"},
	} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte(test.says))
			_ = conn.(*net.TCPConn).CloseWrite()
			_, _ = bufio.NewReader(conn).ReadBytes('\n')
			conn.Close()
		}()
		if _, err := Compare(t.Context(), withAgent(t, ln.Addr().String(), "net-tcp")); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
		ln.Close()
	}
	if _, err := Compare(t.Context(), withAgent(t, "127.0.0.1:1", "net-tcp")); err == nil || !strings.Contains(err.Error(), "fastrpc bench agent") {
		t.Errorf("nobody listens: %v", err)
	}
}

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

// Orders that do not fit are answered; a connection that breaks off in the middle ends the child.
func TestAgentSession(t *testing.T) {
	addr, log := startAgent(t)
	c := withAgent(t, addr, "net-tcp")
	d, _, err := callAgent(t.Context(), &c)
	if err != nil {
		t.Fatal(err)
	}
	var a agentAnswer
	for order, want := range map[any]string{
		order{Do: "start"}:                                        "does not run",
		agentOrder{Agent: "format disk"}:                          "unknown order",
		agentOrder{Agent: spawnChild, System: "/bin/sh", CPU: -1}: "unknown system",
	} {
		if err := d.ask(t.Context(), order, &a, setupLimit); err != nil || !strings.Contains(a.Error, want) {
			t.Errorf("%+v: %v, %+v, want %q", order, err, a, want)
		}
	}
	p, err := d.spawn(t.Context(), "net-tcp", -1)
	if err != nil {
		t.Fatal(err)
	}
	e := d.Endpoint
	e.Workload, e.Size, e.Outstanding = Latency, 64, 1
	ready, err := p.ask(t.Context(), order{Do: "serve", System: "net-tcp", Endpoint: &e}, setupLimit)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.spawn(t.Context(), "net-tcp", -1); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("a second process: %v", err)
	}
	if _, err := d.conn.Write([]byte(`{"do":"sta`)); err != nil {
		t.Fatal(err)
	}
	d.conn.Close()
	await(t, log, "left")
	noChildren(t)
	if conn, err := net.Dial("tcp", ready.Ready.Addr.String()); err == nil {
		conn.Close()
		t.Error("the server still listens")
	}
}

// What is sent to a child arrives byte by byte as it would over a pipe, so that the orders around the measured loop are recognized.
func TestAgentPassesOrders(t *testing.T) {
	addr, _ := startAgent(t)
	c := withAgent(t, addr, "net-tcp")
	d, _, err := callAgent(t.Context(), &c)
	if err != nil {
		t.Fatal(err)
	}
	defer d.conn.Close()
	p, err := d.spawn(t.Context(), "test-hangs", -1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.ask(t.Context(), order{Do: "connect", System: "test-hangs", Endpoint: loopback()}, setupLimit); err != nil {
		t.Fatal(err)
	}
	// The call hangs: a driver that no longer waits has the process killed, and the next one begins afresh.
	_, err = p.ask(t.Context(), order{Do: "warm", Requests: 1}, 10*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "no answer") {
		t.Fatalf("%v, want a time-out", err)
	}
	if err := p.end(); err != nil {
		t.Fatal(err)
	}
	if p, err = d.spawn(t.Context(), "net-tcp", -1); err != nil {
		t.Fatal(err)
	}
	e := d.Endpoint
	e.Workload, e.Size, e.Outstanding = Latency, 64, 1
	for _, o := range []order{{Do: "serve", System: "net-tcp", Endpoint: &e}, {Do: "start"}, {Do: "stop"}} {
		a, err := p.ask(t.Context(), o, setupLimit)
		if err != nil || (o.Do == "stop") != (a.Counts != nil) {
			t.Fatalf("%s: %v, %+v", o.Do, err, a)
		}
	}
	if err := p.end(); err != nil {
		t.Error(err)
	}
}

// The agent's machine is locked while somebody from another machine drives.
func TestAgentLocksItsMachine(t *testing.T) {
	a := agent{AgentConfig: AgentConfig{LockFile: filepath.Join(t.TempDir(), "lock")}}
	i := introduction{Boot: "another machine's", Client: loopback().Local.Addr()}
	unlock, err := Lock(t.Context(), a.LockFile, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.admit(t.Context(), loopback().Local, i, &welcome{}); !errors.Is(err, ErrBusy) {
		t.Errorf("%v, want ErrBusy", err)
	}
	unlock()
	leave, err := a.admit(t.Context(), loopback().Local, i, &welcome{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(t.Context(), a.LockFile, nil); !errors.Is(err, ErrBusy) {
		t.Errorf("%v, want ErrBusy", err)
	}
	leave()
	if unlock, err = Lock(t.Context(), a.LockFile, nil); err != nil {
		t.Error(err)
	} else {
		unlock()
	}
	_ = os.Remove(a.LockFile)
}

// A machine that falls silent is noticed: by the kernel, whose options are looked at here, since cutting a cable takes the test that long.
func TestSilenceEndsConnections(t *testing.T) {
	addr, _ := startAgent(t)
	c := withAgent(t, addr, "net-tcp")
	d, _, err := callAgent(t.Context(), &c)
	if err != nil {
		t.Fatal(err)
	}
	defer d.conn.Close()
	raw, err := d.conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for option, want := range map[int]int{unix.TCP_USER_TIMEOUT: 20000, unix.TCP_KEEPIDLE: 5, unix.TCP_KEEPINTVL: 5, unix.TCP_KEEPCNT: 3} {
		if err := raw.Control(func(fd uintptr) {
			if got, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, option); err != nil || got != want {
				t.Errorf("option %d is %d, want %d: %v", option, got, want, err)
			}
		}); err != nil {
			t.Error(err)
		}
	}
}
