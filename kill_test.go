package fastrpc_test

import (
	"context"
	"encoding/binary"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc"
)

// A server is killed under load, three times. Every call ends by itself, with an outcome that what the server has recorded bears out; the
// same client is served again once a server is back at the address; and the dead leave nothing behind.
func TestServerKilledUnderLoad(t *testing.T) {
	everywhere(t, func(t *testing.T, w world) {
		nothingLeft(t)
		dir := t.TempDir()
		first := filepath.Join(dir, "0")
		server := w.startChild(t, "server", w.listenTarget(0), first)
		journals := []string{first}
		number, err := strconv.Atoi(server.line(t))
		must(t, err)
		port := uint16(number)
		c := w.dial(t, port)
		l := &load{client: c, ended: map[uint64]error{}}
		for round := 1; round <= 3; round++ {
			checkEcho(t, c, "echo", pattern(100))
			done := l.start()
			l.await(t, int64(500*round)) // well under way
			server.kill(t)
			killed := time.Now()
			receive(t, done, "the end of the calls")
			if took := time.Since(killed); took > 10*time.Second { // 450 ms by default, and a crowded machine
				t.Errorf("the calls ended %v after the kill", took)
			} else {
				t.Logf("the calls ended %v after the kill", took)
			}
			if w.lab != nil {
				bare(t, w.lab.Server())
			}
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			if _, err := c.Method("echo").Call(ctx, nil); fastrpc.OutcomeOf(err) != fastrpc.NotExecuted {
				t.Errorf("a call to a dead server: %v, outcome %v", err, fastrpc.OutcomeOf(err))
			}
			cancel()
			journals = append(journals, filepath.Join(dir, strconv.Itoa(round)))
			server = w.startChild(t, "server", w.listenTarget(port), journals[round])
			if says := server.line(t); says != strconv.Itoa(int(port)) {
				t.Fatalf("the server does not come back: %s", says)
			}
		}
		checkEcho(t, c, "worker", pattern(1<<20))
		server.end()
		l.check(t, journals)
		if w.lab != nil {
			bare(t, w.lab.Server())
		}
	})
}

// load calls a server's recording methods from several goroutines, each until its first error.
type load struct {
	client *fastrpc.Client
	next   atomic.Uint64 // names the calls
	good   atomic.Int64
	mu     sync.Mutex
	ended  map[uint64]error
}

func (l *load) start() (done chan struct{}) {
	done = make(chan struct{})
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			m := l.client.Method([]string{"record", "record by worker"}[g%2])
			for {
				id := l.next.Add(1)
				rep, err := m.Call(context.Background(), binary.LittleEndian.AppendUint64(nil, id)) // no deadline: the client has to find out
				l.mu.Lock()
				l.ended[id] = err
				l.mu.Unlock()
				if err != nil {
					return
				}
				l.good.Add(1)
				rep.Release()
			}
		})
	}
	go func() { wg.Wait(); close(done) }()
	return done
}

func (l *load) await(t testing.TB, good int64) {
	t.Helper()
	from := l.good.Load()
	eventually(t, func() string {
		if l.good.Load()-from < good {
			return "the load does not get going"
		}
		return ""
	})
}

// check compares what the callers were told with what ran.
func (l *load) check(t testing.TB, journals []string) {
	t.Helper()
	ran := journal(t, journals...)
	outcomes := map[fastrpc.Outcome]int{}
	for id, err := range l.ended {
		n := ran[id]
		switch outcome := fastrpc.OutcomeOf(err); {
		case err == nil && n != 1:
			t.Errorf("call %d ended well and ran %d times", id, n)
		case err == nil:
		case n > 1:
			t.Errorf("call %d ran %d times: %v", id, n, err)
		case outcome == fastrpc.NotExecuted && n != 0:
			t.Errorf("call %d ran, and ended as not executed: %v", id, err)
		case fastrpc.CodeOf(err) != fastrpc.Unavailable || outcome == fastrpc.Executed:
			t.Errorf("call %d ended as %v: %v", id, outcome, err)
		default:
			outcomes[outcome]++
		}
	}
	for id := range ran {
		if _, ok := l.ended[id]; !ok {
			t.Errorf("call %d ran and never ended", id)
		}
	}
	t.Logf("%d calls ran; failed: %v", len(ran), outcomes)
	if outcomes[fastrpc.OutcomeUnknown] == 0 {
		t.Error("no call was under way when the server was killed")
	}
}

// Clients that are killed with calls under way leave a server that serves on, and an interface that others can use.
func TestClientsKilledUnderLoad(t *testing.T) {
	everywhere(t, func(t *testing.T, w world) {
		nothingLeft(t)
		s := echoServer()
		port := w.serve(t, s)
		for range 3 {
			client := w.startChild(t, "client", w.dialTarget(port))
			if says := client.line(t); says != "calling" {
				t.Fatal(says)
			}
			client.kill(t)
			if w.lab != nil {
				bare(t, w.lab.Client())
			}
			c := w.dial(t, port)
			checkEcho(t, c, "echo", pattern(1000))
			checkEcho(t, c, "worker", pattern(1<<20))
			hangUp(t, c)
		}
	})
}
