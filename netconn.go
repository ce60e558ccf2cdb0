package fastrpc

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// DialConn opens a stream as a net.Conn, for code that knows nothing else, to a method that Server.ListenConn serves. ctx bounds the connection's life,
// not only its beginning. Bytes are copied twice more on their way than messages are, and handed from one goroutine to another.
//
// Close tells the other end that no more comes; it reads all that was written before. What it writes after that is lost. Close does not wait
// for any of it.
func (m *Method) DialConn(ctx context.Context, opts ...CallOption) (net.Conn, error) {
	st, err := m.Stream(ctx, opts...)
	if err != nil {
		return nil, err
	}
	c, inner := newConn(connAddr{"client of " + m.name}, connAddr{m.client.Remote().String()})
	go func() {
		if pumpOut(inner, st.Send) != nil {
			st.Close()
		}
		_ = st.CloseSend() // a stream that is over needs none
	}()
	go func() {
		if c.pumpIn(inner, st.Receive) {
			st.Close() // nobody reads any more
		}
	}()
	return c, nil
}

// ListenConn accepts the streams of a method as net.Conns. It panics when the method has a handler for streams. The listener's Close refuses those to
// come, with Unavailable; connections go on until they are closed.
func (s *Server) ListenConn(name string) net.Listener {
	l := &connListener{name: name, accept: make(chan net.Conn), closed: make(chan struct{})}
	s.HandleStream(name, l.serve)
	return l
}

type connListener struct {
	name    string
	accept  chan net.Conn
	closing sync.Once
	closed  chan struct{}
}

// serve is a stream's handler: it returns when the connection is closed.
func (l *connListener) serve(st *ServerStream) error {
	c, inner := newConn(connAddr{l.name}, connAddr{st.Peer().String()})
	select {
	case l.accept <- c:
	case <-l.closed:
		return Errorf(Unavailable, "nobody accepts connections to %q any more", l.name)
	case <-st.Context().Done():
		return st.Context().Err()
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		c.pumpIn(inner, st.Receive)
	}()
	err := pumpOut(inner, st.Send)
	st.s.Flush()
	st.CloseReceive()
	<-read
	return err
}

func (l *connListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.accept:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *connListener) Close() error {
	l.closing.Do(func() { close(l.closed) })
	return nil
}

func (l *connListener) Addr() net.Addr { return connAddr{l.name} }

// streamConn is the user's end of a pipe, which has what net.Conn asks for: deadlines, and calls from several goroutines.
type streamConn struct {
	net.Conn
	local, remote connAddr
	failed        atomic.Pointer[error] // why nothing more comes, where that is no orderly end
}

func newConn(local, remote connAddr) (c *streamConn, inner net.Conn) {
	user, inner := net.Pipe()
	return &streamConn{Conn: user, local: local, remote: remote}, inner
}

func (c *streamConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if failed := c.failed.Load(); err == io.EOF && failed != nil {
		err = *failed
	}
	return n, err
}

func (c *streamConn) LocalAddr() net.Addr  { return c.local }
func (c *streamConn) RemoteAddr() net.Addr { return c.remote }

// connAddr is an end of a stream: a method's name, or a host's address.
type connAddr struct{ name string }

func (connAddr) Network() string  { return "fastrpc" }
func (a connAddr) String() string { return a.name }

// pumpIn hands what comes to the user; it returns true when more came than he reads.
func (c *streamConn) pumpIn(inner net.Conn, receive func() (Message, error)) (unread bool) {
	defer inner.Close()
	for {
		m, err := receive()
		if err != nil {
			if err != io.EOF {
				c.failed.Store(&err)
			}
			return false
		}
		_, err = inner.Write(m.Body())
		m.Release()
		if err != nil {
			return true
		}
	}
}

// connBuffer is how much is sent at once, bytes: some packets, so that a stream's window of messages is filled.
const connBuffer = 16 << 10

// pumpOut sends what the user writes, until he closes.
func pumpOut(inner net.Conn, send func([]byte) error) error {
	buf := make([]byte, connBuffer)
	for {
		n, err := inner.Read(buf)
		if n > 0 {
			if err := send(buf[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
