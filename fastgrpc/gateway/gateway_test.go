package gateway_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/gzip" // registers the compressor
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/fastrpc/fastrpc/fastgrpc/gateway"
)

// echo sends back every message, and ends when the client has sent all.
func echo(_ any, ss grpc.ServerStream) error {
	for {
		var m wrapperspb.BytesValue
		if err := ss.RecvMsg(&m); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if err := ss.SendMsg(&m); err != nil {
			return err
		}
	}
}

// Messages of all lengths pass both ways, whole and in order, in a stream and in a unary call.
func TestMessages(t *testing.T) {
	sizes := []int{0, 1, 1400, 100_000, 0, 3_000_000, 7}
	throughGateways(t, methods{"/t.T/Echo": echo}, func(t *testing.T, cc grpc.ClientConnInterface) {
		cs := open(t.Context(), t, cc, "/t.T/Echo")
		go func() {
			for i, n := range sizes {
				if err := cs.SendMsg(bytesOf(n, i)); err != nil {
					t.Error(err)
				}
			}
			if err := cs.CloseSend(); err != nil {
				t.Error(err)
			}
		}()
		for i, n := range sizes {
			var m wrapperspb.BytesValue
			if err := cs.RecvMsg(&m); err != nil || !bytes.Equal(m.Value, bytesOf(n, i).Value) {
				t.Fatalf("message %d of %d bytes came back with %d bytes, %v", i, n, len(m.Value), err)
			}
		}
		if err := cs.RecvMsg(new(wrapperspb.BytesValue)); err != io.EOF {
			t.Errorf("the end: %v", err)
		}
		for i, n := range sizes {
			var m wrapperspb.BytesValue
			if err := cc.Invoke(t.Context(), "/t.T/Echo", bytesOf(n, i), &m, grpc.UseCompressor([]string{"", "gzip"}[i%2])); err != nil || !bytes.Equal(m.Value, bytesOf(n, i).Value) {
				t.Errorf("unary, %d bytes: %d bytes, %v", n, len(m.Value), err)
			}
		}
	})
}

// named is protobuf's codec by another name, which the server reads in the call's content-type.
type named struct{ encoding.CodecV2 }

func (named) Name() string { return "named" }

func init() { encoding.RegisterCodecV2(named{encoding.GetCodecV2("proto")}) }

// The server sees the client's metadata and nothing twice; its header arrives before any message, its trailer with the end.
func TestMetadata(t *testing.T) {
	seen := make(chan metadata.MD, 1)
	m := methods{"/t.T/Meta": func(_ any, ss grpc.ServerStream) error {
		md, _ := metadata.FromIncomingContext(ss.Context())
		seen <- md
		if err := ss.SendHeader(metadata.Pairs("early", "yes", "early", "again", "raw-bin", "\x00\xff")); err != nil {
			return err
		}
		if err := ss.RecvMsg(new(wrapperspb.BytesValue)); err != io.EOF { // the client waits for the header before it ends
			return status.Errorf(codes.Internal, "%v", err)
		}
		ss.SetTrailer(metadata.Pairs("late", "too", "late-bin", "\x01"))
		return nil
	}}
	throughGateways(t, m, func(t *testing.T, cc grpc.ClientConnInterface) {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "k", "1", "k", "2", "data-bin", "\x00\x80\xff", "grpc-trace-bin", "trace", "grpc-accept-encoding", "carrier-pigeon")
		cs := open(ctx, t, cc, "/t.T/Meta", grpc.CallContentSubtype(named{}.Name()))
		md := <-seen
		for key, want := range map[string][]string{
			"k": {"1", "2"}, "data-bin": {"\x00\x80\xff"}, "grpc-trace-bin": {"trace"}, "content-type": {"application/grpc+named"},
		} {
			if got := md[key]; !reflect.DeepEqual(got, want) {
				t.Errorf("the server sees %s: %q, want %q", key, got, want)
			}
		}
		if strings.Contains(strings.Join(md["grpc-accept-encoding"], ","), "pigeon") {
			t.Errorf("what compression the client understands is no business of the server's: %q", md)
		}
		header, err := cs.Header()
		if err != nil || !reflect.DeepEqual(header["early"], []string{"yes", "again"}) || !reflect.DeepEqual(header["raw-bin"], []string{"\x00\xff"}) {
			t.Errorf("header %q, %v", header, err)
		}
		if err := cs.CloseSend(); err != nil {
			t.Error(err)
		}
		if err := cs.RecvMsg(new(wrapperspb.BytesValue)); err != io.EOF {
			t.Error(err)
		}
		if tr := cs.Trailer(); !reflect.DeepEqual(tr["late"], []string{"too"}) || !reflect.DeepEqual(tr["late-bin"], []string{"\x01"}) {
			t.Errorf("trailer %q", tr)
		}
	})
}

