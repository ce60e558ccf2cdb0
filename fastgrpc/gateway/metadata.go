package gateway

import (
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// endToEnd is the metadata without what each leg of the way says for itself.
func endToEnd(md metadata.MD) metadata.MD {
	out := make(metadata.MD, len(md))
	for key, values := range md {
		if !hopByHop(key) {
			out[key] = values
		}
	}
	return out
}

// hopByHop tells the keys of gRPC over HTTP/2 (PROTOCOL-HTTP2.md) that speak of one connection, or travel by another way: the codec's name as a
// call option, the deadline in the context, the status as the handler's error. grpc-previous-rpc-attempts and grpc-retry-pushback-ms are between
// the ends, and so is what other people put behind "grpc-", such as grpc-trace-bin.
func hopByHop(key string) bool {
	switch key {
	case "content-type", "te", "user-agent", "host", "grpc-timeout", "grpc-encoding", "grpc-accept-encoding", "grpc-message-type",
		"grpc-status", "grpc-message", "grpc-status-details-bin":
		return true
	}
	return strings.HasPrefix(key, ":")
}

// callOptions name the codec that the client has named, and leave the messages as they are.
func callOptions(md metadata.MD) []grpc.CallOption {
	opts := []grpc.CallOption{grpc.ForceCodecV2(Codec{})}
	for _, v := range md["content-type"] {
		if subtype, ok := strings.CutPrefix(v, "application/grpc+"); ok {
			subtype, _, _ = strings.Cut(subtype, ";")
			opts = append(opts, grpc.CallContentSubtype(subtype))
		}
	}
	return opts
}
