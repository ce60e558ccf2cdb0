//go:build rdma

package rdma_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc"
	"github.com/fastrpc/fastrpc/rdma/rxetest"
)

// Calls of every length up to many packets come back as they went, from a server with defaults.
func TestCalls(t *testing.T) {
	srv := fastrpc.NewServer(fastrpc.WithInsecure())
	srv.HandleInline("echo", func(w *fastrpc.Response, r *fastrpc.Request) error {
		_, err := w.Write(r.Body())
		return err
	})
	addr, err := srv.Listen(t.Context(), "rdma://"+rxetest.Addr+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := srv.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	c, err := fastrpc.Dial(t.Context(), "rdma://"+addr.String(), fastrpc.WithInsecure())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	m := c.Method("echo")
	for i := range 90 {
		body := bytes.Repeat([]byte{byte(i), byte(i >> 8), 7}, i*i/3)
		reply, err := m.Call(t.Context(), body, fastrpc.Timeout(time.Minute))
		if err != nil {
			t.Fatalf("call %d of %d bytes: %v", i, len(body), err)
		}
		if !bytes.Equal(reply.Body(), body) {
			t.Fatalf("call %d: %d bytes came back as %d others", i, len(body), len(reply.Body()))
		}
		reply.Release()
	}
}
