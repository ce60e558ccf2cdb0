package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/fastrpc/fastrpc/bench/machine"
)

// AgentConfig says what an agent offers.
type AgentConfig struct {
	// Token is what a driver must know. It is not sent; the connection is not protected otherwise, so the network should be one's own.
	Token string

	Interface string   // that serves; "": the one that leads to the driver's
	Child     []string // as in Config
	LockFile  string   // held while a driver is there; see LockFile

	Log func(string) // is told who drives; it may be called from several goroutines
}

// Agent runs the server's side of comparisons for drivers on other machines: see Config.Agent. One at a time drives; the next one may come when
// it is gone, however it went, and its processes have ended. Agent returns, without an error, when ctx ends; it closes ln.
func Agent(ctx context.Context, ln *net.TCPListener, c AgentConfig) error {
	if c.Token == "" {
		return fmt.Errorf("%w: an agent without a token would serve anybody", ErrConfig)
	}
	var sessions sync.WaitGroup
	defer sessions.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	a := agent{AgentConfig: c, strangers: make(chan struct{}, maxStrangers)}
	for {
		conn, err := ln.AcceptTCP()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("bench: agent: %w", err)
		}
		sessions.Go(func() {
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			a.receive(ctx, conn)
		})
	}
}

// Limits for those who have not said who they are.
const (
	maxStrangers  = 16
	strangerLimit = 5 * time.Second
)

type agent struct {
	AgentConfig
	strangers chan struct{} // one for each connection that has not proved anything yet

	mu     sync.Mutex
	driver string // who drives, and since when; "": nobody
}

// receive is what happens to one connection.
func (a *agent) receive(ctx context.Context, conn *net.TCPConn) {
	from := conn.RemoteAddr().(*net.TCPAddr).AddrPort()
	from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
	select {
	case a.strangers <- struct{}{}:
	default:
		return // too many
	}
	lines := bufio.NewReader(conn)
	w, i, err := a.meet(conn, lines)
	<-a.strangers
	var leave func()
	if err == nil {
		leave, err = a.admit(ctx, from, i, &w)
	}
	if err != nil {
		a.Log(fmt.Sprintf("%v is refused: %v", from, err))
		_ = answerTo(conn, welcome{Error: err.Error(), Busy: errors.Is(err, ErrBusy)})
		return
	}
	defer leave()
	if err := answerTo(conn, w); err != nil {
		return
	}
	a.Log(fmt.Sprintf("%v drives", from))
	s := session{agent: a, conn: conn, lines: lines, cpu: w.CPU}
	if err := s.run(ctx); errors.Is(err, io.EOF) {
		a.Log(fmt.Sprintf("%v left", from))
	} else {
		a.Log(fmt.Sprintf("%v left: %v", from, err))
	}
}

// meet finds out whether the other side may drive.
func (a *agent) meet(conn *net.TCPConn, lines *bufio.Reader) (w welcome, i introduction, err error) {
	if err := errors.Join(watch(conn), conn.SetDeadline(time.Now().Add(strangerLimit))); err != nil {
		return w, i, err
	}
	g := greeting{Version: agentVersion(), Nonce: newNonce()}
	if err := answerTo(conn, g); err != nil {
		return w, i, err
	}
	line, err := readLine(lines, maxOrder)
	if err != nil {
		return w, i, err
	}
	if json.Unmarshal(line, &i) != nil || i.Version == "" {
		return w, i, errors.New("that is no driver of 'fastrpc bench compare --agent'")
	}
	if err := checkVersion(i.Version); err != nil {
		return w, i, err
	}
	if !proves(i.Proof, "driver", a.Token, g.Nonce, i.Nonce) {
		return w, i, errors.New("wrong token; the agent printed the right one, or was given it")
	}
	w.Proof = prove("agent", a.Token, g.Nonce, i.Nonce)
	return w, i, conn.SetDeadline(time.Time{})
}

// admit makes the other side the driver, until leave is called, and completes what the agent tells it.
func (a *agent) admit(ctx context.Context, from netip.AddrPort, i introduction, w *welcome) (leave func(), err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.driver != "" {
		return nil, fmt.Errorf("%w: %s", ErrBusy, a.driver)
	}
	unlock := func() {}
	if i.Boot != bootID() { // a driver on this very machine keeps others off itself
		if unlock, err = Lock(ctx, a.LockFile, nil); err != nil {
			return nil, err
		}
	}
	if w.Endpoint, err = endpointTo(i.Client, a.Interface); err != nil {
		unlock()
		return nil, err
	}
	w.Machine, w.NoBypass, w.Systems, w.Missing = machine.Describe(), missingCapabilities(), Names(), maps.Clone(missing)
	_, w.CPU = (&Config{}).cpus()
	measured := machine.Measured{Interface: w.Endpoint.Interface, Bypass: w.NoBypass == ""}
	if w.CPU >= 0 {
		measured.CPUs = []int{w.CPU}
	}
	w.Machine.Advice = machine.Advice(measured)
	a.driver = fmt.Sprintf("%v drives it, since %s", from, time.Now().Format(time.RFC3339))
	return func() {
		unlock()
		a.mu.Lock()
		defer a.mu.Unlock()
		a.driver = ""
	}, nil
}

// answerTo writes a line. A driver that does not read is gone.
func answerTo(conn *net.TCPConn, answer any) error {
	if err := conn.SetWriteDeadline(time.Now().Add(silenceLimit)); err != nil {
		return err
	}
	return json.NewEncoder(conn).Encode(answer)
}
