//go:build rdma

package main

import (
	"bytes"
	"flag"
	"strings"
	"testing"

	"github.com/fastrpc/fastrpc/bench/result"
	"github.com/fastrpc/fastrpc/rdma/rxetest"
)

var onRDMA = flag.Bool("rdma", false, "run what makes a soft-RoCE device of its own, for machines that are for tests")

// Calls and one-sided operations over RDMA are measured with both ends on the card's interface, and checked byte by byte.
func TestBenchCompareRDMA(t *testing.T) {
	if !*onRDMA {
		t.Skip("no -rdma: this machine is not for tests alone")
	}
	if err := rxetest.SetUp(); err != nil {
		t.Fatal(err)
	}
	systems := []string{"rdma-ud", "rdma-rc", "rdma-read", "rdma-write"}
	code, out, errOut := fast(t, "bench", "compare", "--interface", "rxe", "--systems", strings.Join(systems, ","), "--requests", "200", "--rounds", "1", "--json", "-")
	if code != exitOK {
		t.Fatalf("exit status %d: %s", code, errOut)
	}
	r, err := result.Read(bytes.NewReader([]byte(out)))
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range systems {
		res := &r.Results[i]
		if res.System != s || len(res.Rounds) != 1 || res.Rounds[0].Ops != 200 {
			t.Errorf("%s: %+v, %s", s, res.Rounds, res.Error)
		}
	}
	t.Log(errOut)
}
