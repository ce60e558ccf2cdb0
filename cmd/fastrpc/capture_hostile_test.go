package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/lab"
	"github.com/fastrpc/fastrpc/internal/lab/labtest"
)

const (
	hostileControl = 4096     // bytes of a queue's control, before its ring
	hostileRing    = 64 << 10 // bytes of the ring
)

// pretend answers as a process does that has an interface of the host open, but with a reply and memory of the test's choice. Then it does
// what the test wants, and hangs up.
func pretend(t *testing.T, h lab.Host, reply string, then func(rings, positions []byte)) {
	t.Helper()
	var fd int
	if err := h.Do(func() (err error) {
		if fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		if err = unix.Bind(fd, &unix.SockaddrUnix{Name: fmt.Sprintf("@fastrpc/tap/%d/0123456789abcdef", h.Ifindex)}); err != nil {
			return err
		}
		return unix.Listen(fd, 1)
	}); err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	t.Cleanup(func() {
		_ = unix.Shutdown(fd, unix.SHUT_RDWR)
		<-over
		_ = unix.Close(fd)
	})
	go func() {
		defer close(over)
		who, _, err := unix.Accept(fd)
		if err != nil {
			return
		}
		defer unix.Close(who)
		var request [1 << 10]byte
		if _, err := unix.Read(who, request[:]); err != nil {
			t.Error(err)
			return
		}
		rings, ringsFd := shared(t, hostileControl+hostileRing)
		positions, positionsFd := shared(t, 64)
		defer unix.Munmap(rings)
		defer unix.Munmap(positions)
		defer unix.Close(ringsFd)
		defer unix.Close(positionsFd)
		if err := unix.Sendmsg(who, []byte(reply), unix.UnixRights(ringsFd, positionsFd), nil, 0); err != nil {
			t.Error(err)
			return
		}
		then(rings, positions)
	}()
}

const hostileCapture = `{"version": 1, "program": "pretender", "queues": [{"number": 0, "name": "queue 0"}], "ringBytes": 65536}`

// shared makes memory that cannot shrink.
func shared(t *testing.T, bytes int) (mapping []byte, fd int) {
	t.Helper()
	fd, err := unix.MemfdCreate("pretended", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err == nil {
		err = unix.Ftruncate(fd, int64(bytes))
	}
	if err == nil {
		mapping, err = unix.Mmap(fd, 0, bytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK)
	}
	if err != nil {
		t.Error(err)
	}
	return mapping, fd
}

// captureUntil captures on a host until the capture has said something, and returns all that it said.
func captureUntil(t *testing.T, h lab.Host, said string) string {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	log := &listener{said: said, heard: stop}
	if err := h.Do(func() error {
		if code := run(ctx, []string{"capture", h.Interface}, strings.NewReader(""), io.Discard, log); code != exitOK {
			return exitError(code)
		}
		return nil
	}); err != nil {
		t.Errorf("%v; it said %q", err, log.String())
	}
	return log.String()
}

// listener tells when something was written.
type listener struct {
	strings.Builder
	said  string
	heard func()
}

func (l *listener) Write(p []byte) (int, error) {
	n, err := l.Builder.Write(p)
	if strings.Contains(l.String(), l.said) {
		l.heard()
	}
	return n, err
}

// A process that corrupts its ring and ends at once is given up, with a word about it.
func TestCaptureOfCorruptRing(t *testing.T) {
	h := labtest.New(t, lab.Config{Queues: 1}).Server()
	pretend(t, h, hostileCapture, func(rings, _ []byte) {
		binary.NativeEndian.PutUint64(rings, 5) // the head: no record ends there
	})
	if said := captureUntil(t, h, "corrupt"); !strings.Contains(said, "pretender") || !strings.Contains(said, "memory of the capture is corrupt") {
		t.Errorf("it said %q", said)
	}
}

// A process that writes old packets for as long as anybody reads them keeps no capture from ending.
func TestCaptureOfEndlessRing(t *testing.T) {
	h := labtest.New(t, lab.Config{Queues: 1}).Server()
	ctx, stop := context.WithCancel(t.Context())
	var ended atomic.Bool
	pretend(t, h, hostileCapture, func(rings, positions []byte) {
		head, tail := (*atomic.Uint64)(unsafe.Pointer(&rings[0])), (*atomic.Uint64)(unsafe.Pointer(&positions[0]))
		for !ended.Load() { // all of the memory is records of nothing, from 1970
			if at := tail.Load(); at > 10*hostileRing {
				stop()
			}
			head.Store(tail.Load() + hostileRing)
		}
	})
	defer ended.Store(true)
	if code, _, errOut := fastOn(ctx, h, "capture", h.Interface, "-w", "/dev/null"); code != exitOK {
		t.Errorf("exit code %d, error %q", code, errOut)
	}
}

// What a process says of itself reaches a terminal without control characters.
func TestTerminalIsSafe(t *testing.T) {
	h := labtest.New(t, lab.Config{Queues: 1}).Server()
	pretend(t, h, `{"version": 1, "program": "\u001b[2J", "error": "no \u001b]0;title\u0007"}`, func(_, _ []byte) {})
	if said := captureUntil(t, h, "title"); !strings.Contains(said, "not captured") || strings.ContainsAny(said, "\x1b\x07") {
		t.Errorf("capture: %q", said)
	}

	h = labtest.New(t, lab.Config{Queues: 1}).Server()
	newTapped(t, h, 0, func(<-chan struct{}) []any { return []any{map[string]string{"Mode": "\x1b[2J\n"}} })
	code, out, errOut := fastOn(t.Context(), h, "stats", "--count", "1")
	if code != exitOK || !strings.Contains(out, "?[2J?") || strings.Contains(out, "\x1b") {
		t.Errorf("stats: exit code %d, output %q, error %q", code, out, errOut)
	}
}
