package wire

import (
	"bytes"
	"testing"
)

func TestCutMetadata(t *testing.T) {
	for _, c := range []struct {
		name, message string
		body, block   string
		ok            bool
	}{
		{"both", "abc\x01k\x02\x00\x00\x00", "abc", "\x01k", true},
		{"no body", "\x01k\x02\x00\x00\x00", "", "\x01k", true},
		{"an empty block", "abc\x00\x00\x00\x00", "abc", "", true},
		{"nothing", "", "", "", false},
		{"too short for a length", "abc", "abc", "", false},
		{"longer than the message", "abc\x04\x00\x00\x00", "abc\x04\x00\x00\x00", "", false},
		{"longer than any message", "abc\xff\xff\xff\xff", "abc\xff\xff\xff\xff", "", false},
	} {
		body, block, ok := CutMetadata([]byte(c.message))
		if string(body) != c.body || string(block) != c.block || ok != c.ok {
			t.Errorf("%s: %q, %q, %v", c.name, body, block, ok)
		}
	}
}

// FuzzCutMetadata checks that what was put together comes apart, and that nothing that can be cut is changed by it.
func FuzzCutMetadata(f *testing.F) {
	f.Add([]byte("abc\x01k\x02\x00\x00\x00"), []byte("k"))
	f.Fuzz(func(t *testing.T, message, block []byte) {
		if body, got, ok := CutMetadata(AppendMetadata(bytes.Clone(message), block)); !ok || !bytes.Equal(body, message) || !bytes.Equal(got, block) {
			t.Fatalf("%x and %x came apart as %x and %x", message, block, body, got)
		}
		if body, got, ok := CutMetadata(message); ok && !bytes.Equal(AppendMetadata(bytes.Clone(body), got), message) {
			t.Fatalf("%x came apart as %x and %x", message, body, got)
		}
	})
}
