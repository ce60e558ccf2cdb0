package gateway

import (
	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// Codec leaves the messages that Handler passes on as they are, and takes all others for protobuf's: services that are registered with the
// server itself, such as health, work beside.
type Codec struct{}

// message is the bytes of a message, in the buffers that they were received in. They are whoever's who marshals them; until then free gives them
// back.
type message struct{ data mem.BufferSlice }

func (m *message) free() {
	m.data.Free()
	m.data = nil
}

// Marshal implements encoding.CodecV2. gRPC frees what it returns, at a time of its own.
func (Codec) Marshal(v any) (mem.BufferSlice, error) {
	if m, ok := v.(*message); ok {
		data := m.data
		m.data = nil
		return data, nil
	}
	return encoding.GetCodecV2(protocodec.Name).Marshal(v)
}

// Unmarshal implements encoding.CodecV2. gRPC frees data when it returns.
func (Codec) Unmarshal(data mem.BufferSlice, v any) error {
	if m, ok := v.(*message); ok {
		data.Ref()
		m.data = data
		return nil
	}
	return encoding.GetCodecV2(protocodec.Name).Unmarshal(data, v)
}

// Name implements encoding.CodecV2: none, so that calls name what their client named, or nothing, as it did.
func (Codec) Name() string { return "" }
