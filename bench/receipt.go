package bench

import (
	"encoding/binary"
	"time"
)

// ReceiptBytes is the length of a receipt.
const ReceiptBytes = 24

// AppendReceipt appends to b the receipt for a message of at least 8 bytes: its length, its first 8 bytes and its last 8. Every message
// bears its number at both ends.
func AppendReceipt(b, message []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(len(message)))
	b = append(b, message[:8]...)
	return append(b, message[len(message)-8:]...)
}

// Receipted tells whether a server answers a payload of that length with its receipt; else it sends the payload back.
func (e *Endpoint) Receipted(length int) bool {
	switch e.Workload {
	case Bulk, Incast:
		return true
	case Mixed:
		return length > MaxSize
	}
	return false
}

// Verify compares what came back with what the server has to answer to a payload; what differs is [ErrEcho].
func (e *Endpoint) Verify(got, payload []byte) error {
	if !e.Receipted(len(payload)) {
		return verify(got, payload)
	}
	var want [ReceiptBytes]byte
	return verify(got, AppendReceipt(want[:0], payload))
}

// Longest is the longest payload of the workload, bytes.
func (e *Endpoint) Longest() int {
	if e.Workload == Mixed {
		return max(e.Size, mixedBulk)
	}
	return e.Size
}

// number writes n into the payload, so that the answer to another call is not taken for this one's; into one that is long enough for a
// receipt, at both ends.
func number(payload []byte, n uint64) {
	if len(payload) >= MinBulk {
		binary.LittleEndian.PutUint64(payload[len(payload)-8:], n)
		binary.LittleEndian.PutUint64(payload, n)
		return
	}
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], n)
	copy(payload, b[:])
}

// slowestBytes is the least that long messages may bring, bytes a second; one that takes longer counts as lost.
const slowestBytes = 20 << 20

// callLimit is when a call counts as lost.
func (e *Endpoint) callLimit() time.Duration {
	if e.Longest() <= MaxSize {
		return callLimit
	}
	return callLimit + time.Duration(e.calls()*e.Longest()/slowestBytes+1)*time.Second
}
