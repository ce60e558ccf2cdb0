package fastrpc

import (
	"fmt"
	"testing"
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

// FuzzBlock checks that a block that can be parsed, and whose keys and values may be sent, says the same when it is made again.
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
		again, err := endBlock(header, trailer, len(b)+1)
		if err != nil {
			return
		}
		h, r, ok := parseBlock(again)
		if !ok || fmt.Sprint(h) != fmt.Sprint(header) || fmt.Sprint(r) != fmt.Sprint(trailer) {
			t.Fatalf("%q, %q became %q, %q", header, trailer, h, r)
		}
	})
}
