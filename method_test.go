package fastrpc_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/fastrpc/fastrpc"
)

// A method may answer calls and streams, by handlers of its own for each.
func TestMethodOfBothKinds(t *testing.T) {
	w := loopback()
	s := fastrpc.NewServer(insecure)
	s.HandleStream("both", func(st *fastrpc.ServerStream) error { return st.Send([]byte("stream")) })
	s.Handle("both", func(w *fastrpc.Response, _ *fastrpc.Request) error {
		_, err := w.WriteString("call")
		return err
	})
	for _, again := range []func(){
		func() { s.Handle("both", echo) }, func() { s.HandleStream("both", func(*fastrpc.ServerStream) error { return nil }) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("a second handler of the same kind was taken")
				}
			}()
			again()
		}()
	}
	s.Handle("call", echo)
	s.HandleStream("stream", func(*fastrpc.ServerStream) error { return nil })
	c := w.dial(t, w.serve(t, s))
	_, err := c.Method("stream").Call(t.Context(), nil)
	checkError(t, err, fastrpc.Unimplemented, fastrpc.NotExecuted, "open it with Stream")
	none, err := c.Method("call").Stream(t.Context())
	must(t, err)
	_, err = none.Receive()
	checkError(t, err, fastrpc.Unimplemented, fastrpc.NotExecuted, "call it")

	m := c.Method("both")
	rep, err := m.Call(t.Context(), nil)
	must(t, err)
	if string(rep.Body()) != "call" {
		t.Errorf("the call is answered with %q", rep.Body())
	}
	rep.Release()
	st, err := m.Stream(t.Context())
	must(t, err)
	msg, err := st.Receive()
	must(t, err)
	if string(msg.Body()) != "stream" {
		t.Errorf("the stream is answered with %q", msg.Body())
	}
	msg.Release()
}

// Methods are resolved once each, up to a limit, and errors travel.
func TestResolve(t *testing.T) {
	w := loopback()
	s := echoServer()
	var mu sync.Mutex
	asked := map[string]int{}
	s.Resolve(func(name string) (fastrpc.Handler, fastrpc.StreamHandler, error) {
		mu.Lock()
		asked[name]++
		mu.Unlock()
		switch name {
		case "none":
			return nil, nil, errors.New("no such thing")
		case "secret":
			return nil, nil, fastrpc.Errorf(fastrpc.PermissionDenied, "not for you")
		}
		return func(w *fastrpc.Response, r *fastrpc.Request) error {
			_, err := w.WriteString(r.Method())
			return err
		}, nil, nil
	})
	c := w.dial(t, w.serve(t, s))
	checkEcho(t, c, "echo", []byte("registered"))
	for range 2 {
		_, err := c.Method("none").Call(t.Context(), nil)
		checkError(t, err, fastrpc.Unimplemented, fastrpc.NotExecuted, "no such thing")
		_, err = c.Method("secret").Call(t.Context(), nil)
		checkError(t, err, fastrpc.PermissionDenied, fastrpc.NotExecuted, "not for you")
	}
	const limit = 4096
	for i := range limit + 1 {
		name := fmt.Sprint("name ", i)
		rep, err := c.Method(name).Call(t.Context(), nil)
		if i == limit {
			checkError(t, err, fastrpc.ResourceExhausted, fastrpc.NotExecuted, "resolves no more")
			break
		}
		must(t, err)
		if string(rep.Body()) != name {
			t.Fatalf("%s is answered as %q", name, rep.Body())
		}
		rep.Release()
	}
	mu.Lock()
	defer mu.Unlock()
	if asked["echo"] != 0 || asked["name 0"] != 1 {
		t.Errorf("the resolver was asked %v", asked)
	}
}
