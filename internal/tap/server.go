package tap

import (
	"errors"
	"fmt"
	"io"
	"math/bits"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	maxConns    = 16                    // at once, so many threads may wait for requests
	maxSnap     = minRing - recordBytes // what a record can say, and any ring can hold
	sendTimeout = 2 * time.Second       // one who does not read its answers is given up
)

// Config says what a Server shows.
type Config struct {
	Ifindex int // of the interface, in the calling thread's network namespace
	Queues  []Queue

	// Stats returns what to tell of statistics, parts that can be marshalled to JSON, 64 KiB each at most. It may block, until stop is closed;
	// there is one call at a time.
	Stats func(stop <-chan struct{}) []any
}

// Queue is one of the interface's, as this process has it.
type Queue struct {
	Number int    `json:"number"` // the interface's
	Name   string `json:"name"`   // for people
	Point  *Point `json:"-"`
}

// Server serves those who look. One goroutine waits for them, and one for each of them.
type Server struct {
	config Config
	listen conn
	stop   chan struct{}
	done   sync.WaitGroup
	stats  sync.Mutex // held over Config.Stats

	mu     sync.Mutex
	closed bool
	conns  map[conn]bool
}

// Listen starts a Server for an interface of the calling thread's network namespace, which must stay that of the thread during the call.
func Listen(c Config) (*Server, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("tap: socket: %w", err)
	}
	s := &Server{config: c, listen: conn{fd}, stop: make(chan struct{}), conns: map[conn]bool{}}
	// A pid would not do for the name: processes of several pid namespaces can be in one network namespace.
	err = unix.Bind(fd, &unix.SockaddrUnix{Name: fmt.Sprintf("%s%d/%016x", namePrefix, c.Ifindex, rand.Uint64())})
	if err == nil {
		err = unix.Listen(fd, maxConns)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("tap: listening: %w", err), unix.Close(fd))
	}
	s.done.Go(s.accept)
	return s, nil
}

// Close ends all captures and waits until nobody uses the Points or Config.Stats any more. On a nil Server, and the second time, it does
// nothing.
func (s *Server) Close() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.stop)
	s.listen.hangUp()
	for c := range s.conns {
		c.hangUp()
	}
	s.mu.Unlock()
	s.done.Wait()
	return unix.Close(s.listen.fd)
}

// accept waits for those who look.
func (s *Server) accept() {
	for {
		fd, _, err := unix.Accept4(s.listen.fd, unix.SOCK_CLOEXEC)
		if err == unix.EINTR || err == unix.ECONNABORTED {
			continue
		}
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			if err == nil {
				_ = unix.Close(fd)
			}
			return
		}
		c := conn{fd}
		switch {
		case err != nil: // out of descriptors or memory, which others may give back
			s.mu.Unlock()
			select {
			case <-s.stop:
			case <-time.After(100 * time.Millisecond):
			}
			continue
		case !s.mayLook(c): // at once, so that it takes nobody's place
			_ = unix.Close(fd)
		case len(s.conns) == maxConns:
			_ = unix.Close(fd)
		default:
			s.conns[c] = true
			s.done.Go(func() { s.serve(c) })
		}
		s.mu.Unlock()
	}
}

// mayLook tells whether somebody may look at the process, and him if he may not.
func (s *Server) mayLook(c conn) bool {
	who, err := c.peer()
	if err == nil && who.Uid != 0 && int(who.Uid) != os.Geteuid() {
		s.refuse(c, fmt.Errorf("only root and user %d, whose process this is, may look at its packets", os.Geteuid()))
		return false
	}
	return err == nil
}

// serve answers one who looks, until it hangs up.
func (s *Server) serve(c conn) {
	defer func() {
		s.mu.Lock()
		delete(s.conns, c)
		_ = unix.Close(c.fd)
		s.mu.Unlock()
	}()
	if c.limit(sendTimeout, unix.SO_SNDTIMEO) != nil {
		return
	}
	for {
		var q request
		fds, err := c.receive(&q)
		_ = closeAll(fds) // it sends none
		if err != nil {
			if err != io.EOF {
				s.refuse(c, err)
			}
			return
		}
		switch {
		case q.Version != version:
			err = fmt.Errorf("this process speaks version %d of the protocol, not %d; use its own release of 'fastrpc'", version, q.Version)
		case q.Op == opCapture:
			s.capture(c, &q)
			return
		case q.Op == opStats:
			err = s.sendStats(c)
		default:
			err = fmt.Errorf("no such operation: %q", q.Op)
		}
		if err != nil {
			s.refuse(c, err)
			return
		}
	}
}

func (s *Server) refuse(c conn, err error) { _ = c.send(reply{Version: version, Error: err.Error()}) }

func (s *Server) sendStats(c conn) error {
	s.stats.Lock()
	parts := s.config.Stats(s.stop)
	s.stats.Unlock()
	err := c.send(reply{Version: version, Program: program(), Parts: len(parts)})
	for i := 0; err == nil && i < len(parts); i++ {
		err = c.send(parts[i])
	}
	return err
}

// capture shows packets until the one who looks hangs up.
func (s *Server) capture(c conn, q *request) {
	size := minRing
	if q.Bytes > minRing {
		size = 1 << bits.Len(uint(min(q.Bytes, MaxBytes)-1))
	}
	queues := s.config.Queues
	if total := size * len(queues); total > maxRings {
		s.refuse(c, fmt.Errorf("%d queues with buffers of %d KiB take more than the %d MiB that a capture may take of a process; ask for smaller ones",
			len(queues), size>>10, maxRings>>20))
		return
	}
	m, fds, err := makeMemory(len(queues), size)
	if err != nil {
		s.refuse(c, err)
		return
	}
	defer func() { _ = m.unmap() }()
	snap := uint32(maxSnap)
	if q.Snap > 0 {
		snap = uint32(min(q.Snap, maxSnap))
	}
	base, rings := wallClock(), make([]*ring, len(queues))
	for i := range queues {
		rings[i] = &ring{data: m.data(i), control: m.control(i), reader: m.position(i), base: base, snap: snap}
		queues[i].Point.add(rings[i])
	}
	err = c.send(reply{Version: version, Program: program(), Queues: queues, RingBytes: size}, fds[:]...)
	err = errors.Join(err, closeAll(fds[:]))
	for err == nil { // nothing more is said; it ends with the connection
		var rest request
		var more []int
		more, err = c.receive(&rest)
		_ = closeAll(more)
	}
	for i := range queues {
		queues[i].Point.remove(rings[i])
		rings[i].close()
	}
}

// wallClock is the wall clock's time at the stamps' 0, ns since 1970. time.Now reads that clock first and the other right after; of a few
// readings the one with the least between them is the largest.
func wallClock() (base int64) {
	for range 8 {
		t := time.Now()
		base = max(base, t.UnixNano()-int64(t.Sub(clock)))
	}
	return base
}

func program() string { return filepath.Base(os.Args[0]) }