// Codes, messages and details of a status pass as they are, with the trailer, and no header comes before a status alone.
func TestStatus(t *testing.T) {
	var end atomic.Pointer[status.Status]
	m := methods{"/t.T/Fail": func(_ any, ss grpc.ServerStream) error {
		ss.SetTrailer(metadata.Pairs("late", "too"))
		return end.Load().Err()
	}}
	throughGateways(t, m, func(t *testing.T, cc grpc.ClientConnInterface) {
		for code := codes.Code(1); code <= 17; code++ {
			st, err := status.New(code, "\t\ttest with Ω and %0A\r\n").WithDetails(bytesOf(10, int(code)), wrapperspb.String("more"))
			if err != nil {
				t.Fatal(err)
			}
			end.Store(st)
			cs := open(t.Context(), t, cc, "/t.T/Fail")
			header, err := cs.Header()
			if err != nil || header != nil {
				t.Errorf("%v: header %q, %v; want none", code, header, err)
			}
			err = cs.RecvMsg(new(wrapperspb.BytesValue))
			if got := status.Convert(err); !proto.Equal(got.Proto(), st.Proto()) {
				t.Errorf("%v: got %v, want %v", code, got.Proto(), st.Proto())
			}
			if !reflect.DeepEqual(cs.Trailer()["late"], []string{"too"}) {
				t.Errorf("%v: trailer %q", code, cs.Trailer())
			}
		}
		if err := cc.Invoke(t.Context(), "/t.T/Nothing", bytesOf(1, 1), new(wrapperspb.BytesValue)); status.Code(err) != codes.Unimplemented {
			t.Errorf("a method that is not there: %v", err)
		}
	})
}

// A deadline travels, and none where there is none; it ends a call that a server sleeps over.
func TestDeadline(t *testing.T) {
	left := make(chan time.Duration, 1)
	m := methods{
		"/t.T/Left": func(_ any, ss grpc.ServerStream) error {
			var d time.Duration
			if at, ok := ss.Context().Deadline(); ok {
				d = time.Until(at)
			}
			left <- d
			return nil
		},
		"/t.T/Sleep": func(_ any, ss grpc.ServerStream) error {
			<-ss.Context().Done()
			return status.FromContextError(ss.Context().Err()).Err()
		},
	}
	throughGateways(t, m, func(t *testing.T, cc grpc.ClientConnInterface) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Minute)
		defer cancel()
		if err := open(ctx, t, cc, "/t.T/Left").RecvMsg(nil); err != io.EOF {
			t.Fatal(err)
		}
		if d := <-left; d < 10*time.Minute || d > 60*time.Minute {
			t.Errorf("of 50 minutes the server is left %v", d)
		}
		if err := open(t.Context(), t, cc, "/t.T/Left").RecvMsg(nil); err != io.EOF {
			t.Fatal(err)
		}
		if d := <-left; d != 0 {
			t.Errorf("without a deadline the server is left %v", d)
		}
		ctx, cancel = context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		if err := open(ctx, t, cc, "/t.T/Sleep").RecvMsg(nil); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("a server that sleeps: %v", err)
		}
	})
}

