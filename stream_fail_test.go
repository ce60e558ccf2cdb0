package fastrpc_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"unicode/utf8"

	"github.com/fastrpc/fastrpc"
)

// A client that does not read: the server's Send waits, so that what lies between the two is bounded, and unary calls go on.
func TestStreamReaderStops(t *testing.T) {
	everywhere(t, func(t *testing.T, w world) {
		nothingLeft(t)
		var sent atomic.Int64
		s := echoServer()
		s.HandleStream("flood", func(st *fastrpc.ServerStream) error {
			for {
				if err := st.Send(pattern(1000)); err != nil {
					return err
				}
				sent.Add(1)
			}
		})
		c := w.dial(t, w.serve(t, s))
		st := open(t, c, "flood")
		const most = 64 + 32 + 1 // the stream's window, the queue before it, and the one that is being sent
		for received := range int64(1000) {
			if received%100 == 0 {
				eventually(t, func() string {
					if ahead := sent.Load() - received; ahead < 64 {
						return fmt.Sprintf("the server is only %d messages ahead", ahead)
					}
					return ""
				})
				checkEcho(t, c, "worker", pattern(100))
			}
			if ahead := sent.Load() - received; ahead > most {
				t.Fatalf("the server is %d messages ahead of its reader", ahead)
			}
			next(t, st)
		}
		st.Close()
		_, err := st.Receive()
		checkError(t, err, fastrpc.Canceled, fastrpc.OutcomeUnknown, "")
	})
}

// A goroutine that a handler leaves behind gets an error from Send, whatever it waits for there, and hinders nobody.
func TestSendAfterTheHandler(t *testing.T) {
	everywhere(t, func(t *testing.T, w world) {
		nothingLeft(t)
		s := echoServer()
		left := make(chan error, 1)
		s.HandleStream("leave", func(st *fastrpc.ServerStream) error {
			m, err := st.Receive()
			if err != nil {
				return err
			}
			body := pattern(len(m.Body()) << 10)
			began := make(chan struct{})
			go func() {
				for n := 0; ; n++ {
					if n == 1 {
						close(began)
					}
					if err := st.Send(body); err != nil {
						left <- err
						return
					}
				}
			}()
			<-began
			return nil
		})
		c := w.dial(t, w.serve(t, s))
		for range 10 {
			for _, kib := range []int{0, 1, 20, 200} { // of one packet; queued; read from until it is delivered
				st := open(t, c, "leave")
				must(t, st.Send(make([]byte, kib)))
				checkError(t, receive(t, left, "the end of Send"), fastrpc.Canceled, fastrpc.Executed, "")
				var err error
				for err == nil {
					var m fastrpc.Message
					m, err = st.Receive()
					m.Release()
				}
				if err != io.EOF {
					t.Errorf("the stream ended with %v", err)
				}
			}
		}
		checkEcho(t, c, "worker", pattern(100))
	})
}

// Open streams take no worker from calls, and those over the limit are refused.
func TestStreamsDoNotStarveCalls(t *testing.T) {
	everywhere(t, func(t *testing.T, w world) {
		nothingLeft(t)
		c := w.dial(t, w.serve(t, streamServer(fastrpc.WithMaxStreams(4), fastrpc.WithWorkers(1, 0))))
		for range 4 {
			st := open(t, c, "chat")
			must(t, st.Send(nil))
			next(t, st)
		}
		st := open(t, c, "chat")
		_, err := st.Receive()
		checkError(t, err, fastrpc.ResourceExhausted, fastrpc.NotExecuted, "WithMaxStreams")
		if err := st.Send(nil); err != io.EOF {
			t.Errorf("Send on a stream that the server ended: %v", err)
		}
		checkEcho(t, c, "worker", pattern(100))
	})
}

func TestStreamServerKilled(t *testing.T) {
	everywhere(t, func(t *testing.T, w world) {
		nothingLeft(t)
		server := w.startChild(t, "server", w.listenTarget(0), "")
		var port uint16
		_, err := fmt.Sscan(server.line(t), &port)
		must(t, err)
		c := w.dial(t, port)
		reading, writing := open(t, c, "chat"), open(t, c, "many")
		must(t, reading.Send(nil))
		next(t, reading)
		server.kill(t)
		_, err = reading.Receive()
		checkError(t, err, fastrpc.Unavailable, fastrpc.OutcomeUnknown, "")
		for err = nil; err == nil; {
			err = writing.Send(pattern(100))
		}
		checkError(t, err, fastrpc.Unavailable, fastrpc.OutcomeUnknown, "")
	})
}

