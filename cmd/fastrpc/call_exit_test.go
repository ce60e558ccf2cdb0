package main

import (
	"testing"

	"github.com/fastrpc/fastrpc"
)

// No status that a server may send looks like success.
func TestStatusExit(t *testing.T) {
	for code, want := range map[fastrpc.Code]exitError{fastrpc.NotFound: 69, fastrpc.Unauthenticated: 80, 17: 66, 192: 66, 1<<32 - 1: 66} {
		if got := statusExit(code); got != want {
			t.Errorf("status %d: exit code %d, want %d", code, got, want)
		}
	}
}
