package fastgrpc

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/fastrpc/fastrpc"
)

// Between attempts of a call that waits for the server.
const (
	firstPause = 5 * time.Millisecond
	mostPause  = time.Second
)

// begin begins a call, again and again where it waits for a server that is not there: until it was begun, or ctx is over.
func begin[T any](ctx context.Context, i *callInfo, attempt func() (T, error)) (T, error) {
	t, err := attempt()
	for pause := firstPause; i.waitForReady && err != nil && fastrpc.CodeOf(err) == fastrpc.Unavailable && fastrpc.OutcomeOf(err) == fastrpc.NotExecuted; pause = min(2*pause, mostPause) {
		timer := time.NewTimer(pause/2 + rand.N(pause/2)) // not all at once
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return t, ctx.Err()
		}
		t, err = attempt()
	}
	return t, err
}