// A client may close with streams in any state; messages stay readable until they are released.
func TestCloseWithStreams(t *testing.T) {
	everywhere(t, func(t *testing.T, w world) {
		nothingLeft(t)
		port := w.serve(t, streamServer())
		c, err := w.tryDial(t, w.dialTarget(port))
		must(t, err)
		unread, kept, waiting := open(t, c, "many"), open(t, c, "chat"), open(t, c, "chat")
		must(t, unread.Send([]byte("10 1000")))
		next(t, unread)
		must(t, kept.Send([]byte("kept")))
		m, err := kept.Receive()
		must(t, err)
		ended := make(chan error, 1)
		go func() {
			_, err := waiting.Receive()
			ended <- err
		}()
		hangUp(t, c)
		checkError(t, receive(t, ended, "the end of Receive"), fastrpc.Canceled, fastrpc.OutcomeUnknown, "closed")
		if string(m.Body()) != "kept" {
			t.Errorf("the message reads %q", m.Body())
		}
		m.Release()
		for err = nil; err == nil; { // what had come may still be read, or not
			var m fastrpc.Message
			m, err = unread.Receive()
			m.Release()
		}
		if fastrpc.CodeOf(err) != fastrpc.Canceled {
			t.Errorf("the unread stream ends with %v", err)
		}
	})
}

func TestMessageLease(t *testing.T) {
	w := loopback()
	c := w.dial(t, w.serve(t, streamServer()))
	st := open(t, c, "chat")
	must(t, st.Send([]byte("x")))
	m, err := st.Receive()
	must(t, err)
	m.Release()
	for name, f := range map[string]func(){"Release": m.Release, "Body": func() { m.Body() }, "Frames": func() { m.Frames() }} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s after Release did not panic", name)
				}
			}()
			f()
		}()
	}
}

