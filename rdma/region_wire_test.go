package rdma

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// What was written is read again, and its bytes are these.
func TestRegionMessages(t *testing.T) {
	var q [questionBytes]byte
	question{sequence: 0x01020304, name: "table"}.put(q[:])
	if want := append([]byte("RF\x01\x01\x04\x03\x02\x01\x05\x00\x00\x00\x00\x00\x00\x00table"), make([]byte, MaxRegionName-5)...); !bytes.Equal(q[:], want) {
		t.Errorf("question % x", q)
	}
	if got, err := parseQuestion(q[:]); err != nil || got.name != "table" || got.sequence != 0x01020304 {
		t.Errorf("%+v, %v", got, err)
	}
	var b [answerBytes]byte
	a := answer{sequence: 9, rights: RemoteRead | RemoteAtomic, addr: 0x1122334455667788, length: 4096, lease: time.Second, key: 0xa1b2c3d4}
	a.put(b[:])
	want := "RF\x01\x02\x09\x00\x00\x00" + "\x00\x00\x00\x00" + "\x0c\x00\x00\x00" + "\x88\x77\x66\x55\x44\x33\x22\x11" + "\x00\x10\x00\x00\x00\x00\x00\x00" +
		"\x00\xca\x9a\x3b\x00\x00\x00\x00" + "\xd4\xc3\xb2\xa1" + "\x00\x00\x00\x00"
	if string(b[:]) != want {
		t.Errorf("answer % x", b)
	}
	if got, err := parseAnswer(b[:]); err != nil || got != a {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestBadRegionMessages(t *testing.T) {
	good := func() []byte {
		b := make([]byte, answerBytes)
		answer{rights: RemoteRead, addr: 4096, length: 4096, lease: 1, key: 1}.put(b)
		return b
	}
	for what, change := range map[string]func([]byte) []byte{
		"has 48 bytes, not 47":  func(b []byte) []byte { return b[:47] },
		"has 48 bytes, not 0":   func(b []byte) []byte { return nil },
		"no message":            func(b []byte) []byte { b[0] = 0; return b },
		"no message about":      func(b []byte) []byte { b[3] = kindQuestion; return b },
		"speaks version 2":      func(b []byte) []byte { b[2] = 2; return b },
		"a region of 0 bytes":   func(b []byte) []byte { clear(b[24:32]); return b },
		"with rights 0x80":      func(b []byte) []byte { b[12] = 0x80; return b },
		"cannot be":             func(b []byte) []byte { b[31] = 0x80; return b },
		"at 0xfffffffffffff000": func(b []byte) []byte { copy(b[16:], "\x00\xf0\xff\xff\xff\xff\xff\xff"); b[25] = 0x20; return b },
		"a lease of -":          func(b []byte) []byte { b[39] = 0x80; return b },
	} {
		if _, err := parseAnswer(change(good())); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%q: %v", what, err)
		}
	}
}

func FuzzRegionQuestion(f *testing.F) {
	b := make([]byte, questionBytes)
	question{sequence: 1, name: "table"}.put(b)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := parseQuestion(b)
		if err != nil {
			return
		}
		if len(q.name) < 1 || len(q.name) > MaxRegionName {
			t.Fatalf("a name of %d bytes", len(q.name))
		}
		var again [questionBytes]byte
		q.put(again[:])
		if got, err := parseQuestion(again[:]); err != nil || got != q {
			t.Fatalf("%+v became %+v, %v", q, got, err)
		}
	})
}

func FuzzRegionAnswer(f *testing.F) {
	b := make([]byte, answerBytes)
	answer{sequence: 1, rights: RemoteRead, addr: 4096, length: 4096, lease: time.Second, key: 1}.put(b)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := parseAnswer(b)
		if err != nil || a.status != regionFound {
			return
		}
		if int(a.length) <= 0 || a.addr+a.length < a.addr || a.lease < 0 {
			t.Fatalf("%+v", a)
		}
		var again [answerBytes]byte
		a.put(again[:])
		if got, err := parseAnswer(again[:]); err != nil || got != a {
			t.Fatalf("%+v became %+v, %v", a, got, err)
		}
	})
}
