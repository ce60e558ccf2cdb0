//go:build rdma

package rdma

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	verbs "github.com/fastrpc/fastrpc/rdma"
	"github.com/fastrpc/fastrpc/transport"
)

// What may block (making a queue pair, the connection manager, destroying) each connection has a goroutine for, which tells the Link's owner
// of its steps by notes. From the first on the owner may receive; where it has to agree, it closes a channel.
//
//	goroutine                                  owner
//	makes the queue pair
//	stepEnter: it is about to receive       →  knows its number
//	connects
//	stepJoined                              →  sends, PeerConnected
//	stepBroken, unless the owner found out  →  end: no more sends
//	disconnects, stops the queue pair
//	stepQuiet: nothing is received any more →  empty: all that came is delivered, PeerClosed
//	destroys the queue pair
//	stepGone                                →  its frames are home
type steps struct {
	joined  chan struct{} // closed by the goroutine when it is clear whether there is a connection
	refusal error         // why there is none, from then on
	last    chan struct{} // closed when the queue pair has used its last receive; see ofQP
	end     chan struct{} // closed by the owner, as is the next
	empty   chan struct{}
}

func newSteps() steps {
	return steps{joined: make(chan struct{}), last: make(chan struct{}), end: make(chan struct{}), empty: make(chan struct{})}
}

const (
	joinLimit  = 3 * time.Second // for a connection to be opened
	quietLimit = time.Second     // for a queue pair that was stopped to say that it has
)

var (
	// errPeerLeft is why a connection is over that the other side, or the device, has ended.
	errPeerLeft = fmt.Errorf("disconnected: %w", unix.ECONNRESET)
	errFull     = errors.New("there are as many connections as may be (conns=N, frames=N)")
)

// live is the life of a connection; join connects its queue pair.
func (l *RC) live(c *conn, join func(context.Context, *conn) (*verbs.Conn, error)) {
	tell := func(s step, err error) { l.tell(note{conn: c, step: s, err: err}) }
	defer tell(stepGone, nil)
	qp, err := l.makeQP(c)
	if err != nil {
		c.refusal = err
		close(c.joined)
		tell(stepBroken, err)
		return
	}
	defer qp.Close() // before stepGone
	l.notes.know(c)
	defer l.notes.forget(c)

	ctx, cancel := context.WithTimeout(l.life, joinLimit)
	joined, err := join(ctx, c)
	if err != nil && ctx.Err() != nil {
		err = unix.ETIMEDOUT
	}
	cancel()
	c.refusal = err
	if err == nil {
		tell(stepJoined, nil)
		close(c.joined)
		select {
		case <-joined.Done():
			err = errPeerLeft
		case <-c.end:
		case <-l.life.Done():
		}
		_ = joined.Close()
	} else {
		close(c.joined)
	}
	tell(stepBroken, err)
	if joined != nil && qp.Fail() == nil && l.srq != nil {
		// Its last receive may come until the device says so; one without that event is given the time.
		select {
		case <-c.last:
		case <-time.After(quietLimit):
		case <-l.life.Done():
		}
	}
	tell(stepQuiet, nil)
	select {
	case <-c.empty:
	case <-l.life.Done():
		c.windows = l.pool.Load().of(c) // the owner only waits
	}
	l.unbind(c.windows)
}

// makeQP makes c's queue pair, and takes its receives if they are its own.
func (l *RC) makeQP(c *conn) (*verbs.QP, error) {
	if l.srq == nil {
		select {
		case c.receives = <-l.shares:
			c.shared = true
		default:
			return nil, errFull
		}
	}
	qp, err := l.pd.CreateQP(verbs.QPConfig{
		Type: verbs.RC, Send: l.scq, Recv: l.cq, SRQ: l.srq, SendWork: l.work(), RecvWork: rcOwn, InlineMax: inlineBytes,
	})
	if err != nil {
		return nil, err
	}
	c.qp, c.qpn, c.inline = qp, qp.Number(), qp.InlineMax()
	return qp, nil
}

// ownWork is what a queue pair may have to do beside sends: reads, and for each window a bind and an invalidation.
const ownWork = connReads + 2*windows

