// Package fastrpc is an RPC engine that answers in microseconds: calls travel over AF_XDP sockets (any Linux NIC) without passing through
// the kernel's network stack, and over kernel UDP where that is not possible, with the same API and the same semantics.
//
// A program imports the drivers that it wants, as with database/sql:
//
//	import (
//		"github.com/fastrpc/fastrpc"
//		_ "github.com/fastrpc/fastrpc/transport/udp"
//		_ "github.com/fastrpc/fastrpc/transport/xdp"
//	)
//
// and addresses them by scheme: xdp://eth0:9000 to serve on an interface, xdp://192.0.2.7:9000 to call a host; udp://
// likewise, and tcp://, whose both ends have to be that; auto:// takes the best that works and says which and why ([Client.Transport]).
//
// A call runs at most once: its request is never handed to the handler a second time, however often the network repeats it. A call that
// fails says what became of it ([Error.Outcome]), and that decides whether it is safe to make it again.
package fastrpc
