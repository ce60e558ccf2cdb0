package fastrpc_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/fastrpc/fastrpc"
	_ "github.com/fastrpc/fastrpc/transport/udp"
)

// A server and a client. Over AF_XDP only the addresses differ: xdp://eth0:9000 to serve, xdp://192.0.2.7:9000 to call.
func Example() {
	ctx := context.Background()
	srv := fastrpc.NewServer(fastrpc.WithInsecure())
	srv.HandleInline("greet", func(w *fastrpc.Response, r *fastrpc.Request) error {
		_, err := fmt.Fprintf(w, "hello, %s", r.Body())
		return err
	})
	addr, err := srv.Listen(ctx, "udp://127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Shutdown(ctx)

	c, err := fastrpc.Dial(ctx, "udp://"+addr.String(), fastrpc.WithInsecure())
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	rep, err := c.Method("greet").Call(ctx, []byte("world"), fastrpc.Timeout(10*time.Second))
	if err != nil {
		log.Fatal(err)
	}
	defer rep.Release()
	fmt.Printf("%s\n", rep.Body())
	// Output: hello, world
}

// Many calls are in flight from one goroutine, which collects them as they end.
func ExampleMethod_Go() {
	ctx := context.Background()
	srv := fastrpc.NewServer(fastrpc.WithInsecure())
	srv.Handle("square", func(w *fastrpc.Response, r *fastrpc.Request) error {
		n := int(r.Body()[0])
		_, err := fmt.Fprint(w, n*n)
		return err
	})
	addr, err := srv.Listen(ctx, "udp://127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Shutdown(ctx)
	c, err := fastrpc.Dial(ctx, "udp://"+addr.String(), fastrpc.WithInsecure())
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	queue := fastrpc.NewQueue(8)
	square := c.Method("square")
	for n := range byte(4) {
		if _, err := square.Go(ctx, []byte{n}, queue); err != nil {
			log.Fatal(err)
		}
	}
	results := make([]fastrpc.Result, 8)
	for queue.Open() > 0 {
		n, err := queue.Wait(ctx, results)
		if err != nil {
			log.Fatal(err)
		}
		for _, r := range results[:n] {
			if r.Err != nil {
				log.Fatal(r.Err)
			}
			fmt.Printf("%s\n", r.Reply.Body())
			r.Reply.Release()
		}
	}
	// Unordered output:
	// 0
	// 1
	// 4
	// 9
}

// What became of a failed call decides whether it is safe to make it again.
func ExampleOutcomeOf() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_, err := fastrpc.Dial(ctx, "udp://127.0.0.1:9", fastrpc.WithInsecure()) // nobody listens there
	fmt.Println(fastrpc.CodeOf(err), "-", fastrpc.OutcomeOf(err))
	// Output: Unavailable - not executed
}
