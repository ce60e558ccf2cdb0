//go:build !rdma

package main

import (
	"strings"
	"testing"
)

// A program built without RDMA says how to build it; auto:// does without a word.
func TestBuiltWithoutRDMA(t *testing.T) {
	for _, args := range []string{"serve --listen rdma://192.0.2.1:9000 --insecure", "call rdma://192.0.2.1:9000 echo --insecure"} {
		code, _, errOut := fast(t, strings.Fields(args)...)
		if code == 0 || !strings.Contains(errOut, "go build -tags rdma") || !strings.Contains(errOut, "libibverbs-dev") {
			t.Errorf("%s: exit status %d, %s", args, code, errOut)
		}
	}
	code, _, errOut := fast(t, "call", "auto://127.0.0.1:1", "echo", "--insecure", "--timeout", "200ms")
	if code == 0 || strings.Contains(errOut, "rdma") {
		t.Errorf("auto: exit status %d, %s", code, errOut)
	}
}
