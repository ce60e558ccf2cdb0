package main

// The drivers of this program: importing one registers its scheme.
import (
	_ "github.com/fastrpc/fastrpc/transport/rdma"
	_ "github.com/fastrpc/fastrpc/transport/tcp"
	_ "github.com/fastrpc/fastrpc/transport/udp"
	_ "github.com/fastrpc/fastrpc/transport/xdp"
)
