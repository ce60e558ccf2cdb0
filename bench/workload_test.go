package bench

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/bench/result"
	"github.com/fastrpc/fastrpc/internal/lab"
	"github.com/fastrpc/fastrpc/internal/lab/labtest"
)

func TestSlots(t *testing.T) {
	for _, c := range []struct {
		workload          string
		outstanding, want int
	}{{Rate, 1, 8}, {Rate, 32, 256}, {Rate, 33, 512}, {Rate, MaxOutstanding, 8192}, {Bulk, 1, 1}, {Bulk, 3, 3}} {
		e := Endpoint{Workload: c.workload, Point: result.Point{Outstanding: c.outstanding}}
		if got := e.Slots(); got != c.want {
			t.Errorf("%s, %d outstanding: %d slots, want %d", c.workload, c.outstanding, got, c.want)
		}
	}
}

// What a user runs, small: real processes over loopback.
func TestLoads(t *testing.T) {
	for _, workload := range []string{Rate, Bulk} {
		size := map[string]int{Rate: 64, Bulk: 1 << 20}[workload]
		r := compareOnLoopback(t, Config{Systems: []string{"udp", "net-tcp", "spin-tcp"}, Workload: workload, Outstanding: 3, Size: size,
			Duration: 100 * time.Millisecond, Rounds: 1, Child: childCommand(t)})
		for _, res := range r.Results[:2] {
			checkLoad(t, workload, &res, 0)
		}
		if r.Results[2].Error == "" || len(r.Results[2].Rounds) != 0 {
			t.Errorf("spin-tcp ran workload %s, which it has not: %+v", workload, r.Results[2])
		}
	}
}

// checkLoad checks what a round says against itself; of a bulk flood, packet is what its packets carry.
func checkLoad(t *testing.T, workload string, res *result.Result, packet int) {
	t.Helper()
	if res.Error != "" || len(res.Rounds) != 1 {
		t.Fatalf("%s: %d rounds, error %q", res.System, len(res.Rounds), res.Error)
	}
	round := &res.Rounds[0]
	flood := strings.HasPrefix(res.System, "ring")
	gbit := 0.0
	switch {
	case workload == Bulk && flood:
		gbit = 8 * round.PerSec * float64(packet) / 1e9
	case workload != Rate:
		gbit = 8 * round.PerSec * float64(res.Point.Size) / 1e9
	}
	if round.Ops == 0 || round.PerSec <= 0 || round.Seconds < 0.1 || round.Gbit < gbit*0.99-1e-3 || round.Gbit > gbit*1.01+1e-3 {
		t.Errorf("%s: implausible %+v, want %v Gbit/s", res.System, *round, gbit)
	}
	if l := round.Latency; (l == nil) != flood || l != nil && (l.P50 <= 0 || l.P50 > l.P99 || l.P99 > l.Max) {
		t.Errorf("%s: implausible %+v", res.System, *round)
	}
}

// The same in a lab, with the ring's flood.
func TestFlood(t *testing.T) {
	if missingCapabilities() != "" {
		labtest.New(t, lab.Config{}) // says what is missing
	}
	for _, c := range []Config{
		{Workload: Rate, Size: 1}, {Workload: Rate, Size: 24}, {Workload: Bulk, Size: 1 << 20}, {Workload: Bulk, Size: 1 << 20, MTU: 9000},
		{Workload: Flood, Size: 64}, {Workload: Flood, Size: 1500}, {Workload: Flood, Size: 9000},
	} {
		c.Systems, c.Duration, c.Rounds, c.Child = Default(c.Workload), 100*time.Millisecond, 1, childCommand(t)
		c.Systems = c.Systems[:min(3, len(c.Systems))]
		r, err := Compare(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		for _, res := range r.Results {
			checkLoad(t, c.Workload, &res, max(c.MTU, 1500)-28)
		}
	}
	noLab(t)
}

// A wrong echo among many, and a receipt for another message, are seen.
func TestTCPPipelineVerifies(t *testing.T) {
	for _, workload := range []string{Rate, Bulk} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			buf := make([]byte, 64)
			for i := 0; ; i++ {
				if _, err := io.ReadFull(c, buf); err != nil {
					return
				}
				if i == 5 {
					buf[63] ^= 1
				}
				answer := buf
				if workload == Bulk {
					answer = AppendReceipt(nil, buf)
				}
				if _, err := c.Write(answer); err != nil {
					return
				}
			}
		}()
		e := *loopback()
		e.Remote, e.Workload, e.Outstanding = l.Addr().(*net.TCPAddr).AddrPort(), workload, 2
		caller, err := system(t, "net-tcp").Connect(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		p, ended, collected := caller.(Pipeline), make([]int, 2), 0
		for i := range 6 {
			if err := p.Begin(i%e.Slots(), bytes.Repeat([]byte{byte(i)}, 64)); err != nil {
				t.Fatal(err)
			}
			for i%2 == 1 && collected <= i && err == nil {
				var n int
				n, err = p.Wait(ended)
				collected += n
			}
		}
		if collected > 5 || !errors.Is(err, ErrEcho) {
			t.Errorf("%s: %d answers, then %v, want 5 at most and ErrEcho", workload, collected, err)
		}
		caller.Close()
	}
}
