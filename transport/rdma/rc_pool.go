//go:build rdma

package rdma

import (
	"errors"
	"unsafe"

	verbs "github.com/fastrpc/fastrpc/rdma"
)

// The memory for parts of long messages that are read instead of sent; see transport.Fetcher. It is taken with the first message that is long
// enough, by a goroutine, for it takes long to pin; until then, and where there is none, messages go in packets.
const (
	windows     = 32        // parts that a Link exposes at once
	windowBytes = 128 << 10 // of each at most: so much is copied at a time while small calls wait
	fetchBytes  = 32 << 20  // for messages that are fetched
	fetchUnit   = 64 << 10  // it is given out in
)

// pool is that memory. It belongs to the Link's owner, but for the windows of a connection that ends: see RC.unbind.
type pool struct {
	mem     *verbs.Memory
	mr      *verbs.MR
	windows []window
	free    int    // windows
	taken   []bool // units of the rest
}

// window is a place of windowBytes that one peer may read while it is bound.
type window struct {
	mw    *verbs.MW // nil: none could be made
	conn  *conn     // whose queue pair it is bound to, or was
	state windowState
	given bool // nobody needs it any more, once it is not bound
}

type windowState uint8

const (
	windowFree windowState = iota
	windowBound
	windowEnding // its invalidation is under way
	windowVoid   // its queue pair is no more
)

func (l *RC) makePool() (p *pool, err error) {
	p = &pool{windows: make([]window, windows), free: windows, taken: make([]bool, fetchBytes/fetchUnit)}
	defer func() {
		if err != nil {
			_ = p.close()
		}
	}()
	if p.mem, err = verbs.Map(windows*windowBytes + fetchBytes); err != nil {
		return nil, err
	}
	if p.mr, err = l.pd.Register(p.mem.Bytes(), verbs.LocalWrite|verbs.WindowBind); err != nil {
		return nil, err
	}
	for i := range p.windows {
		if p.windows[i].mw, err = l.pd.AllocMW(); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *pool) close() error {
	var errs []error
	for i := range p.windows {
		if mw := p.windows[i].mw; mw != nil {
			errs = append(errs, mw.Close())
		}
	}
	if p.mr != nil {
		errs = append(errs, p.mr.Close())
	}
	if p.mem != nil {
		errs = append(errs, p.mem.Close())
	}
	return errors.Join(errs...)
}

// memory returns the pool, and has it made when it is asked for first.
func (l *RC) memory() *pool {
	if p := l.pool.Load(); p != nil || l.pooling || l.closed.Load() {
		return p
	}
	l.pooling = true
	l.lives.Go(func() {
		if p, err := l.makePool(); err == nil {
			l.pool.Store(p)
		} else {
			l.unpooled.Store(&err)
		}
	})
	return nil
}

// of are the windows that are bound to c's queue pair, which must not end before them (InfiniBand specification, 10.10.9; soft-RoCE's queue pair
// waits for them in vain).
func (p *pool) of(c *conn) (ws []*window) {
	if p == nil {
		return nil
	}
	for i := range p.windows {
		if w := &p.windows[i]; w.conn == c {
			ws = append(ws, w)
		}
	}
	return ws
}

// unbind frees the windows of a connection's queue pair, in its goroutine, and makes others for them.
func (l *RC) unbind(ws []*window) {
	for _, w := range ws {
		_ = w.mw.Close()
		w.mw, _ = l.pd.AllocMW()
	}
}

// void notes that the queue pair of windows is no more.
func (p *pool) void(ws []*window) {
	for _, w := range ws {
		w.conn, w.state = nil, windowVoid
		p.release(w)
	}
}

// release makes a window that is not bound free, once nobody needs it.
func (p *pool) release(w *window) {
	if w.given && w.state == windowVoid && w.mw != nil {
		w.state, w.given = windowFree, false
		p.free++
	}
}

// take finds n bytes for messages that are fetched, the first that are free.
func (p *pool) take(n int) []byte {
	units, from := (n+fetchUnit-1)/fetchUnit, 0
	for i, taken := range p.taken {
		switch {
		case taken:
			from = i + 1
		case i+1-from == units:
			for j := from; j <= i; j++ {
				p.taken[j] = true
			}
			at := windows*windowBytes + from*fetchUnit
			return p.mem.Bytes()[at : at+n : at+n]
		}
	}
	return nil
}

func (p *pool) put(b []byte) {
	at := int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))-uintptr(unsafe.Pointer(unsafe.SliceData(p.mem.Bytes()))))/fetchUnit - windows*windowBytes/fetchUnit
	for i := range (len(b) + fetchUnit - 1) / fetchUnit {
		p.taken[at+i] = false
	}
}
