package fastgrpc

import (
	"math"
	"reflect"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/fastrpc/fastrpc"
)

// gRPC's limits where nobody says otherwise.
const (
	defaultMaxRecv = 4 << 20
	defaultMaxSend = math.MaxInt32
)

// callInfo is what the options of a call say.
type callInfo struct {
	codec        codec
	subtype      string // "": the codec's name
	compressor   encoding.Compressor
	encoding     string // the compressor's name
	maxRecv      int    // bytes
	maxSend      int
	waitForReady bool
	authority    string
	creds        credentials.PerRPCCredentials
	finish       bool // options wait for the end
}

func newCallInfo() callInfo { return callInfo{maxRecv: defaultMaxRecv, maxSend: defaultMaxSend} }

// apply heeds the options, or says which cannot be.
func (c *callInfo) apply(opts []grpc.CallOption) error {
	for _, o := range opts {
		switch o := o.(type) {
		case grpc.StaticMethodCallOption, grpc.EmptyCallOption:
		case grpc.HeaderCallOption, grpc.TrailerCallOption, grpc.PeerCallOption, grpc.OnFinishCallOption:
			c.finish = true
		case grpc.FailFastCallOption:
			c.waitForReady = !o.FailFast
		case grpc.MaxRecvMsgSizeCallOption:
			c.maxRecv = o.MaxRecvMsgSize
		case grpc.MaxSendMsgSizeCallOption:
			c.maxSend = o.MaxSendMsgSize
		case grpc.PerRPCCredsCallOption:
			c.creds = o.Creds
		case grpc.AuthorityOverrideCallOption:
			c.authority = o.Authority
		case grpc.ForceCodecV2CallOption:
			c.codec = newCodec(o.CodecV2)
		case grpc.ForceCodecCallOption:
			c.codec = codec{CodecV2: bridge{o.Codec}}
		case grpc.ContentSubtypeCallOption:
			c.subtype = strings.ToLower(o.ContentSubtype)
		case grpc.CompressorCallOption:
			known := false
			if c.compressor, known = findCompressor(o.CompressorType); !known {
				return status.Errorf(codes.Internal, "grpc: Compressor is not installed for requested grpc-encoding %q", o.CompressorType)
			}
			if c.encoding = ""; c.compressor != nil {
				c.encoding = o.CompressorType
			}
		case grpc.MaxRetryRPCBufferSizeCallOption: // a bound on what is kept for gRPC's retries, of which there are none
		default:
			if !forInterceptors(o) {
				return status.Errorf(codes.Internal, "fastgrpc: the call option %T is not supported over fastrpc: leave it out", o)
			}
		}
	}
	return nil
}

// complete finds the codec, as gRPC does: one that is forced counts, and its name travels unless a subtype is given.
func (c *callInfo) complete() error {
	switch {
	case c.codec.CodecV2 != nil:
		if c.subtype == "" {
			c.subtype = strings.ToLower(c.codec.Name())
		}
	case c.subtype == "":
		c.codec = protobuf()
		return nil
	default:
		known := false
		if c.codec, known = findCodec(c.subtype); !known {
			return status.Errorf(codes.Internal, "no codec registered for content-subtype %s", c.subtype)
		}
	}
	if c.subtype == protobufName {
		c.subtype = ""
	}
	return nil
}

// native is the metadata as an option of fastrpc's; none where there is none.
func native(md metadata.MD) []fastrpc.CallOption {
	if len(md) == 0 {
		return nil
	}
	return []fastrpc.CallOption{fastrpc.Header(fastrpc.Metadata(md))}
}

const protobufName = "proto"

// forInterceptors tells whether an option is one that interceptors read: those embed grpc.EmptyCallOption, and say nothing to gRPC itself.
func forInterceptors(o grpc.CallOption) bool {
	t := reflect.TypeOf(o)
	if t == nil {
		return false
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return false
	}
	empty := reflect.TypeFor[grpc.EmptyCallOption]()
	for i := range t.NumField() {
		if f := t.Field(i); f.Anonymous && (f.Type == empty || f.Type == reflect.PointerTo(empty)) {
			return true
		}
	}
	return false
}

// finish tells the options how the call went.
func finish(opts []grpc.CallOption, header, trailer metadata.MD, p *peer.Peer, err error) {
	for _, o := range opts {
		switch o := o.(type) {
		case grpc.HeaderCallOption:
			*o.HeaderAddr = header
		case grpc.TrailerCallOption:
			*o.TrailerAddr = trailer
		case grpc.PeerCallOption:
			*o.PeerAddr = *p
		}
	}
	for _, o := range opts {
		if o, ok := o.(grpc.OnFinishCallOption); ok {
			o.OnFinish(err)
		}
	}
}
