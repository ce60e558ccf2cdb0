package fastgrpc

import (
	"context"
	"errors"
	"strings"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/fastrpc/fastrpc"
)

// callError is the status of a failed call, and beneath it what fastrpc knows of it, for fastrpc.OutcomeOf.
type callError struct {
	status *status.Status
	err    error
}

func (e *callError) Error() string              { return e.status.Err().Error() }
func (e *callError) GRPCStatus() *status.Status { return e.status }
func (e *callError) Unwrap() error              { return e.err }
func (e *callError) Is(target error) bool       { return errors.Is(e.status.Err(), target) }

// statusError gives an error of fastrpc's gRPC's form. A status of gRPC's stays as it is.
func statusError(err error) error {
	var e *fastrpc.Error
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &e):
		if _, ok := status.FromError(err); ok {
			return err
		}
		return status.FromContextError(err).Err()
	}
	msg := e.Msg
	if e.Err != nil {
		msg = strings.TrimPrefix(msg+": "+e.Err.Error(), ": ")
	}
	switch {
	case msg != "" || e.Outcome == fastrpc.Executed:
	case e.Code == fastrpc.DeadlineExceeded:
		msg = context.DeadlineExceeded.Error()
	case e.Code == fastrpc.Canceled:
		msg = context.Canceled.Error()
	}
	st := status.New(codes.Code(e.Code), msg)
	if details := e.Trailer.Get(keyDetails); details != "" {
		var p spb.Status
		if err := proto.Unmarshal([]byte(details), &p); err == nil && p.GetCode() == int32(e.Code) {
			st = status.FromProto(&p)
		}
	}
	return &callError{status: st, err: err}
}

// handlerStatus is what a handler's error says to the caller: its text is valid UTF-8, for protobuf and HTTP/2 allow no other.
func handlerStatus(err error) *status.Status {
	st, ok := status.FromError(err)
	if !ok {
		var e *fastrpc.Error
		if errors.As(err, &e) && e.Code != fastrpc.OK {
			st = status.New(codes.Code(e.Code), e.Msg)
		} else {
			st = status.FromContextError(err)
		}
	}
	if st.Code() == codes.OK { // a status that says so is an error all the same
		st = status.New(codes.Unknown, st.Message())
	}
	return st
}

// answer is a handler's error as the native one that travels: with the status's details in its trailer.
func answer(err error, trailer metadata.MD) error {
	st := handlerStatus(err)
	e := &fastrpc.Error{Code: fastrpc.Code(st.Code()), Outcome: fastrpc.Executed, Msg: strings.ToValidUTF8(st.Message(), "\uFFFD"), Trailer: fastrpc.Metadata(trailer)}
	if p := st.Proto(); len(p.GetDetails()) > 0 {
		if b, err := proto.Marshal(p); err == nil {
			trailer = metadata.Join(trailer)   // a copy
			trailer.Set(keyDetails, string(b)) // in place of what the handler may have put there
			e.Trailer = fastrpc.Metadata(trailer)
		}
	}
	return e
}
