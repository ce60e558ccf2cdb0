package fastgrpc

import (
	"reflect"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
)

// codec turns messages into bytes and back. gRPC's own for protobuf is told apart: what it does is done here straight into the frame that
// is sent, and from the frame that was received.
type codec struct {
	encoding.CodecV2
	own bool
}

// protobuf is the codec of calls that name none.
var protobuf = sync.OnceValue(func() codec {
	c, _ := findCodec(protocodec.Name)
	return c
})

// findCodec finds a registered codec by its content-subtype, in lower case.
func findCodec(subtype string) (codec, bool) {
	if c := encoding.GetCodec(subtype); c != nil {
		return codec{CodecV2: bridge{c}}, true
	}
	c := encoding.GetCodecV2(subtype)
	return newCodec(c), c != nil
}

// newCodec looks whether c is gRPC's: its name would not do, for programs may register another codec by that.
func newCodec(c encoding.CodecV2) codec {
	t := reflect.TypeOf(c)
	return codec{CodecV2: c, own: t != nil && t.Kind() == reflect.Pointer && t.Elem().PkgPath() == "google.golang.org/grpc/encoding/proto"}
}

// bridge is a codec of the interface before CodecV2.
type bridge struct{ encoding.Codec }

func (b bridge) Marshal(v any) (mem.BufferSlice, error) {
	data, err := b.Codec.Marshal(v)
	return mem.BufferSlice{mem.SliceBuffer(data)}, err
}

func (b bridge) Unmarshal(data mem.BufferSlice, v any) error {
	return b.Codec.Unmarshal(data.Materialize(), v)
}

// lengths are what statistics tell of a message.
type lengths struct {
	message int // bytes
	wire    int // the same where it is not compressed
}

// encoded is a message on its way out. It is to be freed.
type encoded struct {
	lengths
	proto proto.Message // with gRPC's codec and no compressor, the message itself, whose size is known
	data  mem.BufferSlice
}

// encode readies v to be written; nothing where it is nil, as gRPC does.
func (c codec) encode(v any, compressor encoding.Compressor, most int) (encoded, error) {
	if v == nil {
		return encoded{}, nil
	}
	if c.own && compressor == nil {
		if m := protoOf(v); m != nil {
			n := proto.Size(m)
			return encoded{lengths: lengths{n, n}, proto: m}, checkSend(n, most)
		}
	}
	data, err := c.Marshal(v)
	if err != nil {
		return encoded{}, status.Errorf(codes.Internal, "grpc: error while marshaling: %v", err)
	}
	e := encoded{lengths: lengths{data.Len(), data.Len()}, data: data}
	if compressor != nil && data.Len() > 0 { // nothing stays nothing, as in gRPC
		e.data, err = compress(compressor, data)
		data.Free()
		if err != nil {
			return encoded{}, err
		}
		e.wire = e.data.Len()
	}
	if err := checkSend(e.wire, most); err != nil {
		e.free()
		return encoded{}, err
	}
	return e, nil
}

func checkSend(n, most int) error {
	if n > most {
		return status.Errorf(codes.ResourceExhausted, "trying to send message larger than max (%d vs. %d)", n, most)
	}
	return nil
}

// write writes the message, of e.wire bytes, to b, which has just that room.
func (e encoded) write(b []byte) error {
	if e.proto == nil {
		e.data.CopyTo(b)
		return nil
	}
	out, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(b[:0:len(b)], e.proto)
	if err == nil && len(out) != len(b) {
		return status.Error(codes.Internal, "grpc: error while marshaling: the message was changed meanwhile")
	}
	if err != nil {
		return status.Errorf(codes.Internal, "grpc: error while marshaling: %v", err)
	}
	return nil
}

func (e encoded) free() { e.data.Free() }

func protoOf(v any) proto.Message {
	switch v := v.(type) {
	case proto.Message:
		return v
	case protoadapt.MessageV1:
		return protoadapt.MessageV2Of(v)
	}
	return nil
}

// decode reads a received message into v, and releases it: at the latest when the codec has given the last piece of it back.
func decode[M received](c codec, m M, v any, compressor encoding.Compressor, most int) (lengths, error) {
	if c.own && compressor == nil {
		if to := protoOf(v); to != nil {
			defer m.Release()
			body := m.Body()
			n := lengths{len(body), len(body)}
			if err := checkReceived(n.wire, most); err != nil {
				return n, err
			}
			if err := proto.Unmarshal(body, to); err != nil {
				return n, status.Errorf(codes.Internal, "grpc: failed to unmarshal the received message: %v", err)
			}
			return n, nil
		}
	}
	data := buffers(m)
	defer func() { data.Free() }()
	n := lengths{data.Len(), data.Len()}
	if err := checkReceived(n.wire, most); err != nil {
		return n, err
	}
	if compressor != nil && data.Len() > 0 {
		plain, err := decompress(compressor, data, most)
		if err != nil {
			return n, err
		}
		data.Free()
		data, n.message = plain, plain.Len()
	}
	if err := c.Unmarshal(data, v); err != nil {
		return n, status.Errorf(codes.Internal, "grpc: failed to unmarshal the received message: %v", err)
	}
	return n, nil
}

func checkReceived(n, most int) error {
	if n > most {
		return status.Errorf(codes.ResourceExhausted, "grpc: received message larger than max (%d vs. %d)", n, most)
	}
	return nil
}
