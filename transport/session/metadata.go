package session

import (
	"encoding/binary"
	"iter"

	"github.com/fastrpc/fastrpc/transport/wire"
)

// MarkMetadata says that the request or reply of this call, which is still to be sent, ends in metadata (wire.AppendMetadata). It may be
// called by whoever has the call.
func (k *Call) MarkMetadata() { k.flags |= wire.FlagMetadata }

// Metadata returns the block that came with the received message, nil where none did; false where it contradicts its length. It is valid as
// long as Body is.
func (k *Call) Metadata() (block []byte, ok bool) {
	if !k.metadata {
		return nil, true
	}
	if l := k.in.long; l == nil || !l.gather {
		_, block, ok = wire.CutMetadata(k.in.body)
		return block, ok
	}
	n, ok := k.in.metadataBytes()
	if !ok {
		return nil, false
	}
	block = k.in.tail(int(n) + wire.MetadataBytes)
	return block[:n:n], true
}

// metadataFits tells whether a whole message's metadata is as long as it says, and not too long. None always fits.
func (k *Call) metadataFits() bool { return !k.metadata || k.metadataError() == nil }

func (k *Call) metadataError() *Error {
	switch block, ok := k.Metadata(); {
	case !ok:
		return errMetadataLength
	case uint64(len(block)) > uint64(k.conn.e.cfg.MaxMetadata):
		return errReplyMetadata
	}
	return nil
}

// metadataBytes reads the metadata's length off the end of a message that lies in pieces; false where it is longer than the message.
func (m *inMessage) metadataBytes() (n uint32, ok bool) {
	total := m.long.total // above MetadataBytes: a message in parts is
	n = binary.LittleEndian.Uint32(m.tail(wire.MetadataBytes))
	return n, n <= total-wire.MetadataBytes
}

// tail copies the last n bytes of a message that lies in pieces.
func (m *inMessage) tail(n int) []byte {
	b := make([]byte, n)
	for i := len(m.long.pieces) - 1; n > 0; i-- {
		p := m.long.pieces[i].data
		p = p[max(len(p)-n, 0):]
		n -= len(p)
		copy(b[n:], p)
	}
	return b
}

// framesBefore yields what stands before the metadata.
func (k *Call) framesBefore() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		l := k.in.long
		if l == nil || !l.gather {
			if b := k.Body(); len(b) > 0 {
				yield(b)
			}
			return
		}
		left := l.total
		if n, ok := k.in.metadataBytes(); ok {
			left -= n + wire.MetadataBytes
		}
		for _, x := range l.pieces {
			if left == 0 {
				return
			}
			p := x.data[:min(uint32(len(x.data)), left)]
			left -= uint32(len(p))
			if !yield(p) {
				return
			}
		}
	}
}
