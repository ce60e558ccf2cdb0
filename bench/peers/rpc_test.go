package main

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/bench"
)

// start runs a server of s in this process, over loopback, and connects to it: the server as workload serves has it, the client as e does.
func start(t *testing.T, s bench.System, e bench.Endpoint, serves string) (c bench.Caller, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	e.Local = netip.MustParseAddrPort("127.0.0.1:0")
	at, ready, served := e, make(chan bench.Ready, 1), make(chan error, 1)
	at.Workload = serves
	go func() { served <- s.Serve(ctx, at, func(r bench.Ready) { ready <- r }) }()
	select {
	case r := <-ready:
		e.Remote = r.Addr
	case err := <-served:
		t.Fatalf("Serve: %v", err)
	}
	c, err := s.Connect(t.Context(), e)
	if err != nil {
		t.Fatalf("Connect: %v", err)
	}
	closed := false
	stop = func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		closed = true
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil && !closed { // a connection that the server has closed may say so
			t.Errorf("Close: %v", err)
		}
		if !closed {
			stop()
		}
	})
	return c, stop
}

// Every system carries every workload, without a wrong byte, and every call ends once.
func TestRPC(t *testing.T) {
	for _, s := range rpcs {
		for _, e := range []bench.Endpoint{
			{Workload: bench.Latency, Size: bench.MinSize, Outstanding: 1},
			{Workload: bench.Latency, Size: bench.MaxSize, Outstanding: 1},
			{Workload: bench.Rate, Size: 64, Outstanding: 1},
			{Workload: bench.Rate, Size: 64, Outstanding: 300},
			{Workload: bench.Bulk, Size: bench.MinBulk, Outstanding: 1},
			{Workload: bench.Bulk, Size: 9 << 20, Outstanding: 2}, // above every default limit
		} {
			if !s.(bench.Loader).Has(e.Workload) {
				continue
			}
			t.Run(s.Name()+"/"+e.Workload, func(t *testing.T) {
				c, _ := start(t, s, e, e.Workload)
				if e.Workload == bench.Latency {
					for i := range 100 {
						if err := c.Call(message(&e, i)); err != nil {
							t.Fatalf("call %d: %v", i, err)
						}
					}
					return
				}
				calls := 10 * e.Outstanding
				if e.Workload == bench.Bulk {
					calls = 5 * e.Outstanding
				}
				pipeline(t, c.(bench.Pipeline), &e, calls)
			})
		}
	}
}

// message is the payload of call i.
func message(e *bench.Endpoint, i int) []byte {
	b := make([]byte, e.Size)
	for j := range b {
		b[j] = byte(i + j)
	}
	if len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, uint64(i))
	}
	return b
}

// pipeline makes calls with as many outstanding as may be.
func pipeline(t *testing.T, p bench.Pipeline, e *bench.Endpoint, calls int) {
	outstanding := map[int]bool{}
	ended := make([]int, e.Outstanding)
	for begun := 0; begun < calls || len(outstanding) > 0; {
		for begun < calls && len(outstanding) < e.Outstanding && !outstanding[begun%e.Slots()] {
			if err := p.Begin(begun%e.Slots(), message(e, begun)); err != nil {
				t.Fatalf("call %d: %v", begun, err)
			}
			outstanding[begun%e.Slots()] = true
			begun++
		}
		n, err := p.Wait(ended)
		if err != nil || n == 0 {
			t.Fatalf("of %d begun, %d outstanding: Wait = %d, %v", begun, len(outstanding), n, err)
		}
		for _, slot := range ended[:n] {
			if !outstanding[slot] {
				t.Fatalf("slot %d ended, which was not outstanding", slot)
			}
			delete(outstanding, slot)
		}
	}
}

// A server that answers something else is noticed, by a lone call and among many.
func TestRPCVerifies(t *testing.T) {
	for _, s := range rpcs {
		t.Run(s.Name(), func(t *testing.T) {
			e := bench.Endpoint{Workload: bench.Latency, Size: 64, Outstanding: 1}
			c, _ := start(t, s, e, bench.Bulk)
			if err := c.Call(message(&e, 1)); !errors.Is(err, bench.ErrEcho) {
				t.Errorf("a receipt for an echo: %v, want ErrEcho", err)
			}
			e.Workload = bench.Rate
			c, _ = start(t, s, e, bench.Bulk)
			if err := c.(bench.Pipeline).Begin(0, message(&e, 1)); err != nil {
				t.Fatal(err)
			}
			if n, err := c.(bench.Pipeline).Wait(make([]int, 1)); n != 0 || !errors.Is(err, bench.ErrEcho) {
				t.Errorf("a receipt for an echo: %d ended, %v, want ErrEcho", n, err)
			}
		})
	}
}

// A server that is gone is an error, not a hang.
func TestRPCSeesTheEnd(t *testing.T) {
	for _, s := range rpcs {
		t.Run(s.Name(), func(t *testing.T) {
			e := bench.Endpoint{Workload: bench.Latency, Size: 64, Outstanding: 1}
			c, stop := start(t, s, e, e.Workload)
			if err := c.Call(message(&e, 1)); err != nil {
				t.Fatal(err)
			}
			stop()
			gone := make(chan error, 1)
			go func() {
				var err error
				for err == nil { // what the server had accepted may still be answered
					err = c.Call(message(&e, 2))
				}
				gone <- err
			}()
			select {
			case <-gone:
			case <-time.After(time.Minute):
				t.Error("calls to a server that is gone do not end")
			}
		})
	}
}

// The other systems need root, a lab and a C compiler, see TestPeers; these run as 'fastrpc bench compare' runs them, too.
func TestRPCInALab(t *testing.T) {
	exe := addPeers(t)
	var names []string
	for _, s := range rpcs {
		names = append(names, s.Name())
	}
	for _, c := range []bench.Config{
		{Workload: bench.Latency, Size: 64, Requests: 200},
		{Workload: bench.Rate, Size: 64, Outstanding: 32, Duration: 50 * time.Millisecond},
		{Workload: bench.Bulk, Size: 1 << 20, Duration: 50 * time.Millisecond},
	} {
		c.Systems, c.Rounds, c.Child = names, 1, []string{exe, "child"}
		r, err := bench.Compare(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		for _, res := range r.Results {
			if res.Error != "" || len(res.Rounds) != 1 || res.Rounds[0].Ops <= 0 || res.Rounds[0].Latency == nil {
				t.Errorf("%s of %s: %+v", c.Workload, res.System, res)
			}
		}
	}
}
