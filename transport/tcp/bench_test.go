package tcp

import (
	"net/netip"
	"testing"

	"github.com/fastrpc/fastrpc/transport"
)

// joined is a dialled Link and the listening one that it is connected to, with the path there.
func joined(t testing.TB, listens, dials string) (client, server *Link, path transport.Path) {
	t.Helper()
	server, addr := listen(t, "tcp://127.0.0.1:0"+listens)
	client, _ = dial(t, addr, dials)
	path = resolve(t, client, addr)
	send(t, client, path, "hello")
	freeOne(server, awaitPacket(t, server))
	return client, server, path
}

func resolve(t testing.TB, l *Link, remote netip.AddrPort) transport.Path {
	t.Helper()
	path, err := l.Resolve(t.Context(), netip.AddrPort{}, remote)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// BenchmarkRecvEmpty is what a poll costs that finds nothing on its one connection.
func BenchmarkRecvEmpty(b *testing.B) {
	_, server, _ := joined(b, "", "")
	fs := make([]transport.Frame, burst)
	b.ReportAllocs()
	for b.Loop() {
		if n, err := server.Recv(fs); n != 0 || err != nil {
			b.Fatal(n, err)
		}
	}
}

// BenchmarkBurst is one packet of a burst over the loopback, sent and received in one goroutine.
func BenchmarkBurst(b *testing.B) {
	for name, c := range map[string]struct{ count, bytes int }{"1": {1, 128}, "64": {burst, 128}, "16Long": {16, frameBytes}} {
		b.Run(name, func(b *testing.B) {
			client, server, path := joined(b, "", "")
			fs := make([]transport.Frame, burst)
			b.SetBytes(int64(c.bytes))
			b.ReportAllocs()
			for i := 0; i < b.N; i += c.count {
				for j := range fs[:c.count] {
					if !client.Alloc(&fs[j]) {
						b.Fatal("no frame")
					}
					fs[j].Data, fs[j].Path = fs[j].Data[:c.bytes], path
				}
				if n, err := client.Send(fs[:c.count]); n != c.count || err != nil {
					b.Fatal(n, err)
				}
				if err := client.Flush(); err != nil {
					b.Fatal(err)
				}
				client.Free(fs[:client.Completed(fs)])
				for got := 0; got < c.count; {
					n, err := server.Recv(fs)
					if err != nil {
						b.Fatal(err)
					}
					server.Free(fs[:n])
					got += n
				}
			}
		})
	}
}
