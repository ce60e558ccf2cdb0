// Fastrpc-peers carries the benchmarks' payload over systems of other people. 'fastrpc bench compare' runs it; 'make peers' builds it.
//
// It is a module of its own, so that what these systems need is no dependency of fastrpc.
package main

import (
	"fmt"
	"os"

	"github.com/fastrpc/fastrpc/bench"
)

// sockets are bare AF_XDP.
var sockets = []bench.System{
	asavie{},
	libxdp{name: "libxdp", sends: true, receives: true},
	libxdp{name: "libxdp-tx", sends: true},
	libxdp{name: "libxdp-rx", receives: true},
}

// rpcs are RPC over the kernel's TCP.
var rpcs = []bench.System{
	grpcGo{rpc{"grpc"}},
	connectGo{rpc{"connect"}},
	drpcStorj{rpc{"drpc"}},
	kitexGo{rpc{"kitex"}},
	rpcxGo{rpc{"rpcx"}},
	arpcGo{rpc{"arpc"}},
	netRPC{rpc{"net-rpc"}},
}

func main() {
	if err := bench.PeerMain(os.Args[1:], os.Stdin, os.Stdout, append(sockets, rpcs...)...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
