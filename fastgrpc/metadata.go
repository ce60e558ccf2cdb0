package fastgrpc

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/fastrpc/fastrpc"
)

// Keys of the protocol's own.
const (
	keyContentType = "content-type" // where the codec is not proto: application/grpc+NAME
	keyEncoding    = "grpc-encoding"
	keyAuthority   = "grpc-authority" // for CallAuthority alone: what HTTP/2 has as ":authority"
	keyDetails     = "grpc-status-details-bin"
	keyUserAgent   = "user-agent"

	contentType = "application/grpc"
)

// reserved tells whether a key is gRPC's own, which programs do not set: theirs is left out, as gRPC does.
func reserved(key string) bool {
	switch key {
	case keyContentType, keyEncoding, keyAuthority, keyUserAgent, "grpc-message-type", "grpc-message", "grpc-status", "grpc-timeout", "te":
		return true
	}
	return strings.HasPrefix(key, ":")
}

// hidden tells the reserved keys that programs do not see either.
func hidden(key string) bool { return reserved(key) && key != keyContentType && key != keyUserAgent }

// checkOutgoing says what is wrong with metadata, by HTTP/2's rules, so that it passes a gateway unharmed.
func checkOutgoing(md metadata.MD) error {
	for k, values := range md {
		if k == "" {
			return fmt.Errorf("there is an empty key in the header")
		}
		if k[0] == ':' {
			continue
		}
		for i := range len(k) {
			if c := k[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '-' && c != '_' {
				return fmt.Errorf("header key %q contains illegal characters not in [0-9a-z-_.]", k)
			}
		}
		if strings.HasSuffix(k, "-bin") {
			continue
		}
		for _, v := range values {
			for i := range len(v) {
				if v[i] < 0x20 || v[i] > 0x7e {
					return fmt.Errorf("header key %q contains value with non-printable ASCII characters", k)
				}
			}
		}
	}
	return nil
}

// own is a program's metadata that may be sent, a copy where something had to be left out, nil for none. The error is a status.
func own(md metadata.MD) (metadata.MD, error) {
	if len(md) == 0 {
		return nil, nil
	}
	if err := checkOutgoing(md); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return without(md, reserved), nil
}

// without leaves keys out, in a copy where there are any.
func without(md metadata.MD, key func(string) bool) metadata.MD {
	copied := false
	for k := range md {
		if key(k) {
			if !copied {
				md, copied = md.Copy(), true
			}
			delete(md, k)
		}
	}
	return md
}

// outgoing is the metadata of a call: the program's, the credentials', and what says how messages are written.
func (cc *ClientConn) outgoing(ctx context.Context, method string, i *callInfo) (metadata.MD, error) {
	md, _ := metadata.FromOutgoingContext(ctx)
	md, err := own(md)
	if err != nil {
		return nil, err
	}
	md, err = cc.credentialsMetadata(ctx, method, i, md)
	if err != nil || i.subtype == "" && i.encoding == "" && i.authority == "" {
		return md, err
	}
	if md == nil {
		md = metadata.MD{}
	}
	for k, v := range map[string]string{keyContentType: i.subtype, keyEncoding: i.encoding, keyAuthority: i.authority} {
		if k == keyContentType && v != "" {
			v = contentType + "+" + v
		}
		if v != "" {
			md[k] = []string{v}
		}
	}
	return md, nil
}

// credentialsMetadata asks the credentials of a call for what they add to its metadata.
func (cc *ClientConn) credentialsMetadata(ctx context.Context, method string, i *callInfo, md metadata.MD) (metadata.MD, error) {
	if i.creds == nil && len(cc.cfg.creds) == 0 {
		return md, nil
	}
	service, _, _ := cutMethod(method)
	audience := "https://" + strings.TrimSuffix(cc.authority, ":443") + "/" + service
	ctx = credentials.NewContextWithRequestInfo(ctx, credentials.RequestInfo{Method: method, AuthInfo: insecureInfo})
	add := func(p credentials.PerRPCCredentials, code codes.Code) error {
		if p.RequireTransportSecurity() {
			return status.Error(codes.Unauthenticated, "transport: cannot send secure credentials on an insecure connection")
		}
		data, err := p.GetRequestMetadata(ctx, audience)
		if _, ok := status.FromError(err); err != nil && ok {
			return err
		} else if err != nil {
			return status.Errorf(code, "transport: per-RPC creds failed due to error: %v", err)
		}
		for k, v := range data {
			pair := metadata.Pairs(k, v)
			if err := checkOutgoing(pair); err != nil {
				return status.Error(codes.Internal, err.Error())
			}
			md = metadata.Join(md, pair)
		}
		return nil
	}
	for _, p := range cc.cfg.creds {
		if err := add(p, codes.Unauthenticated); err != nil {
			return nil, err
		}
	}
	if i.creds != nil {
		if err := add(i.creds, codes.Internal); err != nil {
			return nil, err
		}
	}
	return md, nil
}

// incomingMetadata is metadata that came, as programs see it: without gRPC's own keys, but for those that gRPC shows them. compressor names how the messages
// are compressed.
func incomingMetadata(h fastrpc.Metadata) (md metadata.MD, compressor string) {
	md = without(metadata.MD(h), hidden)
	if authority := h[keyAuthority]; authority != nil { // md is a copy
		md[":authority"] = authority
	}
	return md, one(metadata.MD(h), keyEncoding)
}

// cutMethod cuts /package.Service/Method.
func cutMethod(full string) (service, method string, ok bool) {
	full = strings.TrimPrefix(full, "/")
	i := strings.LastIndexByte(full, '/')
	if i < 0 {
		return "", "", false
	}
	return full[:i], full[i+1:], true
}
