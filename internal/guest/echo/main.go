// Command echo makes calls from one network card of this machine to another on the same cable, in zero-copy, and fails if a reply differs from
// its request, or if the driver granted less. It is for a guest: it leaves addresses and a network namespace behind.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/fastrpc/fastrpc"
	"github.com/fastrpc/fastrpc/internal/guest/hosts"
	_ "github.com/fastrpc/fastrpc/transport/xdp"
)

const (
	clientAddress = "198.18.0.1/24"
	serverAddress = "198.18.0.2/24"
	server        = "198.18.0.2:9000"
	demand        = "?mode=native&zerocopy=on"

	patience = 2 * time.Minute // for all of it: an attach takes igb's carrier away for seconds
	rounds   = 50
	longest  = 1 << 20
)

// sizes of messages: empty, in place, around one packet of an MTU of 1,500, and in many.
var sizes = []int{0, 1, 64, 1371, 1372, 1373, 4096, 65_536}

// An emulated card takes milliseconds for a packet, not microseconds. To congestion control that is a queue, and to loss recovery a loss.
var emulated = []fastrpc.Option{
	fastrpc.WithInsecure(), fastrpc.WithCongestion(fastrpc.Swift, 50*time.Millisecond), fastrpc.WithMinPTO(200 * time.Millisecond),
}

func main() {
	log.SetFlags(0)
	client := flag.String("client", "eth0", "the interface that calls")
	answers := flag.String("server", "eth1", "the interface that answers, which moves to a network namespace of its own")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := run(ctx, *client, *answers, demand); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, client, answers, settings string) error {
	s := fastrpc.NewServer(emulated...)
	s.HandleInline("inline", echo)
	s.Handle("worker", echo)
	if err := hosts.InNamespace(answers, func() error {
		if err := hosts.Address(answers, serverAddress); err != nil {
			return err
		}
		_, err := s.Listen(ctx, "xdp://"+answers+":9000"+settings)
		return err
	}); err != nil {
		return fmt.Errorf("server on %s: %w", answers, err)
	}
	if err := hosts.Address(client, clientAddress); err != nil {
		return fmt.Errorf("client on %s: %w", client, err)
	}
	c, err := fastrpc.Dial(ctx, "xdp://"+server+settings, emulated...)
	if err != nil {
		return err
	}
	name, _ := c.Transport()
	for _, name := range append(s.Transports(), name) {
		log.Print(name)
		if !strings.Contains(name, "zero-copy") {
			return fmt.Errorf("the driver copies: %s", name)
		}
	}
	if err := calls(ctx, c); err != nil {
		return fmt.Errorf("%w\nclient: %+v\nserver: %+v", err, c.Stats(), s.Stats())
	}
	if err := c.Close(); err != nil {
		return err
	}
	return s.Shutdown(ctx)
}

func echo(w *fastrpc.Response, r *fastrpc.Request) error {
	_, err := w.Write(r.Body())
	return err
}

// calls sends all sizes to both handlers, over and over, and once a long message.
func calls(ctx context.Context, c *fastrpc.Client) error {
	for round := range rounds {
		for _, size := range sizes {
			if err := call(ctx, c, size); err != nil {
				return fmt.Errorf("round %d of %d: %w", round, rounds, err)
			}
		}
	}
	return call(ctx, c, longest)
}

func call(ctx context.Context, c *fastrpc.Client, size int) error {
	body := make([]byte, size)
	for i := range body {
		body[i] = byte(i*7 + i>>8)
	}
	for _, m := range []string{"inline", "worker"} {
		rep, err := c.Method(m).Call(ctx, body)
		if err != nil {
			return fmt.Errorf("%s of %d bytes: %w", m, size, err)
		}
		if !bytes.Equal(rep.Body(), body) {
			return fmt.Errorf("%s of %d bytes came back as other %d bytes", m, size, len(rep.Body()))
		}
		rep.Release()
	}
	return nil
}