func (l *RC) work() int {
	if l.caps.FetchLeast == 0 {
		return l.depth
	}
	return l.depth + ownWork
}

// enter is what happens to a queue pair when it can take receives, and nothing has come.
func (l *RC) enter(c *conn) error {
	l.tell(note{conn: c, step: stepEnter})
	if l.srq != nil {
		return nil
	}
	var ws [rcOwn]verbs.RecvWR
	for i, id := 0, c.receives.head; i < c.receives.len; i, id = i+1, l.next[id] {
		ws[i] = l.receiveInto(id, c.serial)
	}
	_, err := c.qp.PostRecv(ws[:c.receives.len])
	return err
}

// terms of a connection. Who meets a peer that has no receive posted tries again without end: the owner looks after those that are stuck.
func (l *RC) terms() verbs.Terms {
	t := verbs.Terms{RNR: 7, Data: hello(rcFrameBytes), Shared: l.srq != nil}
	if l.caps.FetchLeast > 0 {
		t.Reads, t.Access = connReads, verbs.RemoteRead // of what is exposed: frames are registered without that right
	}
	return t
}

// greet reads what the other side has said of itself.
func greet(data []byte) error {
	mtu, err := parseHello(data)
	if err == nil && mtu < rcFrameBytes {
		err = fmt.Errorf("the other side takes packets of %d bytes, and this one sends %d", mtu, rcFrameBytes)
	}
	return err
}

// begin finds the connection with a peer, or begins one; nil: there are too many, or the Link is closed. Callable from any goroutine.
func (l *RC) begin(path *transport.Path) *conn {
	key := keyOf(path)
	l.notes.mu.Lock()
	defer l.notes.mu.Unlock()
	c := l.notes.dialled[key]
	if c != nil || l.notes.closed || l.notes.alive >= l.conns.limit {
		return c
	}
	c = l.newConn(key, *path)
	c.dialled = true
	l.notes.dialled[key] = c
	l.notes.alive++
	l.lives.Go(func() { l.live(c, l.dial) })
	return c
}

// dial connects to the peer of c, from the Link's port.
func (l *RC) dial(ctx context.Context, c *conn) (*verbs.Conn, error) {
	r, err := l.route(ctx, verbs.RC, l.local, c.path.Remote())
	if err != nil {
		return nil, err
	}
	joined, err := r.Connect(ctx, c.qp, l.terms(), func() error { return l.enter(c) })
	if err == nil {
		err = greet(joined.Data)
	}
	if err != nil {
		_ = r.Close()
		return nil, err
	}
	return joined, nil
}

// serve accepts connections until ctx ends, or the Link.
func (l *RC) serve(ctx context.Context, at *verbs.Listener) {
	for {
		r, err := at.Next(ctx)
		if err != nil {
			return
		}
		err = greet(r.Data)
		if err == nil {
			err = l.welcome(r)
		}
		if err != nil {
			_ = r.Reject(err.Error()) // if that fails who asked has gone
		}
	}
}

// welcome begins a connection with somebody who asks for one.
func (l *RC) welcome(r *verbs.Request) error {
	_, remote := r.Addrs()
	path := transport.Path{
		RemoteIP: remote.Addr().As16(), RemotePort: remote.Port(), LocalIP: l.ip, LocalPort: l.local.Port(), MTU: rcFrameBytes,
	}
	l.notes.mu.Lock()
	defer l.notes.mu.Unlock()
	if l.notes.closed {
		return transport.ErrClosed
	}
	if l.notes.alive >= l.conns.limit {
		l.refused.Add(1)
		return errFull
	}
	l.notes.alive++
	c := l.newConn(keyOf(&path), path)
	l.lives.Go(func() {
		l.live(c, func(ctx context.Context, c *conn) (*verbs.Conn, error) {
			joined, err := r.Accept(ctx, c.qp, l.terms(), func() error { return l.enter(c) })
			if err != nil {
				_ = r.Close()
			}
			return joined, err
		})
		_ = r.Close() // if it did not come to that
	})
	return nil
}
