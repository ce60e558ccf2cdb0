package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"
)

func init() { Register(netStream{"net-tcp", listenTCP, dialTCP}) }

// netStream is a stream of the kernel as Go programs write it: net.Conn, io.ReadFull and Write. Each goroutine parks for each message.
type netStream struct {
	name   string
	listen func(*Endpoint) (net.Listener, Ready, error)
	dial   func(context.Context, *Endpoint) (net.Conn, error)
}

func (s netStream) Name() string { return s.name }
func (netStream) Bypass() bool   { return false }
func (s netStream) Has(w string) bool {
	return w != Flood && (w != Loss || s.name != "unix") // nothing is lost where there is no network
}

func listenTCP(e *Endpoint) (net.Listener, Ready, error) {
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(e.Local))
	if err != nil {
		return nil, Ready{}, err
	}
	addr := l.Addr().(*net.TCPAddr).AddrPort()
	return l, Ready{Addr: netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())}, nil
}

func dialTCP(ctx context.Context, e *Endpoint) (net.Conn, error) {
	var d net.Dialer // to bind the endpoint's address, which is the only one, would keep the ports of closing connections from new ones, to wherever
	conn, err := d.DialContext(ctx, "tcp", e.Remote.String())
	if err != nil {
		return nil, err
	}
	if err := conn.(*net.TCPConn).SetNoDelay(true); err != nil { // Go's default already; said aloud
		conn.Close()
		return nil, fmt.Errorf("TCP_NODELAY: %w", err)
	}
	return conn, nil
}

func (s netStream) Serve(ctx context.Context, e Endpoint, ready func(Ready)) error {
	l, r, err := s.listen(&e)
	if err != nil {
		return err
	}
	defer l.Close()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	ready(r)
	for {
		c, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		go answerConn(ctx, c, &e)
	}
}

// answerConn ends when the client closes or ctx does; either is how a run ends, so that there is no error to tell.
func answerConn(ctx context.Context, c net.Conn, e *Endpoint) {
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	size := e.Size
	if e.Workload == Mixed { // the first byte tells one connection from the other
		var kind [1]byte
		if _, err := io.ReadFull(c, kind[:]); err != nil {
			return
		}
		if kind[0] == longMessages {
			size = e.Longest()
		}
	}
	switch {
	case e.Receipted(size):
		sendReceipts(c, size)
	case e.Piped():
		echoBatches(c, size)
	default:
		echoEach(c, size)
	}
}

// What a connection of workload mixed carries.
const shortCalls, longMessages = 0, 1

func echoEach(c net.Conn, size int) {
	buf := make([]byte, size)
	for {
		if _, err := io.ReadFull(c, buf); err != nil {
			return
		}
		if _, err := c.Write(buf); err != nil {
			return
		}
	}
}

// echoBatches sends back in one Write all that one Read brought.
func echoBatches(c net.Conn, size int) {
	r, out := bufio.NewReaderSize(c, batchBytes), make([]byte, 0, batchBytes+size)
	for {
		n := len(out)
		out = out[:n+size]
		if _, err := io.ReadFull(r, out[n:]); err != nil {
			return
		}
		if r.Buffered() >= size && len(out) < batchBytes {
			continue
		}
		if _, err := c.Write(out); err != nil {
			return
		}
		out = out[:0]
	}
}

func sendReceipts(c net.Conn, size int) {
	buf, receipt := make([]byte, size), make([]byte, 0, ReceiptBytes)
	for {
		if _, err := io.ReadFull(c, buf); err != nil {
			return
		}
		if _, err := c.Write(AppendReceipt(receipt, buf)); err != nil {
			return
		}
	}
}

// batchBytes is the most that workload rate writes or reads at once.
const batchBytes = 64 << 10

func (s netStream) Connect(ctx context.Context, e Endpoint) (Caller, error) {
	if e.Outstanding > 1 && !e.Piped() {
		return connectPool(ctx, s, e)
	}
	conn, err := s.dial(ctx, &e)
	if err != nil {
		return nil, err
	}
	c := netCaller{conn: conn, endpoint: e, limit: e.callLimit(), answer: make([]byte, e.Size)}
	if e.Receipted(e.Size) {
		c.answer = c.answer[:ReceiptBytes]
	}
	if e.Workload == Mixed {
		kind := [1]byte{shortCalls}
		if e.Receipted(e.Size) {
			kind[0] = longMessages
		}
		if _, err := conn.Write(kind[:]); err != nil {
			conn.Close()
			return nil, err
		}
	}
	if !e.Piped() {
		return &c, nil
	}
	p := &netPipeline{netCaller: c, payloads: make([][]byte, e.Slots()), bulk: e.Workload == Bulk}
	if p.bulk {
		p.in = bufio.NewReader(conn)
	} else {
		p.in = bufio.NewReaderSize(conn, batchBytes)
		p.out = make([]byte, 0, batchBytes+e.Size)
	}
	return p, nil
}

type netCaller struct {
	conn     net.Conn
	endpoint Endpoint
	answer   []byte
	limit    time.Duration // of a call
	bounded  time.Time     // when the deadline was set
}

func (c *netCaller) Call(payload []byte) error {
	if err := c.bound(); err != nil {
		return err
	}
	if _, err := c.conn.Write(payload); err != nil {
		return err
	}
	if _, err := io.ReadFull(c.conn, c.answer); err != nil {
		return err
	}
	return c.endpoint.Verify(c.answer, payload)
}

// bound bounds the calls that follow: not each anew, which would add a timer's cost to each.
func (c *netCaller) bound() error {
	now := time.Now()
	if now.Sub(c.bounded) < c.limit/2 {
		return nil
	}
	c.bounded = now
	return c.conn.SetDeadline(now.Add(2 * c.limit))
}

func (c *netCaller) Close() error { return c.conn.Close() }

// netPipeline has many messages on one connection: those that begin together are written together, and one Read brings many.
type netPipeline struct {
	netCaller
	in       *bufio.Reader
	out      []byte   // begun and not written
	payloads [][]byte // by slot
	oldest   int      // slot of the next answer: they come in order
	bulk     bool
}

func (c *netPipeline) Begin(slot int, payload []byte) error {
	c.payloads[slot] = payload
	if c.bulk { // long enough by itself
		if err := c.bound(); err != nil {
			return err
		}
		_, err := c.conn.Write(payload)
		return err
	}
	if c.out = append(c.out, payload...); len(c.out) < batchBytes {
		return nil
	}
	return c.flush()
}

func (c *netPipeline) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	if err := c.bound(); err != nil {
		return err
	}
	_, err := c.conn.Write(c.out)
	c.out = c.out[:0]
	return err
}

func (c *netPipeline) Wait(ended []int) (n int, err error) {
	if err := c.flush(); err != nil {
		return 0, err
	}
	for n == 0 || n < len(ended) && c.in.Buffered() >= len(c.answer) {
		if _, err := io.ReadFull(c.in, c.answer); err != nil {
			return 0, err
		}
		if err = c.endpoint.Verify(c.answer, c.payloads[c.oldest]); err != nil {
			return 0, err
		}
		ended[n] = c.oldest
		n++
		c.oldest = (c.oldest + 1) % len(c.payloads)
	}
	return n, nil
}
