package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/jhump/protoreflect/v2/protoresolve"
	_ "google.golang.org/genproto/googleapis/rpc/errdetails" // registers the details that errors usually have
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// grpcCall is a call of gRPC with messages in protobuf's JSON.
type grpcCall struct {
	method   protoreflect.MethodDescriptor
	in       *json.Decoder
	out      io.Writer
	log      io.Writer // metadata, where it is asked for
	types    protoresolve.TypeResolver
	defaults bool // print fields that have their default value
}

func newGRPCCall(s *schema, m protoreflect.MethodDescriptor, in io.Reader, out io.Writer) *grpcCall {
	all := protoresolve.Combine(s, protoresolve.GlobalDescriptors)
	return &grpcCall{method: m, in: json.NewDecoder(in), out: out, types: all.AsTypeResolver()}
}

// run makes the call. The error is a status where the call itself failed.
func (c *grpcCall) run(ctx context.Context, cc grpc.ClientConnInterface) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c.print("Request metadata", func() metadata.MD { md, _ := metadata.FromOutgoingContext(ctx); return md })
	err := c.stream(ctx, cc, cancel)
	if bad := (inputError{}); errors.As(context.Cause(ctx), &bad) {
		return bad.error // the call was canceled for it
	}
	return err
}

// name is the method's, package.Service/Method.
func (c *grpcCall) name() string {
	return string(c.method.Parent().FullName()) + "/" + string(c.method.Name())
}

// inputError is what is wrong with the messages that the user gives.
type inputError struct{ error }

// stream makes the call of any kind: as on the wire, a unary call is a stream of one message each way.
func (c *grpcCall) stream(ctx context.Context, cc grpc.ClientConnInterface, cancel context.CancelCauseFunc) error {
	name := "/" + c.name()
	if !c.method.IsStreamingClient() && !c.method.IsStreamingServer() {
		return c.unary(ctx, cc, name)
	}
	desc := &grpc.StreamDesc{StreamName: string(c.method.Name()), ClientStreams: c.method.IsStreamingClient(), ServerStreams: c.method.IsStreamingServer()}
	if !desc.ClientStreams {
		one, err := c.only()
		if err != nil {
			return err
		}
		cs, err := cc.NewStream(ctx, desc, name)
		if err != nil {
			return err
		}
		if err := cs.SendMsg(one); err != nil && err != io.EOF { // with io.EOF the call has ended, and receiving tells how
			return err
		}
		if err := cs.CloseSend(); err != nil {
			return err
		}
		return c.receive(cs)
	}
	cs, err := cc.NewStream(ctx, desc, name)
	if err != nil {
		return err
	}
	go func() {
		if err := c.send(cs); err != nil {
			cancel(inputError{err})
		}
	}()
	return c.receive(cs)
}

func (c *grpcCall) unary(ctx context.Context, cc grpc.ClientConnInterface, name string) error {
	request, err := c.only()
	if err != nil {
		return err
	}
	reply := dynamicpb.NewMessage(c.method.Output())
	var header, trailer metadata.MD
	err = cc.Invoke(ctx, name, request, reply, grpc.Header(&header), grpc.Trailer(&trailer))
	c.print("Response header", func() metadata.MD { return header })
	if err == nil {
		err = c.show(reply)
	}
	c.print("Response trailer", func() metadata.MD { return trailer })
	return err
}

// only reads the one message of a call that takes one; none is an empty one.
func (c *grpcCall) only() (proto.Message, error) {
	m, err := c.next()
	if err == io.EOF {
		return dynamicpb.NewMessage(c.method.Input()), nil
	}
	if err != nil {
		return nil, err
	}
	if _, err := c.next(); err != io.EOF {
		return nil, fmt.Errorf("%s takes one message, and there are more", c.name())
	}
	return m, nil
}

