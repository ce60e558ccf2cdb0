package fastrpc_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/fastrpc/fastrpc"
)

// Replies that are kept hold what they lie in. Whoever keeps too many is told so, by name, while the session lives on; what he keeps stays
// as it is; and after he has released it all is well.
func TestUnreleasedReplies(t *testing.T) {
	t.Run("udp", func(t *testing.T) {
		nothingLeft(t)
		framesReturn(t, 2)
		w := loopback()
		w.scheme, w.listen = audited, audited+"://127.0.0.1"
		keepReplies(t, w, "?frames=64")
	})
	t.Run("xdp", func(t *testing.T) {
		nothingLeft(t)
		keepReplies(t, cabled(t, 1), "")
	})
}

func keepReplies(t *testing.T, w world, query string) {
	t.Helper()
	port := w.serve(t, echoServer())
	w.query = query // the client's alone
	c := w.dial(t, port)
	for round := range 2 {
		var kept []fastrpc.Reply
		var err error
		for len(kept) < 10_000 {
			var rep fastrpc.Reply
			body := fmt.Appendf(nil, "%d/%d", round, len(kept))
			if rep, err = c.Method("echo").Call(t.Context(), body, fastrpc.Timeout(patience)); err != nil {
				break
			}
			kept = append(kept, rep)
		}
		if len(kept) < 16 {
			t.Errorf("only %d replies could be kept", len(kept))
		}
		checkError(t, err, fastrpc.ResourceExhausted, fastrpc.NotExecuted, "release")
		for i, rep := range kept {
			if want := fmt.Appendf(nil, "%d/%d", round, i); !bytes.Equal(rep.Body(), want) {
				t.Fatalf("a kept reply became %q, and was %q", rep.Body(), want)
			}
		}
		t.Logf("%d replies were kept", len(kept))
		for i, rep := range kept {
			rep.Release()
			if i == 0 {
				checkEcho(t, c, "echo", []byte("room for one")) // that is enough to go on
			}
		}
		for range 100 {
			checkEcho(t, c, "echo", pattern(1000))
			checkEcho(t, c, "worker", pattern(20_000))
		}
	}
}

// More requests are being answered than the server's link has frames. Others are served meanwhile, and every reply arrives at last.
func TestMoreHandlersThanFrames(t *testing.T) {
	everywhere(t, func(t *testing.T, w world) {
		nothingLeft(t)
		const calls = 500
		s := newHoldServer(fastrpc.WithWorkers(calls+1, 0))
		server := w
		server.query = w.with("frames=64")
		c := w.dial(t, server.serve(t, s.Server))
		q := fastrpc.NewQueue(calls)
		m := c.Method("hold")
		body := map[uint64][]byte{}
		for i := range calls {
			b := pattern(100 + 5*i) // of one packet, and of several
			id, err := m.Go(t.Context(), b, q, fastrpc.Timeout(patience))
			must(t, err)
			body[id] = b
			receive(t, s.running, "the handler")
		}
		for range 100 {
			checkEcho(t, c, "echo", pattern(1000))
			checkEcho(t, c, "worker", pattern(5000))
		}
		_, err := c.Method("none").Call(t.Context(), nil) // refused with a text
		checkError(t, err, fastrpc.Unimplemented, fastrpc.NotExecuted, `no method "none"`)
		close(s.release)
		collect(t, q, calls, func(r fastrpc.Result) {
			must(t, r.Err)
			if !bytes.Equal(r.Reply.Body(), body[r.ID]) {
				t.Errorf("call %d came back as %d bytes", r.ID, len(r.Reply.Body()))
			}
			r.Reply.Release()
		})
	})
}

// A client that builds more requests at once than its link has frames for is told so, and can go on when some are gone. Calls that are under way
// hold no frame longer than until the server has the request.
func TestMoreCallsThanFrames(t *testing.T) {
	everywhere(t, func(t *testing.T, w world) {
		nothingLeft(t)
		s := newHoldServer()
		port := w.serve(t, s.Server)
		w.query = w.with("frames=64")
		c := w.dial(t, port)
		q := fastrpc.NewQueue(100)
		m := c.Method("hold")
		checkEcho(t, c, "echo", nil)
		for range 100 {
			_, err := m.Go(t.Context(), []byte("x"), q, fastrpc.Timeout(patience))
			must(t, err)
			receive(t, s.running, "the handler")
		}
		// A frame that waited for its acknowledgement may become free between a refusal and the next call: then the call is answered, and the frame
		// can be built in too, until none is left.
		var drafts []fastrpc.Draft
		var err error
		for err == nil && len(drafts) < 64 {
			d, refused := m.Alloc(t.Context())
			if refused == nil {
				drafts = append(drafts, d)
				continue
			}
			checkError(t, refused, fastrpc.ResourceExhausted, fastrpc.NotExecuted, "the link has no free frame")
			var rep fastrpc.Reply
			if rep, err = c.Method("echo").Call(t.Context(), nil); err == nil {
				rep.Release()
			}
		}
		checkError(t, err, fastrpc.ResourceExhausted, fastrpc.NotExecuted, "the link has no free frame")
		if len(drafts) < 12 || len(drafts) > 24 { // a few frames wait for their acknowledgement
			t.Errorf("%d requests could be built at once, want about 24", len(drafts))
		}
		for _, d := range drafts {
			d.Discard()
		}
		close(s.release)
		collect(t, q, 100, func(r fastrpc.Result) { must(t, r.Err); r.Reply.Release() })
		checkEcho(t, c, "echo", pattern(20_000))
	})
}

// A client is closed while replies of its calls are still being read, and a request is being built. They stay as they are; with the last of
// them its memory goes, and its descriptors with it.
func TestRepliesOutliveTheirClient(t *testing.T) {
	everywhere(t, func(t *testing.T, w world) {
		nothingLeft(t)
		c := w.dial(t, w.serve(t, echoServer()))
		m := c.Method("echo")
		var kept []fastrpc.Reply
		for i := range 20 {
			rep, err := m.Call(t.Context(), pattern(100*i), fastrpc.Timeout(patience))
			must(t, err)
			kept = append(kept, rep)
		}
		draft, err := m.Alloc(t.Context())
		must(t, err)
		must(t, c.Close())
		draft.Bytes()[0] = 1
		_, err = draft.Call(t.Context(), 1)
		checkError(t, err, fastrpc.Canceled, fastrpc.NotExecuted, "closed")
		for i, rep := range kept {
			if !bytes.Equal(rep.Body(), pattern(100*i)) {
				t.Errorf("reply %d changed when its client was closed", i)
			}
			rep.Release()
		}
	})
}
