package session_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/sim"
)

func TestEchoSizes(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{})
	w.establish()
	small := w.conn.SmallMessage()
	unit := small - 4
	sizes := []int{0, 1, small - 1, small, small + 1, unit, unit + 1, 2 * unit, 2*unit - 1, 2*unit + 1, 3 * unit, 64 * unit, 65*unit + 1, 1 << 20, 16 << 20}
	for i, n := range sizes {
		body := pattern(n, byte(i))
		w.call(n, 5, body, 0)
		k := w.wait(n, time.Minute)
		if k.Err() != nil || k.Code() != session.OK || !bytes.Equal(k.Body(), body) {
			t.Errorf("%d bytes: %s", n, describe(k))
		}
		if w.executions[string(body)] != 1 {
			t.Errorf("%d bytes: executed %d times", n, w.executions[string(body)])
		}
		k.Release()
	}
	w.settle()
}

// TestInPlace builds request and reply in the frames that carry them.
func TestInPlace(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{})
	w.establish()
	w.serve = func(k *session.Call) {
		if len(k.Buffer()) != w.conn.SmallMessage() {
			t.Errorf("a buffer of %d bytes", len(k.Buffer()))
		}
		k.Reply(w.net.Now(), session.InvalidArgument, session.Executed, copy(k.Buffer(), slices.Concat(k.Body(), []byte("!"))))
	}
	k, err := w.conn.NewCall()
	if err != nil {
		t.Fatal(err)
	}
	k.Tag = "a"
	k.Start(w.net.Now(), 3, copy(k.Buffer(), "hello"), 0)
	w.wait("a", time.Second)
	if k.Err() != nil || k.Code() != session.InvalidArgument || k.Refused() || string(k.Body()) != "hello!" {
		t.Error(describe(k))
	}
	k.Release()
	w.settle()
}

// TestOverTheLargestMessage: three ways, three errors.
func TestOverTheLargestMessage(t *testing.T) {
	w := newWorldOn(t, 1, lan, session.Config{MaxMessage: 1 << 20}, session.Config{MaxMessage: 100000}, sim.LinkOptions{})
	w.call("early", 1, pattern(200000, 1), 0) // the server's limit is not known yet
	k := w.wait("early", time.Second)
	if k.Err() != nil || k.Code() != session.ResourceExhausted || !k.Refused() || !strings.Contains(string(k.Body()), "request exceeds the server's largest message") {
		t.Errorf("the server's limit: %s %q", describe(k), k.Body())
	}
	k.Release()
	if k, err := w.conn.NewCall(); err != nil {
		t.Error(err)
	} else if err := k.StartBytes(w.net.Now(), 1, pattern(100001, 1), 0); err != session.ErrTooLarge {
		t.Errorf("the limit of both: %v", err)
	} else {
		k.Discard()
	}
	w.serve = func(k *session.Call) { k.ReplyBytes(w.net.Now(), session.OK, session.Executed, pattern(100001, 1)) }
	w.call("reply", 1, []byte("x"), 0)
	k = w.wait("reply", time.Second)
	if k.Err() != nil || k.Code() != session.ResourceExhausted || k.Refused() || !strings.Contains(string(k.Body()), "reply exceeds the largest message") {
		t.Errorf("a large reply: %s %q", describe(k), k.Body())
	}
	k.Release()
	w.settle()
}

func TestLease(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{})
	w.establish()
	k := w.call("a", 1, nil, 0)
	w.wait("a", time.Second)
	lease := k.Lease()
	if !k.EndLease(lease) || k.EndLease(lease) || k.Lease() == lease {
		t.Error("a lease ends once")
	}
	k.Release()
	w.settle()
}

// TestSequenceNumbersWrap: a slot's sequence number begins anew after 2²⁰ calls.
func TestSequenceNumbersWrap(t *testing.T) {
	w := newWorld(t, 1, lan, session.Config{CallsPerSession: 1})
	w.establish()
	w.call("first", 1, nil, 0) // both ends have the slot now
	w.wait("first", time.Second).Release()
	w.conn.SetSeq(0, 1<<20-4)
	for c := range w.sessions {
		c.SetSeq(0, 1<<20-4)
	}
	for i := range 8 {
		w.call(i, 1, []byte{byte(i)}, 0)
		k := w.wait(i, time.Second)
		if k.Err() != nil || !bytes.Equal(k.Body(), []byte{byte(i)}) || w.executions[string([]byte{byte(i)})] != 1 {
			t.Errorf("call %d: %s", i, describe(k))
		}
		k.Release()
	}
	w.settle()
}