// A client that cancels ends the call at the server, and nothing of it stays at the gateway.
func TestCancel(t *testing.T) {
	begun, ended := make(chan bool, 1), make(chan error, 1)
	m := methods{"/t.T/Wait": func(_ any, ss grpc.ServerStream) error {
		begun <- true
		<-ss.Context().Done()
		ended <- ss.Context().Err()
		return nil
	}}
	throughGateways(t, m, func(t *testing.T, cc grpc.ClientConnInterface) {
		ctx, cancel := context.WithCancel(t.Context())
		cs := open(ctx, t, cc, "/t.T/Wait")
		<-begun
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the server's context: %v", err)
		}
		if err := cs.RecvMsg(nil); status.Code(err) != codes.Canceled {
			t.Errorf("the client: %v", err)
		}
	})
}

// A server may end a call while the client still has much to send.
func TestServerEndsFirst(t *testing.T) {
	m := methods{"/t.T/Enough": func(_ any, ss grpc.ServerStream) error {
		if err := ss.RecvMsg(new(wrapperspb.BytesValue)); err != nil {
			return err
		}
		return status.Error(codes.OutOfRange, "enough")
	}}
	throughGateways(t, m, func(t *testing.T, cc grpc.ClientConnInterface) {
		cs := open(t.Context(), t, cc, "/t.T/Enough")
		var err error
		for err == nil {
			err = cs.SendMsg(bytesOf(50_000, 1))
		}
		if err != io.EOF {
			t.Errorf("sending ends with %v", err)
		}
		if err := cs.RecvMsg(new(wrapperspb.BytesValue)); status.Code(err) != codes.OutOfRange {
			t.Errorf("the call ends with %v", err)
		}
	})
}

// A message over a limit of the gateway's ends the call with ResourceExhausted at the client and as canceled at the server.
func TestMessageOverLimit(t *testing.T) {
	ended := make(chan error, 1)
	m := methods{
		"/t.T/Take": func(_ any, ss grpc.ServerStream) error {
			if err := ss.SendHeader(nil); err != nil {
				return err
			}
			<-ss.Context().Done()
			ended <- ss.Context().Err()
			return nil
		},
		"/t.T/Give": func(_ any, ss grpc.ServerStream) error {
			_ = ss.SendMsg(bytesOf(maxMessage+1, 1))
			<-ss.Context().Done()
			ended <- ss.Context().Err()
			return nil
		},
	}
	throughGateways(t, m, func(t *testing.T, cc grpc.ClientConnInterface) {
		cs := open(t.Context(), t, cc, "/t.T/Take")
		if _, err := cs.Header(); err != nil { // the call is under way at the server
			t.Fatal(err)
		}
		if err := cs.SendMsg(bytesOf(maxMessage+1, 1)); err != nil && err != io.EOF { // the call may be over before all is sent
			t.Fatal(err)
		}
		if err := cs.RecvMsg(nil); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("a request over the limit: %v", err)
		}
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the server's context: %v", err)
		}
		cs = open(t.Context(), t, cc, "/t.T/Give")
		if err := cs.RecvMsg(new(wrapperspb.BytesValue)); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("a reply over the limit: %v", err)
		}
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the server's context: %v", err)
		}
	})
}

// A server that is not there is Unavailable, and found again once it is.
func TestNobodyBehind(t *testing.T) {
	to := http2.dial(t, "127.0.0.1:1")
	cc := http2.dial(t, http2.serve(t, gateway.Handler(to), true))
	if err := cc.Invoke(t.Context(), "/t.T/Echo", bytesOf(1, 1), new(wrapperspb.BytesValue)); status.Code(err) != codes.Unavailable {
		t.Error(err)
	}
}
