package fastrpc_test

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc"
)

// A time beyond all times is no deadline.
func TestVeryLongTimeout(t *testing.T) {
	_, c := start(t)
	m := c.Method("echo")
	ctx, cancel := context.WithTimeout(t.Context(), math.MaxInt64)
	defer cancel()
	for _, opts := range [][]fastrpc.CallOption{{fastrpc.Timeout(math.MaxInt64)}, nil, {fastrpc.Timeout(time.Hour)}} {
		rep, err := m.Call(ctx, nil, opts...)
		if err != nil {
			t.Errorf("options %v: %v", opts, err)
		}
		rep.Release()
	}
	if _, err := m.Call(t.Context(), nil, fastrpc.Timeout(-1)); fastrpc.CodeOf(err) != fastrpc.DeadlineExceeded || fastrpc.OutcomeOf(err) != fastrpc.NotExecuted {
		t.Errorf("a timeout in the past: %v", err)
	}
}

// A draft ends once.
func TestDraftUsedTwice(t *testing.T) {
	_, c := start(t)
	d, err := c.Method("echo").Alloc(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d.Discard()
	for name, f := range map[string]func(){
		"Discard": d.Discard,
		"Bytes":   func() { d.Bytes() },
		"Call":    func() { _, _ = d.Call(t.Context(), 0) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s after Discard did not panic", name)
				}
			}()
			f()
		}()
	}
}

// Whoever asks for the server's end from inside an inline handler would wait for himself, and is told so.
func TestShutdownInsideAnInlineHandler(t *testing.T) {
	s, c := start(t)
	s.HandleInline("down", func(*fastrpc.Response, *fastrpc.Request) error { return s.Shutdown(context.Background()) })
	_, err := c.Method("down").Call(t.Context(), nil)
	if fastrpc.CodeOf(err) != fastrpc.FailedPrecondition {
		t.Errorf("got %v", err)
	}
	rep, err := c.Method("echo").Call(t.Context(), nil)
	if err != nil {
		t.Fatal("the server is gone: ", err)
	}
	rep.Release()
}
