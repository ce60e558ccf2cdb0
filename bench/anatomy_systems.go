package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc"
	"github.com/fastrpc/fastrpc/bench/stamp"
)

// stampedSystem gives a system that does what s does and stamps it; false where there is none.
func stampedSystem(s System, side *stamp.Side) (System, bool) {
	switch s := s.(type) {
	case rpc:
		return stampedRPC{s, side}, !s.RDMA() // whose packets pass no driver of the kernel's
	case ring:
		return stampedRing{s, side}, true
	case netStream:
		return stampedCalls{stampedStream(s, side), side}, true
	}
	return nil, false
}

// callOf reads a call's number off its payload.
func callOf(payload []byte) uint32 { return binary.LittleEndian.Uint32(payload) }

// stampedRPC is rpc over a driver that stamps.
type stampedRPC struct {
	rpc
	side *stamp.Side
}

func (s stampedRPC) Serve(ctx context.Context, e Endpoint, ready func(Ready)) error {
	inner, err := s.inner()
	if err != nil {
		return err
	}
	inner.handle = func(srv *fastrpc.Server, method string, h fastrpc.Handler) {
		s.handle(srv, method, func(w *fastrpc.Response, r *fastrpc.Request) error {
			if !s.side.On() {
				return h(w, r)
			}
			number := callOf(r.Body())
			s.side.Add(stamp.HandlerBegun, stamp.Now(), number)
			err := h(w, r)
			s.side.Add(stamp.HandlerEnded, stamp.Now(), number)
			return err
		})
	}
	return inner.Serve(ctx, e, ready)
}

func (s stampedRPC) Connect(ctx context.Context, e Endpoint) (Caller, error) {
	inner, err := s.inner()
	if err != nil {
		return nil, err
	}
	c, err := inner.Connect(ctx, e)
	if err != nil {
		return nil, err
	}
	return stampedRPCCaller{c.(*rpcCaller), s.side}, nil
}

func (s stampedRPC) inner() (inner rpc, err error) {
	inner = s.rpc
	inner.scheme, err = s.side.Scheme(s.scheme)
	return inner, err
}

type stampedRPCCaller struct {
	*rpcCaller
	side *stamp.Side
}

func (c stampedRPCCaller) Call(payload []byte) error {
	if !c.side.On() {
		return c.rpcCaller.Call(payload)
	}
	number := callOf(payload)
	c.side.Add(stamp.CallBegun, stamp.Now(), number)
	reply, err := c.method.Call(context.Background(), payload, c.timeout)
	if err != nil {
		return err
	}
	c.side.Add(stamp.CallReturned, stamp.Now(), number)
	err = c.endpoint.Verify(reply.Body(), payload)
	reply.Release()
	c.side.Add(stamp.CallEnded, stamp.Now(), number)
	return err
}

// stampedRing is ring: one kick a packet, no session. Its handler swaps the addresses.
type stampedRing struct {
	ring
	side *stamp.Side
}

func (s stampedRing) Serve(ctx context.Context, e Endpoint, ready func(Ready)) error {
	r, err := openRing(&e, RingServerPort, echoSize)
	if err != nil {
		return err
	}
	header := floodHeader
	return r.serve(ctx, e, ready, func(stop *atomic.Bool) error {
		if !s.side.On() {
			return r.echo(stop)
		}
		n, err := r.receive(stop, 0)
		if err != nil {
			return err
		}
		at := stamp.Now()
		p := r.umem.Data(r.descs[0])
		if n != 1 || len(p) < header+e.Size {
			return fmt.Errorf("%d packets, the first of %d bytes, for one call", n, len(p))
		}
		number := callOf(p[header:])
		s.side.Packet(stamp.Received, at, e.Size)
		s.side.Add(stamp.HandlerBegun, at, number)
		TurnAround(p)
		at = stamp.Now()
		s.side.Add(stamp.HandlerEnded, at, number)
		if err := r.stampedSend(s.side, at, e.Size, stop); err != nil {
			return err
		}
		done := r.sock.Complete(r.addrs[:])
		r.sock.Fill(r.addrs[:done])
		return r.sock.WakeFill()
	})
}

// stampedSend is send of one packet.
func (s *ringSocket) stampedSend(side *stamp.Side, at int64, size int, stop *atomic.Bool) error {
	side.Packet(stamp.Sent, at, size)
	if s.sock.Transmit(s.descs[:1]) != 1 {
		return errors.New("the TX ring is full")
	}
	side.Packet(stamp.Flushed, stamp.Now(), size)
	return s.kick(stop)
}

