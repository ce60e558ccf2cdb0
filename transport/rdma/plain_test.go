//go:build !rdma

package rdma

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/fastrpc/fastrpc/transport"
)

// What needs no card is tested without the tag, where no device is to be made for it.

func TestHello(t *testing.T) {
	if mtu, err := parseHello(append(hello(4096), 0, 0, 0)); mtu != 4096 || err != nil { // rdma_cm fills private data up
		t.Errorf("%d, %v", mtu, err)
	}
	for text, says := range map[string]string{
		"":                 "not fastrpc",
		"fr\x01\x10":       "not fastrpc",
		"xr\x01\x10\x00":   "not fastrpc",
		"fr\x02\x10\x00":   "version 2",
		"fr\x01\x00\xff\n": "MTU is 255",
	} {
		if _, err := parseHello([]byte(text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want an error that says %q", text, err, says)
		}
	}
}

func TestSettings(t *testing.T) {
	s, err := parseSettings(url.Values{"qp": {"rc"}, "frames": {"128"}, "gid": {"3"}, "conns": {"7"}, "idle": {"60"}, "rendezvous": {"0"}})
	if err != nil || s.qp != "rc" || s.frames != 128 || s.gid != 3 || s.conns != 7 || s.idle.Seconds() != 60 || s.rendezvous != 0 {
		t.Errorf("%+v, %v", s, err)
	}
	for query, says := range map[string]string{
		"qp=xrc": "ud (datagrams) or rc", "frames=63": "64 to 65536", "gid=-1": "0 to 255", "conns=0": "1 to 32768", "idle=x": "1 to 86400",
		"speed=": "qp, frames, gid, conns, idle and rendezvous",
	} {
		q, _ := url.ParseQuery(query)
		if _, err := parseSettings(q); !errors.Is(err, transport.ErrInvalid) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want an error that says %q", query, err, says)
		}
	}
}

// Frames leave a queue in the order in which they came, also when it was empty in between, and two queues share the array.
func TestFifo(t *testing.T) {
	next := make([]uint32, 16)
	var even, odd fifo
	for round := range 3 {
		for id := range uint32(16) {
			if id%2 == 0 {
				even.push(next, id)
			} else {
				odd.push(next, id)
			}
		}
		for id := range uint32(16) {
			q := &even
			if id%2 == 1 {
				q = &odd
			}
			if got := q.pop(next); got != id {
				t.Fatalf("round %d: %d came where %d should", round, got, id)
			}
		}
		if even.len != 0 || odd.len != 0 {
			t.Fatalf("%d and %d are left", even.len, odd.len)
		}
	}
}
