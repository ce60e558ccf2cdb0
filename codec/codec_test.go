package codec_test

import (
	"errors"
	"testing"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/fastrpc/fastrpc/codec"
)

// vt has what vtprotobuf generates, and nothing of protobuf's own.
type vt struct{ b []byte }

func (m *vt) SizeVT() int { return len(m.b) }
func (m *vt) MarshalToSizedBufferVT(b []byte) (int, error) {
	if string(m.b) == "fails" {
		return 0, errors.New("it fails")
	}
	return copy(b, m.b), nil
}
func (m *vt) UnmarshalVT(b []byte) error { m.b = append(m.b, b...); return nil }
func (m *vt) Reset()                     { m.b = nil }

func TestVT(t *testing.T) {
	frame := make([]byte, 3, 100)
	copy(frame, "at:")
	b, err := codec.Proto{}.Append(frame, &vt{[]byte("abc")})
	if err != nil || string(b) != "at:abc" || &b[0] != &frame[0] {
		t.Errorf("%q, %v; in place: %v", b, err, &b[0] == &frame[0])
	}
	got := &vt{[]byte("old")}
	if err := (codec.Proto{}).Unmarshal([]byte("new"), got); err != nil || string(got.b) != "new" {
		t.Errorf("%q, %v", got.b, err)
	}
	if _, err := (codec.Proto{}).Append(nil, &vt{[]byte("fails")}); err == nil {
		t.Error("an error was lost")
	}
}

func TestCodecs(t *testing.T) {
	n := wrapperspb.Int64(7)
	raw := []byte("raw")
	m := map[string]int{"a": 1}
	for _, c := range []struct {
		codec interface {
			Name() string
			Append(b []byte, v any) ([]byte, error)
			Unmarshal(b []byte, v any) error
		}
		name, bytes string
		v, wrong    any
		back        func() (v any, ok func() bool)
	}{
		{codec.Proto{}, "proto", "\x08\x07", n, 1, func() (any, func() bool) {
			v := &wrapperspb.Int64Value{}
			return v, func() bool { return v.Value == 7 }
		}},
		{codec.JSON{}, "json", `"7"`, n, make(chan int), func() (any, func() bool) {
			v := &wrapperspb.Int64Value{}
			return v, func() bool { return v.Value == 7 }
		}},
		{codec.JSON{}, "json", `{"a":1}`, &m, make(chan int), func() (any, func() bool) {
			v := map[string]int{}
			return &v, func() bool { return v["a"] == 1 }
		}},
		{codec.Raw{}, "raw", "raw", &raw, "raw", func() (any, func() bool) {
			v := []byte("longer than that")
			return &v, func() bool { return string(v) == "raw" }
		}},
	} {
		b, err := c.codec.Append([]byte("-"), c.v)
		if err != nil || string(b) != "-"+c.bytes || c.codec.Name() != c.name {
			t.Errorf("%s: %q, %v", c.codec.Name(), b, err)
			continue
		}
		v, ok := c.back()
		if err := c.codec.Unmarshal(b[1:], v); err != nil || !ok() {
			t.Errorf("%s: %v, %v", c.name, v, err)
		}
		if _, err := c.codec.Append(nil, c.wrong); err == nil {
			t.Errorf("%s encodes a %T", c.name, c.wrong)
		}
		if err := c.codec.Unmarshal([]byte("\xff\xff"), v); err == nil && c.name != "raw" {
			t.Errorf("%s takes anything", c.name)
		}
		if err := c.codec.Unmarshal(b[1:], c.wrong); err == nil {
			t.Errorf("%s decodes into a %T", c.name, c.wrong)
		}
	}
}
