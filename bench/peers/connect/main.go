// The peer connect is connect-go: its own protocol over HTTP/2 without TLS, by net/http's server and client. The client does not ask for gzip,
// with which the server would compress even the shortest answer.
package main

import (
	"context"
	"net"
	"net/http"

	"connectrpc.com/connect"

	"github.com/fastrpc/fastrpc/bench"
	"github.com/fastrpc/fastrpc/bench/peers/connect/echopb"
	"github.com/fastrpc/fastrpc/bench/peers/connect/echopb/echopbconnect"
	"github.com/fastrpc/fastrpc/bench/peers/internal/peer"
)

var system = peer.New("connect", serve, dial)

func main() { peer.Main(system) }

// h2c is HTTP/2 without TLS and nothing else, as connect-go's documentation has it.
func h2c() *http.Protocols {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return p
}

// echoServer is the handler that its generator asks for.
type echoServer struct{ endpoint *bench.Endpoint }

func (s echoServer) Call(_ context.Context, m *echopb.Message) (*echopb.Message, error) {
	return &echopb.Message{Payload: peer.Reply(s.endpoint, m.Payload)}, nil
}

func serve(ctx context.Context, e bench.Endpoint, ready func(bench.Ready)) error {
	mux := http.NewServeMux()
	mux.Handle(echopbconnect.NewEchoHandler(echoServer{endpoint: &e}))
	s := &http.Server{Handler: mux, Protocols: h2c()}
	return peer.Listen(ctx, &e, ready, s.Serve, func() { s.Close() })
}

func dial(_ context.Context, e bench.Endpoint) (bench.Caller, error) {
	t := &http.Transport{
		Protocols:   h2c(),
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return peer.Dial(ctx, &e) },
	}
	stub := echopbconnect.NewEchoClient(&http.Client{Transport: t}, "http://"+e.Remote.String(), connect.WithAcceptCompression("gzip", nil, nil))
	return peer.NewCaller(&e, func(ctx context.Context, payload []byte) ([]byte, error) {
		m, err := stub.Call(ctx, &echopb.Message{Payload: payload})
		return m.GetPayload(), err
	}, func() error {
		t.CloseIdleConnections()
		return nil
	}), nil
}
