package nic

import (
	"encoding/hex"
	"net/netip"
	"testing"
)

// microsoftKey and the table below are the verification suite of Microsoft's "Verifying the RSS Hash Calculation".
const microsoftKey = "6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa"

func TestToeplitz(t *testing.T) {
	key, err := hex.DecodeString(microsoftKey)
	must(t, err)
	for _, v := range []struct {
		dest, source string
		ip, ports    uint32
	}{
		{"161.142.100.80:1766", "66.9.149.187:2794", 0x323e8fc2, 0x51ccc178},
		{"65.69.140.83:4739", "199.92.111.2:14230", 0xd718262a, 0xc626b0ea},
		{"12.22.207.184:38024", "24.19.198.95:12898", 0xd2d0a5de, 0x5c2b394a},
		{"209.142.163.6:2217", "38.27.205.30:48228", 0x82989176, 0xafc7327f},
		{"202.188.127.2:1303", "153.39.163.191:44251", 0x5d1809c5, 0x10e828a2},
		{"[3ffe:2501:200:3::1]:1766", "[3ffe:2501:200:1fff::7]:2794", 0x2cc18cd5, 0x40207d3d},
		{"[ff02::1]:4739", "[3ffe:501:8::260:97ff:fe40:efab]:14230", 0x0f0c461c, 0xdde51bbf},
		{"[fe80::200:f8ff:fe21:67cf]:38024", "[3ffe:1900:4545:3:200:f8ff:fe21:67cf]:44251", 0x4b61e985, 0x02d1feef},
	} {
		source, dest := netip.MustParseAddrPort(v.source), netip.MustParseAddrPort(v.dest)
		for fields, want := range map[HashFields]uint32{HashIPSource | HashIPDest: v.ip, HashIPSource | HashIPDest | HashPorts: v.ports} {
			// A table of 2^16 entries that counts backwards shows the hash's low bits.
			s := RSS{Key: key, Hash: HashToeplitz, Table: make([]uint32, 1<<16)}
			for i := range s.Table {
				s.Table[i] = uint32(1<<16 - 1 - i)
			}
			if q, ok := s.Queue(fields, source, dest); !ok || q != 1<<16-1-int(want&0xffff) {
				t.Errorf("%v to %v, fields %#x: place %#x, %v; want %#x", source, dest, fields, q, ok, 1<<16-1-int(want&0xffff))
			}
		}
		addresses := append(source.Addr().AsSlice(), dest.Addr().AsSlice()...)
		if h := Toeplitz(key, addresses); h != v.ip {
			t.Errorf("%v to %v: %#x, want %#x", source, dest, h, v.ip)
		}
		input := append(addresses, byte(source.Port()>>8), byte(source.Port()), byte(dest.Port()>>8), byte(dest.Port()))
		if h := Toeplitz(key, input); h != v.ports {
			t.Errorf("%v to %v with ports: %#x, want %#x", source, dest, h, v.ports)
		}
	}
}

// What cannot be calculated is not guessed.
func TestQueueUnknown(t *testing.T) {
	four, six := netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("[2001:db8::1]:1")
	whole := RSS{Key: make([]byte, 40), Hash: HashToeplitz, Table: make([]uint32, 128)}
	if _, ok := whole.Queue(HashPorts, four, four); !ok {
		t.Error("it can be calculated")
	}
	for name, spoil := range map[string]func(*RSS){
		"no key":           func(s *RSS) { s.Key = nil },
		"no table":         func(s *RSS) { s.Table = nil },
		"another function": func(s *RSS) { s.Hash = HashXOR },
		"symmetric":        func(s *RSS) { s.Symmetric = 1 },
	} {
		s := whole
		spoil(&s)
		if _, ok := s.Queue(HashPorts, four, four); ok {
			t.Errorf("%s: calculated", name)
		}
	}
	if _, ok := whole.Queue(HashPorts, four, six); ok {
		t.Error("a packet of two versions of IP")
	}
	// A key that is too short counts as followed by zeros; it reads nothing beyond.
	if h := Toeplitz(nil, make([]byte, 64)); h != 0 {
		t.Errorf("without a key: %#x", h)
	}
	if h := Toeplitz([]byte{0, 0, 0, 1}, []byte{0x80, 0xff}); h != 0xff01 {
		t.Errorf("a key of four bytes: %#x", h)
	}
}