// next reads a message from the input.
func (c *grpcCall) next() (proto.Message, error) {
	var raw json.RawMessage
	if err := c.in.Decode(&raw); err == io.EOF {
		return nil, err
	} else if err != nil {
		return nil, fmt.Errorf("the request is no JSON: %w", err)
	}
	m := dynamicpb.NewMessage(c.method.Input())
	if err := (protojson.UnmarshalOptions{Resolver: c.types}).Unmarshal(raw, m); err != nil {
		return nil, fmt.Errorf("the request is no %s, which 'fastrpc describe' shows: %w", c.method.Input().FullName(), err)
	}
	return m, nil
}

// send sends the input, message by message as it comes.
func (c *grpcCall) send(cs grpc.ClientStream) error {
	for {
		m, err := c.next()
		if err == io.EOF {
			return cs.CloseSend()
		}
		if err != nil {
			return err
		}
		if err := cs.SendMsg(m); err == io.EOF {
			return nil // the call has ended, and receive tells how
		} else if err != nil {
			return err
		}
	}
}

// receive prints the replies as they come.
func (c *grpcCall) receive(cs grpc.ClientStream) error {
	c.print("Response header", func() metadata.MD { md, _ := cs.Header(); return md })
	for {
		m := dynamicpb.NewMessage(c.method.Output())
		if err := cs.RecvMsg(m); err != nil {
			c.print("Response trailer", cs.Trailer)
			if err == io.EOF {
				return nil
			}
			return err
		}
		if err := c.show(m); err != nil {
			return err
		}
	}
}

func (c *grpcCall) show(m proto.Message) error {
	b, err := protojson.MarshalOptions{Resolver: c.types, EmitDefaultValues: c.defaults}.Marshal(m)
	if err != nil {
		return fmt.Errorf("the reply cannot be shown as JSON: %w", err)
	}
	_, err = fmt.Fprintln(c.out, shown(indent(b), true))
	return err
}

// indent gives JSON one form: protojson's own varies on purpose.
func indent(b []byte) string {
	var out bytes.Buffer
	if err := json.Indent(&out, b, "", "  "); err != nil {
		return string(b)
	}
	return out.String()
}

// print prints metadata, where it is asked for.
func (c *grpcCall) print(title string, of func() metadata.MD) {
	if c.log == nil {
		return
	}
	md := of()
	fmt.Fprintf(c.log, "%s:\n", title)
	for _, key := range slices.Sorted(maps.Keys(md)) {
		for _, v := range md[key] {
			if strings.HasSuffix(key, "-bin") {
				v = base64.StdEncoding.EncodeToString([]byte(v))
			}
			fmt.Fprintf(c.log, "  %s: %s\n", shown(key, false), shown(v, false))
		}
	}
}

// explainStatus says how a call failed, with the details of its status.
func (c *grpcCall) explainStatus(w io.Writer, st *status.Status) {
	fmt.Fprintf(w, "fastrpc: %s: %v: %s\n", c.name(), st.Code(), shown(st.Message(), false))
	for _, d := range st.Proto().GetDetails() {
		if b, err := (protojson.MarshalOptions{Resolver: c.types}).Marshal(d); err == nil {
			fmt.Fprintf(w, "%s\n", shown(indent(b), true))
		} else {
			fmt.Fprintf(w, "%s: %q, whose description is not known\n", shown(d.GetTypeUrl(), false), d.GetValue())
		}
	}
}

// outgoing adds headers of the form "name: value" to the metadata of calls.
func outgoing(ctx context.Context, headers []string) (context.Context, error) {
	for _, h := range headers {
		key, value, ok := strings.Cut(h, ":")
		if key = strings.ToLower(strings.TrimSpace(key)); !ok || key == "" {
			return nil, usageError{fmt.Errorf("--header %q is not of the form 'name: value'", h)}
		}
		if value = strings.TrimSpace(value); strings.HasSuffix(key, "-bin") {
			b, err := base64.StdEncoding.WithPadding(base64.NoPadding).DecodeString(strings.TrimRight(value, "="))
			if err != nil {
				return nil, usageError{fmt.Errorf("--header %q: a value of a key that ends in -bin is given in base64: %w", h, err)}
			}
			value = string(b)
		}
		ctx = metadata.AppendToOutgoingContext(ctx, key, value)
	}
	return ctx, nil
}
