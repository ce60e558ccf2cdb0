// Greeter_server greets whoever calls: greeter_server xdp://eth0:9000
package main

import (
	"context"
	"log"
	"os"
	"os/signal"

	"github.com/fastrpc/fastrpc"
	"github.com/fastrpc/fastrpc/fastgrpc"
	"github.com/fastrpc/fastrpc/fastgrpc/examples/helloworld"
	_ "github.com/fastrpc/fastrpc/transport/tcp"
	_ "github.com/fastrpc/fastrpc/transport/udp"
	_ "github.com/fastrpc/fastrpc/transport/xdp"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: greeter_server xdp://INTERFACE:PORT")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	s := fastgrpc.NewServer(fastrpc.NewServer(fastrpc.WithInsecure()))
	helloworld.RegisterGreeterServer(s, helloworld.Server{})
	if err := s.ListenAndServe(ctx, os.Args[1]); err != nil {
		log.Fatal(err)
	}
}
