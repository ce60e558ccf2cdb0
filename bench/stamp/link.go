package stamp

import (
	"context"
	"fmt"
	"net/netip"
	"sync/atomic"

	"github.com/fastrpc/fastrpc/transport"
)

var drivers atomic.Int32 // that were registered

// Scheme returns the scheme under which the driver of another scheme records here what is sent and received on its links. A nil Side
// returns the other scheme. It is called before Start, for one address: links that two ports share would be two.
func (s *Side) Scheme(inner string) (string, error) {
	if s == nil {
		return inner, nil
	}
	if name, ok := s.schemes[inner]; ok {
		return name, nil
	}
	d, err := transport.Open(inner)
	if err != nil {
		return "", err
	}
	name := fmt.Sprintf("%s.stamped%d", inner, drivers.Add(1))
	transport.Register(name, driver{d, s, inner})
	s.schemes[inner] = name
	return name, nil
}

// driver is a transport.Driver whose links are Links.
type driver struct {
	transport.Driver
	side   *Side
	scheme string
}

func (d driver) Listen(ctx context.Context, t transport.Target) (transport.Port, error) {
	t.Scheme = d.scheme
	p, err := d.Driver.Listen(ctx, t)
	return d.wrap(p, err)
}

func (d driver) Dial(ctx context.Context, t transport.Target, remote netip.AddrPort) (transport.Port, error) {
	t.Scheme = d.scheme
	p, err := d.Driver.Dial(ctx, t, remote)
	return d.wrap(p, err)
}

func (d driver) wrap(p transport.Port, err error) (transport.Port, error) {
	if err != nil {
		return nil, err
	}
	w := &port{Port: p}
	for _, l := range p.Links() {
		w.links = append(w.links, d.side.Wrap(l))
	}
	return w, nil
}

type port struct {
	transport.Port
	links []transport.Link
}

func (p *port) Links() []transport.Link { return p.links }

// Wrap returns a link that records here what l sends and receives.
func (s *Side) Wrap(l transport.Link) transport.Link { return &stamped{Link: l, side: s, now: Now} }

type stamped struct {
	transport.Link
	side *Side
	now  func() int64
	sent bool // a packet that counts, since the last Flush
}

func (l *stamped) Send(fs []transport.Frame) (int, error) {
	if !l.side.on.Load() {
		return l.Link.Send(fs)
	}
	at := l.now()
	n, err := l.Link.Send(fs)
	for i := range fs[:n] {
		l.side.Packet(Sent, at, len(fs[i].Data))
		l.sent = l.sent || len(fs[i].Data) >= l.side.least
	}
	return n, err
}

// Flush is told apart from those for packets that do not count.
func (l *stamped) Flush() error {
	if l.sent {
		l.sent = false
		l.side.links.add(Event{At: l.now(), Kind: Flushed})
	}
	return l.Link.Flush()
}

func (l *stamped) Recv(fs []transport.Frame) (int, error) {
	n, err := l.Link.Recv(fs)
	if n > 0 && l.side.on.Load() {
		at := l.now()
		for i := range fs[:n] {
			l.side.Packet(Received, at, len(fs[i].Data))
		}
	}
	return n, err
}
