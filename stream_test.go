package fastrpc_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc"
)

// streamServer is echoServer with streams: "chat" returns every message, "sum" counts bytes and answers once, "many" sends as many messages as it is told.
func streamServer(opts ...fastrpc.Option) *fastrpc.Server {
	s := echoServer(opts...)
	s.HandleStream("chat", func(st *fastrpc.ServerStream) error {
		for {
			m, err := st.Receive()
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			err = st.Send(m.Body())
			m.Release()
			if err != nil {
				return err
			}
		}
	})
	s.HandleStream("sum", func(st *fastrpc.ServerStream) error {
		n := 0
		for {
			m, err := st.Receive()
			if err == io.EOF {
				return st.Send(fmt.Append(nil, n))
			}
			if err != nil {
				return err
			}
			n += len(m.Body())
			m.Release()
		}
	})
	s.HandleStream("many", func(st *fastrpc.ServerStream) error {
		m, err := st.Receive()
		if err != nil {
			return err
		}
		var count, size int
		if _, err := fmt.Sscan(string(m.Body()), &count, &size); err != nil {
			return fastrpc.Errorf(fastrpc.InvalidArgument, "%v", err)
		}
		body := make([]byte, size)
		for i := range count {
			copy(body, fmt.Append(nil, i))
			if err := st.Send(body); err != nil {
				return err
			}
		}
		return nil
	})
	return s
}

// open opens a stream that may last as long as the test's patience.
func open(t testing.TB, c *fastrpc.Client, method string, opts ...fastrpc.CallOption) *fastrpc.Stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	st, err := c.Method(method).Stream(ctx, opts...)
	must(t, err)
	return st
}

// next receives a message, and releases it.
func next(t testing.TB, st *fastrpc.Stream) []byte {
	t.Helper()
	m, err := st.Receive()
	must(t, err)
	defer m.Release()
	return bytes.Clone(m.Body())
}

// ends checks that a stream ends well, without another message.
func ends(t testing.TB, st *fastrpc.Stream) {
	t.Helper()
	m, err := st.Receive()
	m.Release()
	if err != io.EOF {
		t.Fatalf("the stream ends with %v, want io.EOF", err)
	}
}

func TestStreamPingPong(t *testing.T) {
	everywhere(t, func(t *testing.T, w world) {
		nothingLeft(t)
		c := w.dial(t, w.serve(t, streamServer()))
		st := open(t, c, "chat")
		for i := range 1000 {
			want := fmt.Appendf(nil, "message %d", i)
			must(t, st.Send(want))
			if got := next(t, st); !bytes.Equal(got, want) {
				t.Fatalf("got %q, want %q", got, want)
			}
		}
		for _, n := range []int{0, 1400, 1500, 10_000, 64 << 10, 64<<10 + 1, 1 << 20} {
			must(t, st.Send(pattern(n)))
			if got := next(t, st); !bytes.Equal(got, pattern(n)) {
				t.Fatalf("a message of %d bytes came back as other %d", n, len(got))
			}
		}
		must(t, st.CloseSend())
		ends(t, st)
		ends(t, st)
	})
}

func TestStreamBothWaysAtOnce(t *testing.T) {
	everywhere(t, func(t *testing.T, w world) {
		nothingLeft(t)
		c := w.dial(t, w.serve(t, streamServer()))
		st := open(t, c, "chat")
		const messages = 5000
		sent := make(chan error, 1)
		go func() {
			for i := range messages {
				if err := st.Send(fmt.Append(nil, i)); err != nil {
					sent <- err
					return
				}
			}
			sent <- st.CloseSend()
		}()
		for i := range messages {
			if got := next(t, st); string(got) != fmt.Sprint(i) {
				t.Fatalf("message %d is %q", i, got)
			}
		}
		ends(t, st)
		must(t, receive(t, sent, "the end of sending"))
	})
}

func TestStreamOneWay(t *testing.T) {
	everywhere(t, func(t *testing.T, w world) {
		nothingLeft(t)
		c := w.dial(t, w.serve(t, streamServer()))
		up := open(t, c, "sum")
		for range 2000 {
			must(t, up.Send(pattern(1000)))
		}
		must(t, up.CloseSend())
		if got := next(t, up); string(got) != "2000000" {
			t.Errorf("the server counted %s bytes", got)
		}
		ends(t, up)

		down := open(t, c, "many")
		must(t, down.Send([]byte("3000 1024")))
		for i := range 3000 {
			got := next(t, down)
			if want := fmt.Append(nil, i); len(got) != 1024 || !bytes.HasPrefix(got, want) {
				t.Fatalf("message %d has %d bytes and begins with %q", i, len(got), got[:8])
			}
		}
		ends(t, down)
	})
}

func TestEmptyStream(t *testing.T) {
	everywhere(t, func(t *testing.T, w world) {
		nothingLeft(t)
		c := w.dial(t, w.serve(t, streamServer()))
		st := open(t, c, "chat")
		must(t, st.CloseSend())
		ends(t, st)
		checkError(t, st.CloseSend(), fastrpc.Internal, fastrpc.OutcomeUnknown, "CloseSend")
	})
}

