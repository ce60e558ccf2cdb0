package udp

import (
	"testing"

	"github.com/fastrpc/fastrpc/transport"
)

// BenchmarkRecvEmpty is what a poll costs that finds nothing.
func BenchmarkRecvEmpty(b *testing.B) {
	l, _ := listen(b, "udp://127.0.0.1:0")
	fs := make([]transport.Frame, burst)
	b.ReportAllocs()
	for b.Loop() {
		if n, err := l.Recv(fs); n != 0 || err != nil {
			b.Fatal(n, err)
		}
	}
}

// BenchmarkBurst is one 128-byte packet of a burst over the loopback, sent and received in one goroutine.
func BenchmarkBurst(b *testing.B) {
	for name, size := range map[string]int{"1": 1, "64": burst} {
		b.Run(name, func(b *testing.B) {
			server, addr := listen(b, "udp://127.0.0.1:0")
			client, _ := dial(b, addr)
			path := resolve(b, client, addr)
			fs := make([]transport.Frame, burst)
			b.ReportAllocs()
			for i := 0; i < b.N; i += size {
				for j := range fs[:size] {
					var f transport.Frame
					ok := client.Alloc(&f)
					if !ok {
						b.Fatal("no frame")
					}
					f.Data, f.Path = f.Data[:128], path
					fs[j] = f
				}
				if n, err := client.Send(fs[:size]); n != size || err != nil {
					b.Fatal(n, err)
				}
				if err := client.Flush(); err != nil {
					b.Fatal(err)
				}
				client.Free(fs[:client.Completed(fs)])
				n, err := server.Recv(fs)
				if n != size || err != nil {
					b.Fatal(n, err)
				}
				server.Free(fs[:n])
			}
		})
	}
}
