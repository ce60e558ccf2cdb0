package fastrpc_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
)

// BenchmarkStreamPingPong sends 64 bytes back and forth on one stream: a message each way an operation.
func BenchmarkStreamPingPong(b *testing.B) {
	inWorlds(b, func(b *testing.B, w world) {
		c := w.dial(b, w.serve(b, streamServer()))
		st := open(b, c, "chat")
		body := make([]byte, 64)
		b.ReportAllocs()
		for b.Loop() {
			must(b, st.Send(body))
			m, err := st.Receive()
			must(b, err)
			m.Release()
		}
		st.Close()
	})
}

// BenchmarkServerStreaming receives messages of 1 KiB that the server sends as fast as it may.
func BenchmarkServerStreaming(b *testing.B) {
	inWorlds(b, func(b *testing.B, w world) {
		c := w.dial(b, w.serve(b, streamServer()))
		st := open(b, c, "many")
		b.ReportAllocs()
		b.SetBytes(1024)
		must(b, st.Send(fmt.Append(nil, b.N, 1024)))
		for range b.N {
			m, err := st.Receive()
			must(b, err)
			m.Release()
		}
		ends(b, st)
	})
}

func inWorlds(b *testing.B, f func(b *testing.B, w world)) {
	for _, name := range slices.Sorted(maps.Keys(worlds)) {
		b.Run(name, func(b *testing.B) { f(b, worlds[name](b)) })
	}
}
