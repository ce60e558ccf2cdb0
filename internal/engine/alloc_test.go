//go:build !race

package engine

import (
	"context"
	"testing"

	"github.com/fastrpc/fastrpc/transport"
)

// Beginning, collecting and releasing calls allocates nothing once everything is warm. (Under the race
// detector sync.Pool throws some of what it is given away.)
func TestAsynchronousCallsDoNotAllocate(t *testing.T) {
	c := pair(t, func(l transport.Link) transport.Link { return l }, mirror{})
	q, out := NewCompletions(32), make([]Completion, 32)
	body := []byte("a call")
	round := func() {
		for range 32 {
			if _, err := c.Go(transport.Now(), q, 1, body, false, 0); err != nil {
				t.Fatal(err)
			}
		}
		for q.Open() > 0 {
			n, err := q.Wait(context.Background(), out)
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range out[:n] {
				x.Engine.Release(x.Call)
			}
		}
	}
	for range 100 {
		round()
	}
	if n := testing.AllocsPerRun(300, round); n >= 1 { // of 32 calls and of the server's side, which runs beside
		t.Errorf("%v allocations for 32 calls", n)
	}
}
