package tap

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkPoint tells what a burst costs the one whose packets are looked at: while nobody looks, and with a capture whose reader keeps up.
func BenchmarkPoint(b *testing.B) {
	const burst = 32
	for _, bytes := range []int{0, 64, 1500} {
		name := fmt.Sprintf("%d bytes", bytes)
		if bytes == 0 {
			name = "nobody looks"
		}
		b.Run(name, func(b *testing.B) {
			var l link
			l.memory = make([]byte, 1<<20)
			descs := make([]unix.XDPDesc, burst)
			for i := range descs {
				descs[i] = unix.XDPDesc{Addr: uint64(i) * 2048, Len: uint32(bytes)}
			}
			var r *ring
			if bytes > 0 {
				m, fds, err := makeMemory(1, 4<<20)
				must(b, err)
				must(b, closeAll(fds[:]))
				defer func() { must(b, m.unmap()) }()
				r = &ring{data: m.data(0), control: m.control(0), reader: m.position(0), snap: maxSnap}
				l.add(r)
			}
			for b.Loop() {
				l.passDescs(In, descs...)
				if r != nil {
					r.reader.tail.Store(r.head)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/burst, "ns/packet")
		})
	}
}
