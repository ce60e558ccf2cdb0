// Package codec has the encodings of fastrpc's typed handlers and calls: protocol buffers, JSON, and bytes as they are.
package codec

import (
	"encoding/json"
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// Proto encodes protocol buffers: messages of google.golang.org/protobuf, by the methods that vtprotobuf generates where a message has them,
// which need no reflection.
type Proto struct{}

// vtMarshaler is what vtprotobuf's features size and marshal generate.
type vtMarshaler interface {
	SizeVT() int
	MarshalToSizedBufferVT(b []byte) (int, error)
}

// vtUnmarshaler is what vtprotobuf's feature unmarshal generates.
type vtUnmarshaler interface{ UnmarshalVT(b []byte) error }

// Name returns "proto".
func (Proto) Name() string { return "proto" }

// Append appends a message's wire form.
func (Proto) Append(b []byte, v any) ([]byte, error) {
	switch m := v.(type) {
	case vtMarshaler:
		n := m.SizeVT()
		at := len(b)
		b = slices.Grow(b, n)[:at+n]
		k, err := m.MarshalToSizedBufferVT(b[at:])
		if err == nil && k != n {
			err = fmt.Errorf("%T: %d of %d bytes were marshaled: it was changed meanwhile", v, k, n)
		}
		return b, err
	case proto.Message:
		return proto.MarshalOptions{}.MarshalAppend(b, m)
	}
	return nil, notMessage(v)
}

// Unmarshal reads a message from its wire form.
func (Proto) Unmarshal(b []byte, v any) error {
	switch m := v.(type) {
	case vtUnmarshaler:
		if r, ok := v.(interface{ Reset() }); ok {
			r.Reset()
		}
		return m.UnmarshalVT(b)
	case proto.Message:
		return proto.Unmarshal(b, m)
	}
	return notMessage(v)
}

func notMessage(v any) error { return fmt.Errorf("%T is no protocol buffer message", v) }

// JSON encodes values as JSON: protocol buffers by protobuf's JSON mapping, all else by encoding/json.
type JSON struct{}

// Name returns "json".
func (JSON) Name() string { return "json" }

// Append appends a value's JSON.
func (JSON) Append(b []byte, v any) ([]byte, error) {
	if m, ok := v.(proto.Message); ok {
		return protojson.MarshalOptions{}.MarshalAppend(b, m)
	}
	j, err := json.Marshal(v)
	return append(b, j...), err
}

// Unmarshal reads a value from its JSON.
func (JSON) Unmarshal(b []byte, v any) error {
	if m, ok := v.(proto.Message); ok {
		return protojson.Unmarshal(b, m)
	}
	return json.Unmarshal(b, v)
}

// Raw passes *[]byte as it is. What is received is a copy.
type Raw struct{}

// Name returns "raw".
func (Raw) Name() string { return "raw" }

// Append appends the bytes.
func (Raw) Append(b []byte, v any) ([]byte, error) {
	p, ok := v.(*[]byte)
	if !ok {
		return nil, fmt.Errorf("%T is no *[]byte", v)
	}
	return append(b, *p...), nil
}

// Unmarshal copies the bytes.
func (Raw) Unmarshal(b []byte, v any) error {
	p, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("%T is no *[]byte", v)
	}
	*p = append((*p)[:0], b...)
	return nil
}
