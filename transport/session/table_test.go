package session_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/sim"
)

var update = flag.Bool("update", false, "TestGoodputTable writes its table to testdata/goodput.txt")

const goodputHead = `Goodput of long requests, and the time that 99 of 100 small calls take at most, by one-way delay and random loss in each direction.

A simulated link of 10 Gbit/s with packets of 1,472 bytes, of which at most 9.22 Gbit/s are messages; the session core's default settings.
Goodput is of two requests of 4 MiB at a time (1 MiB at 10 ms, whose window of 256 packets allows 144 Mbit/s), in Mbit/s; small calls are of
64 bytes, one after the other. "go test ./transport/session -run TestGoodputTable -update" writes this file.

`

// TestGoodputTable keeps a table of what loss and delay cost in the tree, so that each change of it is seen.
func TestGoodputTable(t *testing.T) {
	losses := []float64{0, 0.0001, 0.001, 0.01, 0.03, 0.1}
	delays := []time.Duration{5 * time.Microsecond, 20 * time.Microsecond, 100 * time.Microsecond, time.Millisecond, 10 * time.Millisecond}
	goodputs, times := [][]string{}, [][]string{}
	for _, delay := range delays {
		size, transfers, calls := 4<<20, 6, 2000
		if delay >= time.Millisecond {
			transfers = 4
		}
		if delay >= 10*time.Millisecond {
			size, calls = 1<<20, 1000
		}
		goodput, p99 := []string{delay.String()}, []string{delay.String()}
		for i, loss := range losses {
			x := newFabric(t, uint64(i), sim.Faults{Delay: delay, Loss: loss, Bandwidth: sim.Bandwidth{BitsPerSecond: tenGigabit}}, session.Config{}, ethernet)
			c := x.session(x.client(session.Config{}))
			p99 = append(p99, x.sample(c, calls).Round(time.Microsecond).String())
			rate := x.transfer(c, pattern(size, 1), transfers, 2, time.Hour) * float64(size) * 8 / 1e6
			goodput = append(goodput, fmt.Sprintf("%.0f", rate))
		}
		goodputs, times = append(goodputs, goodput), append(times, p99)
	}
	head := []string{"delay"}
	for _, loss := range losses {
		head = append(head, fmt.Sprintf("%g %%", 100*loss))
	}
	got := goodputHead + "Mbit/s\n\n" + table(head, goodputs) + "\np99 of a small call\n\n" + table(head, times)
	const file = "testdata/goodput.txt"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("what loss costs has changed: if that is meant to be, run this test with -update. It is now\n%s", got)
	}
}

// table sets rows in columns, the first to the left and the others to the right.
func table(head []string, rows [][]string) string {
	var b strings.Builder
	for _, row := range slices.Insert(rows, 0, head) {
		fmt.Fprintf(&b, "%-8s", row[0])
		for _, cell := range row[1:] {
			fmt.Fprintf(&b, "%11s", cell)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
