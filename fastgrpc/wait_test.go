package fastgrpc

import (
	"context"
	"errors"
	"testing"

	"github.com/fastrpc/fastrpc"
)

// A call is begun again as long as it waits for the server, and nothing of it was executed.
func TestBegin(t *testing.T) {
	absent := &fastrpc.Error{Code: fastrpc.Unavailable, Outcome: fastrpc.NotExecuted}
	unknown := &fastrpc.Error{Code: fastrpc.Unavailable, Outcome: fastrpc.OutcomeUnknown}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, test := range []struct {
		name     string
		ctx      context.Context
		wait     bool
		ends     []error
		attempts int
		want     error
	}{
		{"waits", t.Context(), true, []error{absent, absent, nil}, 3, nil},
		{"does not wait", t.Context(), false, []error{absent, nil}, 1, absent},
		{"may have run", t.Context(), true, []error{unknown, nil}, 1, unknown},
		{"given up", canceled, true, []error{absent, nil}, 1, context.Canceled},
	} {
		n := 0
		_, err := begin(test.ctx, &callInfo{waitForReady: test.wait}, func() (struct{}, error) {
			n++
			return struct{}{}, test.ends[n-1]
		})
		if n != test.attempts || !errors.Is(err, test.want) {
			t.Errorf("%s: %v after %d attempts", test.name, err, n)
		}
	}
}
