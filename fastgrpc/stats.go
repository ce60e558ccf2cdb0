package fastgrpc

import (
	"context"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/stats"
)

// watch tells the statistics handlers of one call. The nil one, of servers and clients without any, does nothing.
type watch struct {
	handlers []stats.Handler
	ctx      context.Context
	client   bool
	begin    time.Time
}

// kind is what is told of a call at its beginning.
type kind struct{ client, failFast, clientStreams, serverStreams bool }

// watchCall begins to watch a call, whose context from then on is the one that the handlers have tagged.
func watchCall(ctx context.Context, handlers []stats.Handler, k kind, method string) (context.Context, *watch) {
	if len(handlers) == 0 {
		return ctx, nil
	}
	for _, h := range handlers {
		ctx = h.TagRPC(ctx, &stats.RPCTagInfo{FullMethodName: method, FailFast: k.failFast})
	}
	begin := stats.Begin{Client: k.client, BeginTime: time.Now(), FailFast: k.failFast, IsClientStream: k.clientStreams, IsServerStream: k.serverStreams}
	w := &watch{handlers: handlers, ctx: ctx, client: begin.Client, begin: begin.BeginTime}
	w.tell(&begin)
	return ctx, w
}

func (w *watch) tell(s stats.RPCStats) {
	for _, h := range w.handlers {
		h.HandleRPC(w.ctx, s)
	}
}

// whose is somebody with a peer.
type whose interface{ peerInfo() *peer.Peer }

// sent and got tell of messages.
func (w *watch) sent(m any, n lengths) {
	if w != nil {
		w.tell(&stats.OutPayload{Client: w.client, Payload: m, Length: n.message, CompressedLength: n.wire, WireLength: n.wire, SentTime: time.Now()})
	}
}

func (w *watch) got(m any, n lengths) {
	if w != nil {
		w.tell(&stats.InPayload{Client: w.client, Payload: m, Length: n.message, CompressedLength: n.wire, WireLength: n.wire, RecvTime: time.Now()})
	}
}

func (w *watch) sentHeader(md metadata.MD, method, compression string, other whose) {
	if w != nil {
		w.tell(&stats.OutHeader{Client: w.client, Compression: compression, Header: md, FullMethod: method, RemoteAddr: other.peerInfo().Addr})
	}
}

func (w *watch) gotHeader(md metadata.MD, method, compression string, other whose) {
	if w != nil {
		w.tell(&stats.InHeader{Client: w.client, Compression: compression, Header: md, FullMethod: method, RemoteAddr: other.peerInfo().Addr})
	}
}

func (w *watch) sentTrailer(md metadata.MD) {
	if w != nil {
		w.tell(&stats.OutTrailer{Client: w.client, Trailer: md})
	}
}

// end is the last that is told.
func (w *watch) end(trailer metadata.MD, err error) {
	if w == nil {
		return
	}
	if w.client {
		w.tell(&stats.InTrailer{Client: true, Trailer: trailer})
	}
	w.tell(&stats.End{Client: w.client, BeginTime: w.begin, EndTime: time.Now(), Trailer: trailer, Error: err})
}
