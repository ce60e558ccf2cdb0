// Package gateway passes gRPC calls on from one kind of connection to another without looking into them: from HTTP/2 to fastrpc and the
// other way round, so that a fleet can move one service at a time. It knows gRPC's interfaces alone.
//
//	grpc.NewServer(grpc.UnknownServiceHandler(gateway.Handler(cc)), grpc.ForceServerCodecV2(gateway.Codec{}))
//
// makes a server that passes every call of a service that is not registered with it on to cc, which may be a *grpc.ClientConn, a
// *fastgrpc.ClientConn or any other; fastgrpc.NewServer takes the same options.
//
// What passes: all four kinds of calls, message by message; metadata both ways, trailers, the codec's name, the deadline, cancellation, and the
// status with its details. What ends at the gateway, as at every proxy: compression, which each leg chooses for itself; the authority; the user
// agent; the peer, which the server sees as the gateway's address. Reflection and health are services like others, and pass.
package gateway

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// anyKind is what a call is to a gateway, which knows no schema: a stream both ways holds the other kinds too.
var anyKind = grpc.StreamDesc{ServerStreams: true, ClientStreams: true}

// Handler returns a handler that passes each call on to cc, for a server with Codec. It holds one message of each direction at a time, and takes
// the next when the other side has taken that one: a side that stops reading stops the other. Messages are bounded by the limits of the server
// and of cc, which refuse longer ones with ResourceExhausted.
func Handler(cc grpc.ClientConnInterface) grpc.StreamHandler {
	return func(_ any, from grpc.ServerStream) error {
		method, ok := grpc.MethodFromServerStream(from)
		if !ok {
			return status.Error(codes.Internal, "gateway: the server does not tell the method's name")
		}
		md, _ := metadata.FromIncomingContext(from.Context())
		ctx, cancel := context.WithCancelCause(metadata.NewOutgoingContext(from.Context(), endToEnd(md)))
		defer cancel(nil)
		to, err := cc.NewStream(ctx, &anyKind, method, callOptions(md)...)
		if err != nil {
			return err
		}
		go func() { // it ends with the call: from's context is over when this handler has returned
			if err := requests(to, from); err != nil {
				cancel(failure{err})
			}
		}()
		err = replies(from, to)
		if f := (failure{}); errors.As(context.Cause(ctx), &f) {
			return f.error // why the call was given up; err only says that it was
		}
		return err
	}
}

// failure is why a call could not be passed on any further: a status.
type failure struct{ error }

// requests passes on what the client sends, until it has sent all or the call is over.
func requests(to grpc.ClientStream, from grpc.ServerStream) error {
	for {
		var m message
		if err := from.RecvMsg(&m); err == io.EOF {
			return to.CloseSend()
		} else if err != nil {
			return err
		}
		if err := to.SendMsg(&m); err != nil {
			m.free()
			if err == io.EOF {
				return nil // the server has ended the call, and replies finds out how
			}
			return err
		}
	}
}

// replies passes on what the server sends, until the call is over, and returns its status.
func replies(to grpc.ServerStream, from grpc.ClientStream) error {
	header, err := from.Header()
	if err != nil {
		return err
	}
	if header != nil { // else there is none, but a status at once: a client may then try again, which a header would keep it from
		if err := to.SendHeader(endToEnd(header)); err != nil {
			return err
		}
	}
	var last *message // a server of ours may marshal a unary call's when the call has ended well
	for {
		m := new(message)
		if err := from.RecvMsg(m); err != nil {
			to.SetTrailer(endToEnd(from.Trailer()))
			if err == io.EOF {
				return nil
			}
			if last != nil {
				last.free()
			}
			return err
		}
		if err := to.SendMsg(m); err != nil {
			m.free()
			if last != nil {
				last.free()
			}
			return err
		}
		last = m
	}
}
