package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/fastrpc/fastrpc/afxdp"
	"github.com/fastrpc/fastrpc/bpf"
	"github.com/fastrpc/fastrpc/internal/lab"
	"github.com/fastrpc/fastrpc/internal/lab/labtest"
	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/xdp"
)

// The table has what processes tell, the rates between two looks, and nothing that is 0.
func TestStatsTable(t *testing.T) {
	h := labtest.New(t, lab.Config{Queues: 1}).Server()
	looks := 0
	newTapped(t, h, 0, func(<-chan struct{}) []any {
		looks++
		n := uint64(looks)
		about := xdp.InterfaceStats{Interface: "veth0", Mode: "native", Ports: []uint16{9000, 9001}, Steering: bpf.Counters{Redirected: 1000 * n, Group: 7}}
		current := xdp.QueueStats{
			Current: true,
			Stats:   xdp.Stats{Queue: 4, Received: 1000 * n, ReceivedBytes: 1e6 * n, Sent: 5, TxFull: 3, Socket: afxdp.Stats{RxRingFull: 11}},
			Frames:  transport.FrameCounts{Free: 1, Receive: 2, Borrowed: 3, InFlight: 4},
			Rings:   afxdp.Levels{Fill: afxdp.Level{Used: 5, Size: 64}},
		}
		return []any{about, current, xdp.QueueStats{Stats: xdp.Stats{Queue: 5, Received: 9}}}
	})
	code, out, errOut := fastOn(t.Context(), h, "stats", "veth0", "--count", "2", "--interval", "10ms")
	if code != exitOK || errOut != "" {
		t.Fatalf("exit code %d, error %q", code, errOut)
	}
	first, second, ok := strings.Cut(out[1:], "\n20") // a look begins with the date
	if !ok {
		t.Fatal(out)
	}
	for i, look := range []string{first, second} {
		if strings.Contains(look, "\x1b") || strings.Contains(look, "not our port") || strings.Contains(look, "rx dropped") {
			t.Errorf("look %d has what it should not:\n%s", i, look)
		}
		for _, says := range []string{"(pid ", "native  udp 9000, 9001", "5/64", "1        2         3          4", "5*", "queue 4: tx full 3, rx ring full 11\n", "group 7"} {
			if !strings.Contains(look, says) {
				t.Errorf("look %d does not say %q:\n%s", i, says, look)
			}
		}
	}
	if !strings.Contains(first, "steering: redirected 1000, group 7\n") || !strings.Contains(second, "redirected 2000 (") {
		t.Errorf("rates:\n%s\n%s", first, second)
	}
}

// What is open to a process is closed when that is gone.
func TestStatsOfGone(t *testing.T) {
	h := labtest.New(t, lab.Config{Queues: 1}).Server()
	p := newTapped(t, h, 0, func(<-chan struct{}) []any { return []any{xdp.InterfaceStats{}} })
	c := statsCollector{log: t.Output()}
	defer c.close()
	for _, processes := range []int{1, 0} {
		if err := h.Do(func() error { _, err := c.collect(); return err }); err != nil || len(c.open) != processes {
			t.Errorf("%d processes are open, want %d; %v", len(c.open), processes, err)
		}
		if err := p.server.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Without a process there is nothing to show, and what to do is said.
func TestStatsOfNobody(t *testing.T) {
	h := labtest.New(t, lab.Config{Queues: 1}).Server()
	if code, out, errOut := fastOn(t.Context(), h, "stats"); code != exitFailure || out != "" || !strings.Contains(errOut, "ip netns exec") {
		t.Errorf("exit code %d, output %q, error %q", code, out, errOut)
	}
	if code, _, errOut := fastOn(t.Context(), h, "stats", "veth7"); code != exitFailure || !strings.Contains(errOut, "ip -brief link") {
		t.Errorf("exit code %d, error %q", code, errOut)
	}
}

// What a running server, its socket, the steering program and the driver count of the same packets agrees.
func TestStatsOfServer(t *testing.T) {
	l := labtest.New(t, lab.Config{Queues: 1})
	srv := serveProcess(t, l.Server())
	for range 3 {
		code, _, errOut := fastOn(t.Context(), l.Client(), "call", fmt.Sprintf("xdp://%v:9000", l.Server().IPv4), "echo", "--data", "x", "--insecure")
		if code != exitOK {
			t.Fatalf("exit code %d, error %q", code, errOut)
		}
	}
	type look struct {
		Interfaces []struct {
			Name      string
			Driver    map[string]uint64
			Processes []struct {
				Pid      int
				Ports    []int
				Steering struct{ Redirected uint64 }
				Queues   []struct {
					Current bool
					Stats   struct {
						Queue                int
						Mode                 string
						Received, Sent       uint64
						ReceivedBytes        uint64
						Socket               struct{ RxDropped, RxRingFull uint64 }
						NotOurs, Malformed   uint64
						SentBytes, ViaKernel uint64
					}
					Frames struct{ Free, Receive, Borrowed, InFlight int }
					Rings  struct{ Fill, Rx struct{ Used, Size int } }
				}
			}
		}
	}
	var ls []look
	code, out, errOut := fastOn(context.Background(), l.Server(), "stats", "--json", "--count", "2", "--interval", "1ms")
	if !strings.Contains(out, `"napi":`) || !strings.Contains(out, `"receivedBytes":`) {
		t.Error(out)
	}
	for line := range strings.Lines(out) {
		var l look
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		ls = append(ls, l)
	}
	if code != exitOK || len(ls) != 2 {
		t.Fatalf("exit code %d, %d looks, error %q", code, len(ls), errOut)
	}
	i := ls[1].Interfaces[0]
	p := i.Processes[0]
	q := p.Queues[0]
	if i.Name != "veth0" || p.Pid != srv.Process.Pid || len(p.Ports) != 1 || p.Ports[0] != 9000 || !q.Current || q.Stats.Mode != "native" {
		t.Errorf("%+v", i)
	}
	received := q.Stats.Received
	if received < 3*3 || p.Steering.Redirected != received || i.Driver["rx_queue_0_xdp_redirect"] != received {
		t.Errorf("received %d packets; the program redirected %d, the driver %d", received, p.Steering.Redirected, i.Driver["rx_queue_0_xdp_redirect"])
	}
	if q.Stats.Sent < 3*2 || q.Stats.SentBytes < 60*q.Stats.Sent || q.Stats.ReceivedBytes < 60*received {
		t.Errorf("%+v", q.Stats)
	}
	if f := q.Frames; f.Free+f.Receive+f.Borrowed+f.InFlight != 4096 || q.Rings.Fill.Used == 0 || q.Rings.Fill.Size != 2048 {
		t.Errorf("frames %+v, rings %+v", f, q.Rings)
	}
}