func TestStreamMetadata(t *testing.T) {
	everywhere(t, func(t *testing.T, w world) {
		nothingLeft(t)
		s := streamServer()
		s.HandleStream("meta", func(st *fastrpc.ServerStream) error {
			st.SetTrailer(fastrpc.Metadata{"x-end-bin": {"\x00\xff"}})
			if err := st.SetHeader(fastrpc.Metadata{"x-got": st.Header()["x-sent"]}); err != nil {
				return err
			}
			m, err := st.Receive()
			if err != nil {
				return err
			}
			if string(m.Body()) == "header" {
				if err := st.SendHeader(nil); err != nil {
					return err
				}
				_, err := st.Receive()
				return err
			}
			if err := st.Send(m.Body()); err != nil {
				return err
			}
			e := fastrpc.Errorf(fastrpc.Aborted, "as asked")
			e.Trailer = fastrpc.Metadata{"grpc-status-details-bin": {"details"}}
			return e
		})
		c := w.dial(t, w.serve(t, s))
		header := fastrpc.Header(fastrpc.Metadata{"x-sent": {"a", "b"}})

		st := open(t, c, "meta", header)
		must(t, st.Send([]byte("header")))
		md, err := st.Header()
		if err != nil || fmt.Sprint(md) != "map[x-got:[a b]]" {
			t.Errorf("header %v, %v", md, err)
		}
		st.Close()
		_, err = st.Receive()
		checkError(t, err, fastrpc.Canceled, fastrpc.OutcomeUnknown, "")

		st = open(t, c, "meta", header)
		must(t, st.Send([]byte("message")))
		if got := next(t, st); string(got) != "message" {
			t.Errorf("got %q", got)
		}
		_, err = st.Receive()
		checkError(t, err, fastrpc.Aborted, fastrpc.Executed, "as asked")
		if got := fmt.Sprintf("%q", st.Trailer()); got != `map["grpc-status-details-bin":["details"] "x-end-bin":["\x00\xff"]]` {
			t.Errorf("trailer %v", got)
		}
		var e *fastrpc.Error
		if errors.As(err, &e); e.Trailer.Get("grpc-status-details-bin") != "details" {
			t.Errorf("the error's trailer is %q", e.Trailer)
		}
		md, err = st.Header()
		if err != nil || fmt.Sprint(md) != "map[x-got:[a b]]" {
			t.Errorf("header %v, %v", md, err)
		}
	})
}

func TestCallMetadata(t *testing.T) {
	everywhere(t, func(t *testing.T, w world) {
		nothingLeft(t)
		s := echoServer()
		meta := func(w *fastrpc.Response, r *fastrpc.Request) error {
			w.SetHeader(fastrpc.Metadata{"x-got": r.Header()["x-sent"]})
			w.SetTrailer(fastrpc.Metadata{"x-end-bin": {"\x00\xff"}})
			if string(r.Body()) == "fail" {
				return fastrpc.Errorf(fastrpc.Aborted, "as asked")
			}
			return echo(w, r)
		}
		s.Handle("meta", meta)
		s.HandleInline("meta inline", meta)
		c := w.dial(t, w.serve(t, s))
		header := fastrpc.Header(fastrpc.Metadata{"x-sent": {"a", "b"}})
		for _, name := range []string{"meta", "meta inline"} {
			for _, n := range []int{0, 64, 1340, 1380, 1400, 9000, 200_000} {
				rep, err := c.Method(name).Call(t.Context(), pattern(n), header, fastrpc.Timeout(patience))
				must(t, err)
				if !bytes.Equal(rep.Body(), pattern(n)) {
					t.Errorf("%d bytes came back as other %d", n, len(rep.Body()))
				}
				var pieces []byte
				for p := range rep.Frames() {
					pieces = append(pieces, p...)
				}
				if !bytes.Equal(pieces, pattern(n)) {
					t.Errorf("%d bytes came back as frames of other %d", n, len(pieces))
				}
				if got := fmt.Sprintf("%q %q", rep.Header(), rep.Trailer()); got != `map["x-got":["a" "b"]] map["x-end-bin":["\x00\xff"]]` {
					t.Errorf("metadata %s", got)
				}
				rep.Release()
			}
			_, err := c.Method(name).Call(t.Context(), []byte("fail"), header)
			checkError(t, err, fastrpc.Aborted, fastrpc.Executed, "as asked")
			var e *fastrpc.Error
			if errors.As(err, &e); e.Trailer.Get("x-end-bin") != "\x00\xff" || e.Header.Get("x-got") != "a" {
				t.Errorf("the error has %q and %q", e.Header, e.Trailer)
			}
		}
	})
}

// A handler that sends a long message to a client without room for it does not outlast the drain.
func TestShutdownEndsSend(t *testing.T) {
	everywhere(t, func(t *testing.T, w world) {
		nothingLeft(t)
		s := echoServer(fastrpc.WithDrainTimeout(20 * time.Millisecond))
		second, ended := make(chan struct{}), make(chan error, 1)
		s.HandleStream("long", func(st *fastrpc.ServerStream) error {
			body := pattern(700_000)
			err := st.Send(body)
			close(second)
			for err == nil {
				err = st.Send(body)
			}
			clear(body) // it is the handler's again
			ended <- err
			return err
		})
		c := w.dial(t, w.serve(t, s), fastrpc.WithReassembly(1_000_000))
		st := open(t, c, "long")
		receive(t, second, "the second message")
		shutDown(t, s)
		checkError(t, receive(t, ended, "the end of Send"), fastrpc.Unavailable, fastrpc.Executed, "shutting down")
		for err := error(nil); err == nil; {
			var m fastrpc.Message
			if m, err = st.Receive(); err != nil {
				checkError(t, err, fastrpc.Unavailable, fastrpc.Executed, "shutting down")
			}
			m.Release()
		}
	})
}

func TestShutdownEndsStreams(t *testing.T) {
	everywhere(t, func(t *testing.T, w world) {
		nothingLeft(t)
		s := streamServer(fastrpc.WithDrainTimeout(20 * time.Millisecond))
		c := w.dial(t, w.serve(t, s))
		st := open(t, c, "chat")
		must(t, st.Send([]byte("there")))
		next(t, st)
		shutDown(t, s)
		_, err := st.Receive()
		checkError(t, err, fastrpc.Unavailable, fastrpc.Executed, "shutting down")
	})
}
