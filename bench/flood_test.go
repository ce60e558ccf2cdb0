package bench

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/afxdp"
)

// A packet of several parts counts once, all of its payload is copied, and none of its parts passes for a question, however long it is.
func TestFloodTakesPacketsInParts(t *testing.T) {
	const chunk = 4096
	umem, err := afxdp.NewUmem(afxdp.UmemConfig{Chunks: 4, ChunkBytes: chunk})
	if err != nil {
		t.Fatal(err)
	}
	defer umem.Close()
	for i := range umem.Bytes() {
		umem.Bytes()[i] = byte(i * 31 >> 4)
	}
	question := uint32(QuestionBytes(1000))
	f := &flooded{ringSocket: &ringSocket{umem: umem}, question: question, message: newMessage(1 << 14)}

	var want []byte
	for i, part := range []unix.XDPDesc{
		{Addr: 256, Len: 3840, Options: unix.XDP_PKT_CONTD},
		{Addr: chunk + 256, Len: question, Options: unix.XDP_PKT_CONTD},
		{Addr: 2*chunk + 256, Len: question},
	} {
		if f.take(part) {
			t.Fatalf("part %d of a packet passes for a question", i)
		}
		payload := umem.Data(part)
		if i == 0 {
			payload = payload[floodHeader:]
		}
		want = append(want, payload...)
	}
	if f.packets != 1 {
		t.Errorf("a packet of three parts counts as %d", f.packets)
	}
	if got := f.message.bytes[:f.message.at]; !bytes.Equal(got, want) {
		t.Errorf("%d bytes copied, want the payload of all parts, %d", len(got), len(want))
	}
	if !f.take(unix.XDPDesc{Addr: 3*chunk + 256, Len: question}) || f.packets != 1 {
		t.Errorf("a question behind it is not one, or counts as a packet: %d", f.packets)
	}
}
