package fastrpc

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fastrpc/fastrpc/internal/engine"
)

// Metadata is what travels beside messages: a request's header, a reply's header and its trailer. Its rules are gRPC's: keys are lower-case
// letters, digits, '_', '-' and '.', at most 255 bytes; values are printable ASCII, unless the key ends in "-bin", which allows any
// bytes. A key may have several values, whose order is kept. Other keys and values fail the call with Internal, whichever end they come from, and more than the other end
// takes (WithMaxMetadata) with ResourceExhausted. Without metadata a call costs nothing more, in bytes or in time.
type Metadata map[string][]string

// Get returns a key's first value, "" where there is none.
func (m Metadata) Get(key string) string {
	if v := m[strings.ToLower(key)]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// Set replaces a key's values.
func (m Metadata) Set(key string, values ...string) { m[strings.ToLower(key)] = values }

// Add appends values to a key's.
func (m Metadata) Add(key string, values ...string) {
	key = strings.ToLower(key)
	m[key] = append(m[key], values...)
}

// Clone returns a copy that shares nothing.
func (m Metadata) Clone() Metadata {
	c := maps.Clone(m)
	for k, v := range c {
		c[k] = slices.Clone(v)
	}
	return c
}

// join adds what is in more to *m.
func (m *Metadata) join(more Metadata) {
	if *m == nil {
		*m = make(Metadata, len(more))
	}
	for k, v := range more {
		m.Add(k, v...)
	}
}

// A block holds entries: the key's length (1 byte, not 0), the key, the value's length (4 bytes), the value. In the server's last word on a
// call a byte of 0 divides the header's entries from the trailer's.
const (
	entryBytes = 1 + 4
	divider    = 0
)

// appendEntries appends m's entries to a block.
func appendEntries(b []byte, m Metadata) ([]byte, error) {
	for key, values := range m {
		if err := checkKey(key); err != nil {
			return nil, err
		}
		for _, v := range values {
			if !validValue(key, v) {
				return nil, &engine.CallError{Code: engine.Code(Internal), Outcome: engine.NotExecuted,
					Reason: fmt.Sprintf("a value of metadata %q is not printable ASCII: give it a key that ends in -bin", key)}
			}
			b = append(append(b, byte(len(key))), key...)
			b = append(binary.LittleEndian.AppendUint32(b, uint32(len(v))), v...)
		}
	}
	return b, nil
}

func checkKey(key string) error {
	if !validKey(key) {
		return &engine.CallError{Code: engine.Code(Internal), Outcome: engine.NotExecuted,
			Reason: fmt.Sprintf("%q is no key of metadata: 1 to %d lower-case letters, digits, '_', '-' and '.'", key, maxMetadataKey)}
	}
	return nil
}

const maxMetadataKey = 255

func validKey[T string | []byte](key T) bool {
	for i := range len(key) {
		if c := key[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return len(key) > 0 && len(key) <= maxMetadataKey
}

// validValue tells whether a key may have a value: text is printable ASCII, and a key that ends in -bin has bytes.
func validValue[T string | []byte](key, v T) bool {
	const bin = "-bin"
	if n := len(key) - len(bin); n >= 0 && string(key[n:]) == bin {
		return true
	}
	for i := range len(v) {
		if v[i] < 0x20 || v[i] > 0x7e {
			return false
		}
	}
	return true
}

// nextEntry reads the first entry of a block; false where it is cut short, or may not be. At the divider key is empty.
func nextEntry(b []byte) (key, value, rest []byte, ok bool) {
	if b[0] == divider {
		return nil, nil, b[1:], true
	}
	n := int(b[0])
	if len(b) < entryBytes+n {
		return nil, nil, nil, false
	}
	key = b[1 : 1+n]
	length := binary.LittleEndian.Uint32(b[1+n:])
	b = b[entryBytes+n:]
	if uint64(length) > uint64(len(b)) {
		return nil, nil, nil, false
	}
	value, rest = b[:length], b[length:]
	return key, value, rest, validKey(key) && validValue(key, value)
}

// parseBlock reads a block; false where it is malformed.
func parseBlock(b []byte) (header, trailer Metadata, ok bool) {
	into := &header
	for len(b) > 0 {
		key, value, rest, ok := nextEntry(b)
		switch {
		case !ok, len(key) == 0 && into == &trailer:
			return nil, nil, false
		case len(key) == 0:
			into = &trailer
		default:
			if *into == nil {
				*into = Metadata{}
			}
			(*into)[string(key)] = append((*into)[string(key)], string(value))
		}
		b = rest
	}
	return header, trailer, true
}

// soundHeader tells whether a request's block can be parsed: it has no trailer.
func soundHeader(b []byte) bool {
	for len(b) > 0 {
		key, _, rest, ok := nextEntry(b)
		if !ok || len(key) == 0 {
			return false
		}
		b = rest
	}
	return true
}

// headerBlock makes a block of the headers that a call's options give it; nil where they give none.
func headerBlock(opts []CallOption, most int) (block []byte, err error) {
	for i := range opts {
		if opts[i].header == nil {
			continue
		}
		if block == nil {
			block = []byte{}
		}
		if block, err = appendEntries(block, opts[i].header); err != nil {
			return nil, err
		}
	}
	return block, checkBlock(block, most)
}

// endBlock makes the block of a server's last word; nil where it says nothing.
func endBlock(header, trailer Metadata, most int) (block []byte, err error) {
	if len(header) == 0 && len(trailer) == 0 {
		return nil, nil
	}
	if block, err = appendEntries(block, header); err != nil {
		return nil, err
	}
	if len(trailer) > 0 {
		if block, err = appendEntries(append(block, divider), trailer); err != nil {
			return nil, err
		}
	}
	return block, checkBlock(block, most)
}

func checkBlock(block []byte, most int) error {
	if len(block) > most {
		return &engine.CallError{Code: engine.Code(ResourceExhausted), Outcome: engine.NotExecuted,
			Reason: fmt.Sprintf("%d bytes of metadata, where WithMaxMetadata allows %d", len(block), most)}
	}
	return nil
}
