package tcp

import (
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport"
)

// send sends one packet; its frame is free again when the kernel has taken it.
func send(t testing.TB, l *Link, path transport.Path, data string) {
	t.Helper()
	var f transport.Frame
	if !l.Alloc(&f) {
		t.Fatal("no frame")
	}
	f.Data, f.Path = f.Data[:copy(f.Data, data)], path
	if n, err := l.Send([]transport.Frame{f}); n != 1 || err != nil {
		t.Fatalf("Send = %d, %v", n, err)
	}
	await(t, l, func() bool {
		if err := l.Flush(); err != nil {
			t.Fatal(err)
		}
		fs := make([]transport.Frame, 1)
		done := l.Completed(fs)
		l.Free(fs[:done])
		return done == 1
	})
}

// await waits until done, which is asked after each Wait of l's.
func await(t testing.TB, l *Link, done func() bool) {
	t.Helper()
	for end := transport.Now().Add(20 * time.Second); transport.Now() < end; {
		if done() {
			return
		}
		if err := l.Wait(min(end, transport.Now().Add(10*time.Millisecond))); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("it did not happen")
}

// awaitPacket receives one packet; the caller frees it.
func awaitPacket(t testing.TB, l *Link) (f transport.Frame) {
	t.Helper()
	await(t, l, func() bool {
		fs := make([]transport.Frame, 1)
		n, err := l.Recv(fs)
		if err != nil {
			t.Fatal(err)
		}
		f = fs[0]
		return n == 1
	})
	return f
}

func freeOne(l *Link, f transport.Frame) { l.Free([]transport.Frame{f}) }

// awaitEvent runs l until it tells of something of a kind.
func awaitEvent(t testing.TB, l *Link, kind transport.EventKind) (ev transport.Event) {
	t.Helper()
	await(t, l, func() bool {
		if fs := make([]transport.Frame, 4); true {
			n, err := l.Recv(fs)
			if err != nil {
				t.Fatal(err)
			}
			l.Free(fs[:n])
		}
		es := make([]transport.Event, 1)
		for l.Events(es) == 1 {
			if es[0].Kind == kind {
				ev = es[0]
				return true
			}
		}
		return false
	})
	return ev
}
