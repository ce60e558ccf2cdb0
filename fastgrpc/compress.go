package fastgrpc

import (
	"io"
	"math"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/gzip" // which every server of grpc-go has
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
)

// findCompressor finds a registered compressor; nil for none.
func findCompressor(name string) (c encoding.Compressor, known bool) {
	if name == "" || name == encoding.Identity {
		return nil, true
	}
	c = encoding.GetCompressor(name)
	return c, c != nil
}

func compress(c encoding.Compressor, in mem.BufferSlice) (mem.BufferSlice, error) {
	var out mem.BufferSlice
	z, err := c.Compress(mem.NewWriter(&out, mem.DefaultBufferPool()))
	if err == nil {
		for _, b := range in {
			if _, err = z.Write(b.ReadOnlyData()); err != nil {
				break
			}
		}
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		out.Free()
		return nil, status.Errorf(codes.Internal, "grpc: error while compressing: %v", err)
	}
	return out, nil
}

// decompress does not give back what it was given. What would come to more than most bytes is refused when that many have been read.
func decompress(c encoding.Compressor, in mem.BufferSlice, most int) (mem.BufferSlice, error) {
	r := in.Reader() // with references of its own
	defer r.Close()
	z, err := c.Decompress(r)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "grpc: failed to decompress the message: %v", err)
	}
	if closer, ok := z.(io.Closer); ok {
		defer closer.Close()
	}
	if limit := int64(most); limit < math.MaxInt64 {
		z = io.LimitReader(z, limit+1)
	}
	out, err := mem.ReadAll(z, mem.DefaultBufferPool())
	if err != nil {
		out.Free()
		return nil, status.Errorf(codes.Internal, "grpc: failed to read decompressed data: %v", err)
	}
	if out.Len() > most {
		out.Free()
		return nil, status.Errorf(codes.ResourceExhausted, "grpc: received message after decompression larger than max %d", most)
	}
	return out, nil
}
