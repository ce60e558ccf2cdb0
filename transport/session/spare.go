package session

// buffers keeps the memory of long messages for the next ones: to take eight fresh megabytes from the system, page by page and zeroed, costs as
// much as to receive them. What is not used for spareSweeps is given up.
type buffers []spareBuffer

type spareBuffer struct {
	data   []byte
	unused uint8 // sweeps since
}

const (
	spareSweeps      = 8        // a second or two
	spareBuffers     = 4        // as many transfers at once go on without the system
	spareBufferLeast = 64 << 10 // bytes: a smaller one is cheap
)

// take returns n bytes, which may hold anything.
func (bs *buffers) take(n uint32) []byte {
	for i := range *bs {
		if b := (*bs)[i].data; cap(b) >= int(n) && cap(b)/2 <= int(n) {
			last := len(*bs) - 1
			(*bs)[i] = (*bs)[last]
			(*bs)[last] = spareBuffer{}
			*bs = (*bs)[:last]
			return b[:n]
		}
	}
	return make([]byte, n)
}

// put keeps a buffer that nobody reads any more, unless it is small or there are enough.
func (bs *buffers) put(b []byte) {
	if cap(b) >= spareBufferLeast && len(*bs) < spareBuffers {
		*bs = append(*bs, spareBuffer{data: b})
	}
}

// age gives up what has not been used for a while.
func (bs *buffers) age() {
	kept := (*bs)[:0]
	for _, b := range *bs {
		if b.unused++; b.unused < spareSweeps {
			kept = append(kept, b)
		}
	}
	clear((*bs)[len(kept):])
	*bs = kept
}
