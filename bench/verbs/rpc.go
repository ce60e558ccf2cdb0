//go:build rdma

package main

import (
	"context"
	"encoding/json"
	"os"
	"time"

	"github.com/fastrpc/fastrpc"
	_ "github.com/fastrpc/fastrpc/transport/rdma"
)

// call is a side of calls over datagrams.
func call(o options, client bool) error {
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	ctx, cancel := context.WithTimeout(context.Background(), giveUp)
	defer cancel()
	var far spot
	if !client {
		srv := fastrpc.NewServer(fastrpc.WithInsecure(), fastrpc.WithSpin()) // perftest's sides spin, too
		srv.HandleInline("echo", func(w *fastrpc.Response, r *fastrpc.Request) error {
			_, err := w.Write(r.Body())
			return err
		})
		addr, err := srv.Listen(ctx, "rdma://"+o.addr.String()+":0")
		if err != nil {
			return err
		}
		if err := out.Encode(spot{At: addr.String()}); err != nil {
			return err
		}
		_ = in.Decode(&far)
		_ = out.Encode(spot{})
		_ = in.Decode(&far)
		_ = in.Decode(&far) // the end
		return srv.Shutdown(ctx)
	}
	if err := out.Encode(spot{}); err != nil {
		return err
	}
	if err := in.Decode(&far); err != nil {
		return err
	}
	c, err := fastrpc.Dial(ctx, "rdma://"+far.At, fastrpc.WithInsecure(), fastrpc.WithSpin())
	if err != nil {
		return err
	}
	defer c.Close()
	if err := out.Encode(spot{}); err != nil {
		return err
	}
	if err := in.Decode(&far); err != nil {
		return err
	}
	m, body := c.Method("echo"), make([]byte, o.size)
	times := make([]time.Duration, o.warmUp+o.requests)
	begin := time.Now()
	for i := range times {
		reply, err := m.Call(ctx, body, fastrpc.Timeout(giveUp))
		if err != nil {
			return err
		}
		reply.Release()
		times[i] = time.Since(begin)
	}
	return out.Encode(latencyOf(times, o.warmUp))
}
