package engine

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/sim"
)

// A budget of one message is enough for one call at a time, however late the poller sees to what was released: a reply that is released before
// the next call begins is not in its way.
func TestReleasedRepliesAreNotInTheWay(t *testing.T) {
	const size = 4096
	cfg := Config{Session: session.Config{Reassembly: size, MaxMessage: size}}
	a, b := sim.Pipe(sim.LinkOptions{})
	server, err := Acquire(b, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Listen(9000, copier{}); err != nil {
		t.Fatal(err)
	}
	client, err := Acquire(a, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = client.Close(), server.Close() })
	c, err := client.Dial(t.Context(), netip.AddrPortFrom(a.Addr().Addr(), 8000), netip.AddrPortFrom(b.Addr().Addr(), 9000))
	if err != nil {
		t.Fatal(err)
	}
	body := bytes.Repeat([]byte{7}, size)
	for i := range 50 {
		for !client.token.acquire() { // the keeper stays out of it
		}
		client.now = transport.Now()
		k, cerr := c.newCall()
		if cerr == nil {
			cerr = k.StartBytes(client.now, 1, body, 0)
		}
		if cerr != nil {
			t.Fatal(cerr)
		}
		client.transmit()
		for !k.Ended() {
			client.patience = maxPatience // packets come before housekeeping is due
			client.turn()
		}
		client.token.free()
		if k.Err() != nil || !bytes.Equal(k.Body(), body) {
			t.Fatalf("call %d ended by %v, with %d bytes", i, k.Err(), len(k.Body()))
		}
		client.Release(k)
	}
	if s := client.Stats().Session; s.ReassemblyRefused != 0 {
		t.Errorf("%d messages were refused", s.ReassemblyRefused)
	}
}

// copier answers every request with a copy of its body.
type copier struct{}

func (copier) Serve(now transport.Time, k *session.Call) {
	k.ReplyBytes(now, 0, session.Executed, bytes.Clone(k.Body()))
}
func (copier) Gone(*session.Call) {}
