package rdma

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// MaxRegionName is how many bytes the name of a region may have; it has one at least.
const MaxRegionName = 64

// Errors of one-sided operations, for errors.Is. They come within an *OpError, which says of which operation.
var (
	ErrNoRegion  = errors.New("no region of this name is exported")
	ErrStale     = errors.New("the region's lease is over, or it was closed")
	ErrRange     = errors.New("out of the region's range")
	ErrRights    = errors.New("the region is exported without this right")
	ErrForeign   = errors.New("the region was opened over another connection")
	ErrBatchFull = errors.New("the batch is full")
	ErrUnderWay  = errors.New("a batch is under way")
	ErrGone      = errors.New("the other side is gone")
)

// OpError is a one-sided operation that was refused, or failed.
type OpError struct {
	Op     Opcode
	Region string
	Offset int // in the region
	Length int
	Index  int   // in its batch
	Err    error // one of the errors above; of a failed one also a *CompletionError
}

func (e *OpError) Error() string {
	return fmt.Sprintf("rdma: %v of %d bytes at offset %d of region %q: %v", e.Op, e.Length, e.Offset, e.Region, e.Err)
}

func (e *OpError) Unwrap() error { return e.Err }

func (o Opcode) String() string {
	switch o {
	case OpWrite, OpWriteImm:
		return "write"
	case OpSend, OpSendImm:
		return "send"
	case OpRead:
		return "read"
	case OpCompareAndSwap:
		return "compare-and-swap"
	case OpFetchAdd:
		return "fetch-and-add"
	}
	return fmt.Sprintf("opcode %d", uint32(o))
}

// A client opens a region with one message, and the server answers with one; both have a fixed length, and their numbers are little-endian.
//
//	question: magic 2 | version 1 | kind 1 | sequence 4 | name length 1 | 0 7 | name 64
//	answer:   magic 2 | version 1 | kind 1 | sequence 4 | status 4 | rights 4 | address 8 | length 8 | lease 8 | key 4 | 0 4
const (
	regionMagic   = 0x4652
	regionVersion = 1

	kindQuestion = 1
	kindAnswer   = 2

	questionBytes = 16 + MaxRegionName
	answerBytes   = 48
)

// Statuses of an answer.
const (
	regionFound    = 0
	regionNotFound = 1
)

// question asks for a region.
type question struct {
	sequence uint32
	name     string
}

// answer tells of it.
type answer struct {
	sequence uint32
	status   uint32
	rights   Access
	addr     uint64
	length   uint64
	lease    time.Duration // what is left of it
	key      uint32
}

func putHeader(b []byte, kind byte, sequence uint32) {
	clear(b)
	binary.LittleEndian.PutUint16(b, regionMagic)
	b[2], b[3] = regionVersion, kind
	binary.LittleEndian.PutUint32(b[4:], sequence)
}

func header(b []byte, kind byte, size int) (sequence uint32, err error) {
	switch {
	case len(b) != size:
		return 0, fmt.Errorf("rdma: a message about regions has %d bytes, not %d", size, len(b))
	case binary.LittleEndian.Uint16(b) != regionMagic || b[3] != kind:
		return 0, fmt.Errorf("rdma: % x is no message about regions", b[:4])
	case b[2] != regionVersion:
		return 0, fmt.Errorf("rdma: the other side speaks version %d of the messages about regions, not %d", b[2], regionVersion)
	}
	return binary.LittleEndian.Uint32(b[4:]), nil
}

// put writes the question to questionBytes; the name is not too long.
func (q question) put(b []byte) {
	b = b[:questionBytes]
	putHeader(b, kindQuestion, q.sequence)
	b[8] = byte(copy(b[16:], q.name))
}

func parseQuestion(b []byte) (q question, err error) {
	if q.sequence, err = header(b, kindQuestion, questionBytes); err != nil {
		return question{}, err
	}
	n := int(b[8])
	if err := checkName(n); err != nil {
		return question{}, err
	}
	q.name = string(b[16 : 16+n])
	return q, nil
}

func (a answer) put(b []byte) {
	b = b[:answerBytes]
	putHeader(b, kindAnswer, a.sequence)
	le := binary.LittleEndian
	le.PutUint32(b[8:], a.status)
	le.PutUint32(b[12:], uint32(a.rights))
	le.PutUint64(b[16:], a.addr)
	le.PutUint64(b[24:], a.length)
	le.PutUint64(b[32:], uint64(a.lease))
	le.PutUint32(b[40:], a.key)
}

func parseAnswer(b []byte) (a answer, err error) {
	if a.sequence, err = header(b, kindAnswer, answerBytes); err != nil {
		return answer{}, err
	}
	le := binary.LittleEndian
	a.status, a.rights = le.Uint32(b[8:]), Access(le.Uint32(b[12:]))
	a.addr, a.length, a.lease, a.key = le.Uint64(b[16:]), le.Uint64(b[24:]), time.Duration(le.Uint64(b[32:])), le.Uint32(b[40:])
	if a.status != regionFound {
		return a, nil
	}
	if a.length == 0 || a.length > maxRegionBytes || a.addr+a.length < a.addr || a.lease < 0 || a.rights&^remoteRights != 0 {
		return answer{}, fmt.Errorf("rdma: a region of %d bytes at %#x with rights %#x and a lease of %v cannot be", a.length, a.addr, int(a.rights), a.lease)
	}
	return a, nil
}

// maxRegionBytes keeps offsets within an int, and sums of two of them.
const maxRegionBytes = 1 << 62

// remoteRights are those that a region can be exported with.
const remoteRights = RemoteRead | RemoteWrite | RemoteAtomic

func checkName(n int) error {
	if n < 1 || n > MaxRegionName {
		return fmt.Errorf("rdma: the name of a region has 1 to %d bytes, not %d", MaxRegionName, n)
	}
	return nil
}
