package fastrpc

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	_ "github.com/fastrpc/fastrpc/transport/udp"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// The layout of a block is the protocol's: docs/protocol.md.
func TestBlockGolden(t *testing.T) {
	block, err := endBlock(Metadata{"k": {"v", ""}}, Metadata{"t-bin": {"\x00\xff"}}, 100)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprintf("%x", block), "016b0100000076"+"016b00000000"+"00"+"05742d62696e0200000000ff"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	header, trailer, ok := parseBlock(block)
	if got := fmt.Sprintf("%q %q %v", header, trailer, ok); got != `map["k":["v" ""]] map["t-bin":["\x00\xff"]] true` {
		t.Error(got)
	}
	if soundHeader(block) {
		t.Error("a request's header may have a trailer")
	}
	for n := 1; n < len(block); n++ { // cut anywhere but between entries, it is malformed
		between := n == 7 || n == 13 || n == 14
		if _, _, ok := parseBlock(block[:n]); ok != between {
			t.Errorf("the first %d bytes: %v", n, ok)
		}
	}
	if _, _, ok := parseBlock([]byte{0, 0}); ok {
		t.Error("two dividers are taken")
	}
}

// What may not be sent is not taken either.
func TestBlockEntries(t *testing.T) {
	for _, x := range []struct {
		key, value string
		ok         bool
	}{
		{"k", "v", true}, {"k", " ~", true}, {"0-_.z", "", true}, {"-bin", "\x00\xff", true}, {"k-bin", "ü", true},
		{"K", "v", false}, {":path", "/", false}, {"a b", "v", false}, {"ü", "v", false}, {"k\n", "v", false},
		{"k", "\n", false}, {"k", "\x1b[2J", false}, {"k", "\x7f", false}, {"k", "ü", false}, {"k", "\xff", false}, {"bin", "\xff", false},
	} {
		block := append([]byte{byte(len(x.key))}, x.key...)
		block = append(binary.LittleEndian.AppendUint32(block, uint32(len(x.value))), x.value...)
		header, _, ok := parseBlock(block)
		if ok != x.ok || ok != soundHeader(block) || ok && header.Get(x.key) != x.value {
			t.Errorf("%q: %q is taken: %t", x.key, x.value, ok)
		}
		if _, err := appendEntries(nil, Metadata{x.key: {x.value}}); (err == nil) != x.ok {
			t.Errorf("%q: %q may be sent: %v", x.key, x.value, err)
		}
	}
}

// What comes over the network is looked at: wrong keys and values are Internal, and texts become valid.
func TestMetadataFromTheNetwork(t *testing.T) {
	wrong, err := appendEntries(nil, Metadata{"kkk": {"v"}})
	if err != nil {
		t.Fatal(err)
	}
	wrong = bytes.Replace(wrong, []byte("kkk"), []byte("k\x1bk"), 1)
	s := NewServer(WithInsecure())
	s.HandleStream("answers", func(st *ServerStream) error {
		st.sent.Store(true)
		return st.failed(st.s.SendHeader(wrong))
	})
	s.Handle("fails", func(*Response, *Request) error { return Errorf(Aborted, "\xff") })
	addr, err := s.Listen(t.Context(), "udp://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Shutdown(context.Background())
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, err := Dial(ctx, "udp://"+addr.String(), WithInsecure())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	check := func(err error, code Code, outcome Outcome, says string) {
		t.Helper()
		var e *Error
		if !errors.As(err, &e) || e.Code != code || e.Outcome != outcome || e.Msg != says {
			t.Errorf("got %v, outcome %v", err, OutcomeOf(err))
		}
	}

	st, err := c.Method("answers").Stream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_, err = st.Header()
	check(err, Internal, Executed, "the server's header is malformed")
	_, err = c.Method("fails").Call(ctx, nil)
	check(err, Aborted, Executed, "\uFFFD")

	b, err := st.m.bind(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	raw, cerr := b.conn.OpenStream(ctx, b.number, wire.AppendMetadata(nil, wrong), 0)
	if cerr != nil {
		t.Fatal(cerr)
	}
	_, err = (&Stream{ctx: ctx, m: st.m, s: raw}).Receive()
	check(err, Internal, NotExecuted, "the request's metadata is malformed")
}

// FuzzBlock checks that a block that can be parsed says the same when it is made again, which it may be.
func FuzzBlock(f *testing.F) {
	block, _ := endBlock(Metadata{"k": {"v", ""}}, Metadata{"t-bin": {"\x00\xff"}}, 100)
	f.Add(block)
	f.Fuzz(func(t *testing.T, b []byte) {
		header, trailer, ok := parseBlock(b)
		if ok != soundHeader(b) && trailer == nil && len(b) > 0 && ok {
			for _, c := range b { // the only other reason is a divider
				if c == divider {
					return
				}
			}
			t.Fatalf("%x is sound in one place and malformed in another", b)
		}
		if !ok {
			return
		}
		again, err := endBlock(header, trailer, len(b))
		if err != nil {
			t.Fatalf("%q, %q came, and may not be sent: %v", header, trailer, err)
		}
		h, r, ok := parseBlock(again)
		if !ok || fmt.Sprint(h) != fmt.Sprint(header) || fmt.Sprint(r) != fmt.Sprint(trailer) {
			t.Fatalf("%q, %q became %q, %q", header, trailer, h, r)
		}
	})
}