func (s stampedRing) Connect(ctx context.Context, e Endpoint) (Caller, error) {
	c, err := s.ring.Connect(ctx, e)
	if err != nil {
		return nil, err
	}
	return stampedRingCaller{c.(*ringCaller), s.side}, nil
}

type stampedRingCaller struct {
	*ringCaller
	side *stamp.Side
}

func (c stampedRingCaller) Call(payload []byte) error {
	if !c.side.On() {
		return c.ringCaller.Call(payload)
	}
	at, number := stamp.Now(), callOf(payload)
	c.side.Add(stamp.CallBegun, at, number)
	if len(c.free) == 0 {
		return errors.New("no chunk to send from: the kernel does not give them back")
	}
	addr := c.free[len(c.free)-1]
	c.free = c.free[:len(c.free)-1]
	copy(c.umem.Chunk(addr)[c.header:], payload)
	c.descs[0] = unix.XDPDesc{Addr: addr, Len: uint32(c.header + c.size)}
	if err := c.stampedSend(c.side, at, c.size, &c.stop); err != nil {
		return err
	}
	done := c.sock.Complete(c.addrs[:]) // while the packet is under way
	c.free = append(c.free, c.addrs[:done]...)

	n, err := c.receive(&c.stop, callLimit)
	if err != nil {
		return err
	}
	at = stamp.Now()
	c.side.Packet(stamp.Received, at, c.size)
	c.side.Add(stamp.CallReturned, at, number)
	if n != 1 {
		return fmt.Errorf("%d packets for one call", n)
	}
	if err := verify(c.payload(c.descs[0]), payload); err != nil {
		return err
	}
	c.addrs[0] = c.descs[0].Addr
	c.sock.Fill(c.addrs[:1])
	err = c.sock.WakeFill()
	c.side.Add(stamp.CallEnded, stamp.Now(), number)
	return err
}

// stampedStream is netStream over connections that stamp.
func stampedStream(s netStream, side *stamp.Side) netStream {
	listen, dial := s.listen, s.dial
	s.listen = func(e *Endpoint) (net.Listener, Ready, error) {
		l, r, err := listen(e)
		return stampedListener{l, side}, r, err
	}
	s.dial = func(ctx context.Context, e *Endpoint) (net.Conn, error) {
		c, err := dial(ctx, e)
		return stampedConn{c, side, stamp.CallReturned, 0}, err
	}
	return s
}

type stampedListener struct {
	net.Listener
	side *stamp.Side
}

func (l stampedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return stampedConn{c, l.side, stamp.HandlerBegun, stamp.HandlerEnded}, err
}

// stampedConn stamps whole messages: the end of Read and the begin of Write, and what else is then.
type stampedConn struct {
	net.Conn
	side        *stamp.Side
	read, write stamp.Kind // write may be 0: stampedCaller stamps
}

func (c stampedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n == len(b) && c.side.On() {
		at := stamp.Now()
		c.side.Packet(stamp.Received, at, n)
		c.side.Add(c.read, at, callOf(b))
	}
	return n, err
}

func (c stampedConn) Write(b []byte) (int, error) {
	if c.side.On() && c.write != 0 {
		at := stamp.Now()
		c.side.Add(c.write, at, callOf(b))
		c.side.Packet(stamp.Sent, at, len(b))
	}
	return c.Conn.Write(b)
}

// stampedCalls is a system of streams whose callers stamp the begin of a call, with which Write begins, and its end.
type stampedCalls struct {
	System
	side *stamp.Side
}

func (s stampedCalls) Connect(ctx context.Context, e Endpoint) (Caller, error) {
	c, err := s.System.Connect(ctx, e)
	return stampedCaller{c, s.side}, err
}

type stampedCaller struct {
	Caller
	side *stamp.Side
}

func (c stampedCaller) Call(payload []byte) error {
	if !c.side.On() {
		return c.Caller.Call(payload)
	}
	at, number := stamp.Now(), callOf(payload)
	c.side.Add(stamp.CallBegun, at, number)
	c.side.Packet(stamp.Sent, at, len(payload))
	err := c.Caller.Call(payload)
	c.side.Add(stamp.CallEnded, stamp.Now(), number)
	return err
}
