//go:build linux

package afxdp_test

import (
	"errors"
	"log"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/afxdp"
	"github.com/fastrpc/fastrpc/bpf"
)

// Reflect what comes to UDP port 9000 on queue 0 of interface 2, with source and destination of Ethernet exchanged.
func Example() {
	umem, err := afxdp.NewUmem(afxdp.UmemConfig{Chunks: 4096, ChunkBytes: 2048})
	if err != nil {
		log.Fatal(err)
	}
	defer umem.Close()
	frames, err := afxdp.NewFrameStack(umem, 0, umem.Chunks())
	if err != nil {
		log.Fatal(err)
	}
	fill := make([]uint64, 2048)
	frames.AllocBurst(fill)
	socket, err := afxdp.Open(umem, afxdp.SocketConfig{Ifindex: 2, Queue: 0, RxEntries: 2048, TxEntries: 2048, Fill: fill})
	if err != nil {
		log.Fatal(err)
	}
	defer socket.Close()

	steer, err := bpf.Attach(2, bpf.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer steer.Close() // before the socket
	if err := errors.Join(steer.SetSocket(0, socket.FD()), steer.AllowPort(9000)); err != nil {
		log.Fatal(err)
	}

	packets, chunks := make([]unix.XDPDesc, 64), make([]uint64, 64)
	for {
		chunks := chunks[:socket.Complete(chunks)]
		socket.Fill(chunks) // sent: ready to receive again; the fill ring holds them all
		if err := socket.WakeFill(); err != nil && !errors.Is(err, afxdp.ErrRetry) {
			log.Fatal(err)
		}
		burst := packets[:socket.Receive(packets)]
		for _, p := range burst {
			b := umem.Data(p)
			var mac [6]byte
			copy(mac[:], b[0:6])
			copy(b[0:6], b[6:12])
			copy(b[6:12], mac[:])
		}
		socket.Transmit(burst) // no more are under way than were filled, so the TX ring holds them
		if err := socket.Kick(); err != nil && !errors.Is(err, afxdp.ErrRetry) {
			log.Fatal(err)
		}
	}
}
