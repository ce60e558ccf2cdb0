// Fastrpc-peers carries the benchmarks' payload over systems of other people. 'fastrpc bench compare' runs it; 'make peers' builds it.
//
// It is a module of its own, so that what these systems need is no dependency of fastrpc.
package main

import (
	"fmt"
	"os"

	"github.com/fastrpc/fastrpc/bench"
)

func main() {
	err := bench.PeerMain(os.Args[1:], os.Stdin, os.Stdout,
		asavie{},
		libxdp{name: "libxdp", sends: true, receives: true},
		libxdp{name: "libxdp-tx", sends: true},
		libxdp{name: "libxdp-rx", receives: true},
	)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
