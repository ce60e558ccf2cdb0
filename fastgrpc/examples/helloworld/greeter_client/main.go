// Greeter_client greets a server: greeter_client xdp://192.0.2.7:9000 gopher
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/fastrpc/fastrpc"
	"github.com/fastrpc/fastrpc/fastgrpc"
	"github.com/fastrpc/fastrpc/fastgrpc/examples/helloworld"
	_ "github.com/fastrpc/fastrpc/transport/tcp"
	_ "github.com/fastrpc/fastrpc/transport/udp"
	_ "github.com/fastrpc/fastrpc/transport/xdp"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: greeter_client xdp://HOST:PORT NAME")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	conn, err := fastgrpc.Dial(ctx, os.Args[1], fastgrpc.WithTransport(fastrpc.WithInsecure()))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	r, err := helloworld.NewGreeterClient(conn).SayHello(ctx, &helloworld.HelloRequest{Name: os.Args[2]})
	if err != nil {
		log.Print(err)
		return
	}
	fmt.Println(r.GetMessage())
}
