package fastgrpc

import (
	"iter"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/mem"

	"github.com/fastrpc/fastrpc"
)

// received is a message that came: a lease on the frames that it lies in.
type received interface {
	Body() []byte
	Frames() iter.Seq[[]byte]
	Release()
}

// requestBody is a unary request as such: what it lies in is not the handler's any more when that has returned, whoever still reads it.
type requestBody struct{ *fastrpc.Request }

// Release does nothing: the request is released with the reply.
func (requestBody) Release() {}

func (requestBody) borrowed() {}

// streamedRequest is a message of a client's stream, which is as little the handler's once that has returned.
type streamedRequest struct{ fastrpc.Message }

func (streamedRequest) borrowed() {}

// buffers makes a message gRPC's. The frames are handed over as they are, and given back when nobody refers to them any more. gRPC counts no
// references to small buffers; those pieces are copied, and so is a request.
func buffers[M received](m M) mem.BufferSlice {
	_, borrowed := any(m).(interface{ borrowed() })
	var data mem.BufferSlice
	l := &lease{release: m.Release}
	l.held.Store(1)
	for piece := range m.Frames() {
		if borrowed || mem.IsBelowBufferPoolingThreshold(cap(piece)) {
			data = append(data, mem.Copy(piece, mem.DefaultBufferPool()))
			continue
		}
		l.held.Add(1)
		data = append(data, mem.NewBuffer(&piece, l))
	}
	l.Put(nil)
	return data
}

// lease is the pool that the pieces of a message return to.
type lease struct {
	held    atomic.Int32
	release func()
}

// Get implements mem.BufferPool; nobody asks this pool for memory.
func (l *lease) Get(n int) *[]byte {
	b := make([]byte, n)
	return &b
}

// Put implements mem.BufferPool.
func (l *lease) Put(*[]byte) {
	if l.held.Add(-1) == 0 {
		l.release()
	}
}

// scratch is memory to write a message in that is sent, and copied, at once. gRPC's pool would clear it each time.
var scratches = sync.Pool{New: func() any { return new([]byte) }}

func scratch(n int) *[]byte {
	b := scratches.Get().(*[]byte)
	if cap(*b) < n {
		*b = make([]byte, max(n, leastScratch))
	}
	*b = (*b)[:n]
	return b
}

const (
	leastScratch = 2 << 10 // a message of one packet
	mostScratch  = 1 << 20 // what is kept
)

func giveBack(b *[]byte) {
	if cap(*b) <= mostScratch {
		scratches.Put(b)
	}
}
