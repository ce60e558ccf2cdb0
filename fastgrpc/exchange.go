package fastgrpc

import (
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// exchange is how the messages of a call are written, as its metadata say.
type exchange struct {
	codec        codec
	decompressor encoding.Compressor // of received messages; nil: they are not compressed
	received     string              // its name
	compressor   encoding.Compressor // of sent messages
	encoding     string              // its name
}

// exchange finds out how a client writes, with the compressor of that name. It is answered in the same way.
func (s *Server) exchange(md metadata.MD, compressor string) (x exchange, err error) {
	x.codec = s.cfg.codec
	if x.codec.CodecV2 == nil {
		x.codec = protobuf()
		if subtype := subtypeOf(md); subtype != "" {
			known := false
			if x.codec, known = findCodec(subtype); !known {
				return x, status.Errorf(codes.Internal, "no codec registered for content-subtype %s", subtype)
			}
		}
	}
	x.received = compressor
	if x.decompressor, err = decompressorOf(compressor); err != nil {
		return x, err
	}
	if x.compressor = x.decompressor; x.compressor != nil {
		x.encoding = x.received
	}
	return x, nil
}

// decompressorOf finds what undoes the compression of that name; nil for none.
func decompressorOf(name string) (encoding.Compressor, error) {
	c, known := findCompressor(name)
	if !known {
		return nil, status.Errorf(codes.Unimplemented, "grpc: Decompressor is not installed for grpc-encoding %q", name)
	}
	return c, nil
}

// subtypeOf reads the codec's name; "" for proto.
func subtypeOf(md metadata.MD) string {
	subtype := strings.TrimPrefix(one(md, keyContentType), contentType)
	return strings.ToLower(strings.TrimLeft(subtype, "+;"))
}

// one is the value of a key that has one.
func one(md metadata.MD, key string) string {
	if v := md[key]; len(v) > 0 {
		return v[0]
	}
	return ""
}
