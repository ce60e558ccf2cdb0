//go:build rdma

package main

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"net/netip"

	"github.com/fastrpc/fastrpc"
)

// talk makes calls over datagrams and over connections.
func talk(ctx context.Context, server netip.Addr) error {
	cs, err := dial(ctx, server)
	if err != nil {
		return err
	}
	if err := converse(ctx, cs); err != nil {
		return err
	}
	return hangUp(ctx, cs)
}

// hangUp has the server end, and hangs up.
func hangUp(ctx context.Context, cs clients) error {
	if err := call(ctx, cs["rc"], "end", nil, nil); err != nil {
		return err
	}
	return cs.close()
}

// sizes of messages: empty, in place, around a packet at an MTU of 1,024 and of 4,096, around RC's frames, and in many packets.
var sizes = []int{0, 1, 64, 900, 1000, 1023, 1024, 1025, 4000, 4096, 8100, 8192, 65_536}

// converse sends all sizes to both kinds of handlers, some times over, and once a long message.
func converse(ctx context.Context, cs clients) error {
	for kind, c := range cs {
		name, _ := c.Transport()
		for range 5 {
			for _, size := range sizes {
				for _, method := range []string{"echo", "worker"} {
					if err := call(ctx, c, method, pattern(size), pattern(size)); err != nil {
						return fmt.Errorf("%s: %w\n%+v", kind, err, c.Stats())
					}
				}
			}
		}
		if err := call(ctx, c, "worker", pattern(1<<20), pattern(1<<20)); err != nil {
			return fmt.Errorf("%s: %w\n%+v", kind, err, c.Stats())
		}
		log.Printf("%s answers", name)
	}
	return nil
}

// call makes one, which must be answered as it should.
func call(ctx context.Context, c *fastrpc.Client, method string, body, want []byte) error {
	rep, err := c.Method(method).Call(ctx, body)
	if err != nil {
		return fmt.Errorf("%s of %d bytes: %w", method, len(body), err)
	}
	defer rep.Release()
	if !bytes.Equal(rep.Body(), want) {
		return fmt.Errorf("%s of %d bytes was answered with other %d bytes", method, len(body), len(rep.Body()))
	}
	return nil
}

func pattern(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}
