//go:build linux

package afxdp_test

import (
	"encoding/binary"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/afxdp"
)

// clockTAI reads the clock that the kernel's own transmit stamps are of.
func clockTAI(t *testing.T) uint64 {
	t.Helper()
	var ts unix.Timespec
	must(t, unix.ClockGettime(unix.CLOCK_TAI, &ts))
	return uint64(ts.Nano())
}

// putUDP writes a UDP packet of IPv4 without checksum into an Ethernet frame of testType and returns its IP part.
func putUDP(frame []byte) (ip []byte) {
	writePacket(frame, 1)
	ip = frame[14:]
	copy(ip, "\x45\x00\x00\x00\x00\x00\x40\x00\x40\x11\x00\x00\xc6\x12\x00\x01\xc6\x12\x00\x02")
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	binary.BigEndian.PutUint16(ip[24:], uint16(len(ip)-20))
	ip[26], ip[27] = 0, 0
	return ip
}

// TestTxRequests asks for a checksum and a timestamp in copy mode, where the kernel serves them. With the software checksum the packet that
// arrives has a full one; without, veth claims to compute it and hands the pseudo-header's sum over.
func TestTxRequests(t *testing.T) {
	for _, software := range []bool{true, false} {
		a, b := newPair(t, 1)
		uc := afxdp.UmemConfig{Chunks: 512, ChunkBytes: 2048, TxMetadata: true, TxSoftwareSum: software}
		pa, pb := a.newPortOf(t, uc, nil), b.newPort(t, nil)
		if !pa.TxMetadata().Has(afxdp.TxTimestamp|afxdp.TxChecksum) || pb.TxMetadata() != 0 {
			t.Errorf("copy mode has %v with metadata and %v without", pa.TxMetadata(), pb.TxMetadata())
		}
		base, _ := pa.frames.Alloc()
		d := unix.XDPDesc{Addr: base + afxdp.TxMetadataBytes, Len: 301}
		ip := putUDP(pa.umem.Data(d))
		r, ok := afxdp.PutPseudoChecksum(ip, 14)
		if !ok {
			t.Fatal("the packet is not understood")
		}
		r.Timestamp = true
		must(t, pa.umem.SetTxRequest(&d, r))
		before := clockTAI(t)
		pa.Transmit([]unix.XDPDesc{d})
		pa.kickAll(t)
		got := pb.umem.Data(pb.collect(t, 1)[0])
		want := afxdp.ChecksumPseudo
		if software {
			want = afxdp.ChecksumFull
		}
		if state := afxdp.CheckChecksum(got[14:]); state != want {
			t.Errorf("software checksum %v: the packet arrives with %v, want %v", software, state, want)
		}
		var done [1]uint64
		for deadline := time.Now().Add(patience); pa.Complete(done[:]) == 0; runtime.Gosched() {
			if time.Now().After(deadline) {
				t.Fatal("the packet was not completed")
			}
		}
		after := clockTAI(t)
		if stamp := pa.umem.TxTimestamp(done[0]); done[0] != d.Addr || stamp < before || stamp > after {
			t.Errorf("completed at %#x with stamp %d, want %#x with one of %d to %d", done[0], stamp, d.Addr, before, after)
		}
	}
}

// TestTxMetadataRoom: a packet needs the room in front of it even when it asks for nothing; received ones have it.
func TestTxMetadataRoom(t *testing.T) {
	a, b := newPair(t, 1)
	uc := afxdp.UmemConfig{Chunks: 512, ChunkBytes: 2048, TxMetadata: true}
	pa, pb := a.newPortOf(t, uc, nil), b.newPortOf(t, uc, nil)
	base, _ := pa.frames.Alloc()
	good := unix.XDPDesc{Addr: base + afxdp.TxMetadataBytes, Len: minPacket}
	bad := unix.XDPDesc{Addr: base + afxdp.TxMetadataBytes - 1, Len: minPacket}
	writePacket(pa.umem.Data(good), 3)
	if pa.umem.SetTxRequest(&bad, afxdp.TxRequest{Timestamp: true}) == nil || bad.Options != 0 {
		t.Error("a request was written into the chunk before")
	}
	pa.Transmit([]unix.XDPDesc{bad, good})
	pa.kickAll(t)
	d := pb.collect(t, 1)
	if number, err := checkPacket(pb.umem.Data(d[0])); err != nil || number != 3 {
		t.Errorf("got packet %d (%v), want 3", number, err)
	}
	if st, err := pa.Stats(); err != nil || st.TxInvalid != 1 {
		t.Errorf("%+v, %v; want one invalid descriptor", st, err)
	}
	must(t, pb.umem.SetTxRequest(&d[0], afxdp.TxRequest{Timestamp: true})) // sent on from where it lies
	pb.Transmit(d)
	pb.kickAll(t)
	if got := pa.receive(t, 1); got[0] != 3 {
		t.Errorf("got packet %d, want 3", got[0])
	}
}

func TestTxRequestIsChecked(t *testing.T) {
	u, err := afxdp.NewUmem(afxdp.UmemConfig{Chunks: 4, ChunkBytes: 2048, TxMetadata: true})
	must(t, err)
	defer u.Close()
	for _, c := range []struct {
		d  unix.XDPDesc
		r  afxdp.TxRequest
		ok bool
	}{
		{unix.XDPDesc{Addr: 24, Len: 60}, afxdp.TxRequest{Checksum: true, ChecksumStart: 34, ChecksumOffset: 6}, true},
		{unix.XDPDesc{Addr: 24, Len: 42}, afxdp.TxRequest{Checksum: true, ChecksumStart: 34, ChecksumOffset: 6}, true},
		{unix.XDPDesc{Addr: 24, Len: 41}, afxdp.TxRequest{Checksum: true, ChecksumStart: 34, ChecksumOffset: 6}, false},
		{unix.XDPDesc{Addr: 24, Len: 60}, afxdp.TxRequest{Checksum: true, ChecksumStart: 65535, ChecksumOffset: 65535}, false},
		{unix.XDPDesc{Addr: 23, Len: 60}, afxdp.TxRequest{}, false},
		{unix.XDPDesc{Addr: 2048, Len: 60}, afxdp.TxRequest{}, false},
		{unix.XDPDesc{Addr: 4 * 2048, Len: 60}, afxdp.TxRequest{}, false},
		{unix.XDPDesc{Addr: 1 << 63, Len: 60}, afxdp.TxRequest{}, false},
		{unix.XDPDesc{Addr: 1<<64 - 1, Len: 60}, afxdp.TxRequest{}, false},
	} {
		if err := u.SetTxRequest(&c.d, c.r); (err == nil) != c.ok || (c.d.Options != 0) != c.ok {
			t.Errorf("%+v, %+v: %v", c.d, c.r, err)
		}
	}
	if plain := newUmem(t, 4); plain.SetTxRequest(&unix.XDPDesc{Addr: 24, Len: 60}, afxdp.TxRequest{}) == nil {
		t.Error("a UMEM without metadata took a request")
	}
	d := unix.XDPDesc{Addr: 24, Len: 1000}
	ip := putUDP(u.Data(d))
	n := testing.AllocsPerRun(100, func() {
		r, ok := afxdp.PutPseudoChecksum(ip, 14)
		if !ok || u.SetTxRequest(&d, r) != nil || !afxdp.PutChecksum(ip) || afxdp.CheckChecksum(ip) != afxdp.ChecksumFull {
			t.Fatal("refused")
		}
		u.TxTimestamp(d.Addr)
	})
	if n != 0 {
		t.Errorf("%v allocations a request", n)
	}
}
