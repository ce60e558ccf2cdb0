package xdp

import (
	"testing"

	"github.com/fastrpc/fastrpc/afxdp"
	"github.com/fastrpc/fastrpc/internal/lab"
	"github.com/fastrpc/fastrpc/internal/lab/labtest"
)

// A fill ring may refuse frames for an instant, see afxdp.Socket.Fill. They stay with the Link, for the next time.
func TestFillRefused(t *testing.T) {
	const entries, chunk = 64, 2048
	h := labtest.New(t, lab.Config{Queues: 1}).Client()
	umem, err := afxdp.NewUmem(afxdp.UmemConfig{Chunks: 2 * entries, ChunkBytes: chunk})
	must(t, err)
	l := bareLink()
	must(t, h.Do(func() (err error) {
		l.socket, err = afxdp.Open(umem, afxdp.SocketConfig{Ifindex: h.Ifindex, RxEntries: entries, FillEntries: entries})
		return err
	}))
	l.frames = newFrames(0, 11, 11, 2*entries) // the half of them fits
	l.depth = entries
	l.fill()
	if l.filled != entries || len(l.frames.reserve) != 0 {
		t.Fatalf("%d frames are filled, %d in reserve; want %d and none", l.filled, len(l.frames.reserve), entries)
	}
	received := []uint32{7, 9} // as it looks while the kernel has published packets, and not yet their slots
	l.filled -= len(received)
	for _, id := range received {
		l.frames.move(id, ownedReceive, ownedCaller)
		l.frames.free(id)
	}
	l.fill()
	if l.filled != entries-2 || len(l.frames.reserve) != 2 {
		t.Errorf("%d frames are filled, %d in reserve; want %d and 2", l.filled, len(l.frames.reserve), entries-2)
	}
	must(t, l.socket.Close())
	must(t, umem.Close())
}