func TestStreamBadInput(t *testing.T) {
	everywhere(t, func(t *testing.T, w world) {
		nothingLeft(t)
		s := streamServer(fastrpc.WithMaxMetadata(1000))
		s.HandleStream("big header", func(st *fastrpc.ServerStream) error {
			return st.SendHeader(fastrpc.Metadata{"x": {strings.Repeat("y", 2000)}})
		})
		s.HandleStream("big trailer", func(st *fastrpc.ServerStream) error {
			st.SetTrailer(fastrpc.Metadata{"x": {strings.Repeat("y", 2000)}})
			return nil
		})
		s.HandleStream("late header", func(st *fastrpc.ServerStream) error {
			if err := st.Send(nil); err != nil {
				return err
			}
			return st.SetHeader(fastrpc.Metadata{"x": {"y"}})
		})
		s.Handle("big reply", func(w *fastrpc.Response, _ *fastrpc.Request) error {
			w.SetHeader(fastrpc.Metadata{"x": {strings.Repeat("y", 2000)}})
			return nil
		})
		s.Handle("wrong reply", func(w *fastrpc.Response, _ *fastrpc.Request) error {
			w.SetHeader(fastrpc.Metadata{"no key": {"y"}})
			return nil
		})
		s.Handle("long error", func(*fastrpc.Response, *fastrpc.Request) error {
			return fastrpc.Errorf(fastrpc.Aborted, "x%s", strings.Repeat("ü", 3000)) // 4,096 bytes end within a character
		})
		port := w.serve(t, s)
		c := w.dial(t, port, fastrpc.WithMaxMessage(10_000))
		small := w.dial(t, port, fastrpc.WithMaxMetadata(100))
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		call := func(c *fastrpc.Client, method string, opts ...fastrpc.CallOption) error {
			rep, err := c.Method(method).Call(ctx, nil, opts...)
			rep.Release()
			return err
		}
		stream := func(c *fastrpc.Client, method string, opts ...fastrpc.CallOption) error {
			st, err := c.Method(method).Stream(ctx, opts...)
			for err == nil {
				var m fastrpc.Message
				m, err = st.Receive()
				m.Release()
			}
			return err
		}
		header := func(key string, value string) fastrpc.CallOption {
			return fastrpc.Header(fastrpc.Metadata{key: {value}})
		}
		checkError(t, call(c, "chat"), fastrpc.Unimplemented, fastrpc.NotExecuted, "open it with Stream")
		checkError(t, stream(c, "worker"), fastrpc.Unimplemented, fastrpc.NotExecuted, "call it")
		checkError(t, stream(c, "nothing"), fastrpc.Unimplemented, fastrpc.NotExecuted, "nothing")
		for key, value := range map[string]string{"Upper": "x", "": "x", "a b": "x", "ok": "\n", "utf-8": "ü", strings.Repeat("k", 256): "x"} {
			checkError(t, call(c, "worker", header(key, value)), fastrpc.Internal, fastrpc.NotExecuted, "metadata")
			checkError(t, stream(c, "chat", header(key, value)), fastrpc.Internal, fastrpc.NotExecuted, "metadata")
		}
		large := header("x", strings.Repeat("y", 2000))
		checkError(t, call(c, "worker", large), fastrpc.ResourceExhausted, fastrpc.NotExecuted, "WithMaxMetadata")
		checkError(t, stream(c, "chat", large), fastrpc.ResourceExhausted, fastrpc.NotExecuted, "WithMaxMetadata")
		checkError(t, call(small, "worker", header("x", strings.Repeat("y", 200))), fastrpc.ResourceExhausted, fastrpc.NotExecuted, "WithMaxMetadata")
		checkError(t, call(c, "big reply"), fastrpc.ResourceExhausted, fastrpc.Executed, "WithMaxMetadata")
		checkError(t, call(c, "wrong reply"), fastrpc.Internal, fastrpc.Executed, "no key of metadata")
		if err := call(c, "long error"); !utf8.ValidString(fmt.Sprint(err)) || len(fmt.Sprint(err)) < 4000 {
			t.Errorf("a long error's text became %q", err)
		}
		checkError(t, stream(c, "big header"), fastrpc.ResourceExhausted, fastrpc.Executed, "WithMaxMetadata")
		checkError(t, stream(c, "big trailer"), fastrpc.ResourceExhausted, fastrpc.Executed, "WithMaxMetadata")
		checkError(t, stream(c, "late header"), fastrpc.Internal, fastrpc.Executed, "header")

		st := open(t, c, "chat")
		checkError(t, st.Send(make([]byte, 20_000)), fastrpc.ResourceExhausted, fastrpc.NotExecuted, "")
		must(t, st.CloseSend())
		checkError(t, st.Send(nil), fastrpc.Internal, fastrpc.OutcomeUnknown, "CloseSend")
		ends(t, st)
	})
}

// Metadata of many packets opens a stream before its messages, and comes back with a reply of many packets.
func TestLongMetadata(t *testing.T) {
	everywhere(t, func(t *testing.T, w world) {
		nothingLeft(t)
		s := echoServer()
		s.HandleStream("reflect", func(st *fastrpc.ServerStream) error {
			if err := st.SendHeader(st.Header()); err != nil {
				return err
			}
			m, err := st.Receive()
			if err != nil {
				return err
			}
			st.SetTrailer(st.Header())
			return st.Send(m.Body())
		})
		s.Handle("reflect call", func(w *fastrpc.Response, r *fastrpc.Request) error {
			w.SetTrailer(r.Header())
			return echo(w, r)
		})
		c := w.dial(t, w.serve(t, s))
		md := fastrpc.Metadata{"x-bin": {string(pattern(30_000)), "", string(pattern(300))}}
		same := func(got fastrpc.Metadata) {
			t.Helper()
			if fmt.Sprint(got) != fmt.Sprint(md) {
				t.Errorf("metadata came back as %d values of %d keys", len(got["x-bin"]), len(got))
			}
		}
		for range 10 {
			st := open(t, c, "reflect", fastrpc.Header(md))
			must(t, st.Send(pattern(2000)))
			if got := next(t, st); string(got) != string(pattern(2000)) {
				t.Errorf("a message came back as %d bytes", len(got))
			}
			header, err := st.Header()
			must(t, err)
			same(header)
			ends(t, st)
			same(st.Trailer())

			rep, err := c.Method("reflect call").Call(context.Background(), pattern(50_000), fastrpc.Header(md), fastrpc.Timeout(patience))
			must(t, err)
			if string(rep.Body()) != string(pattern(50_000)) {
				t.Errorf("a reply came back as %d bytes", len(rep.Body()))
			}
			same(rep.Trailer())
			rep.Release()
		}
	})
}
