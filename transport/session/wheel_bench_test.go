package session

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport"
)

// BenchmarkTimers arms a session's timer, asks the endpoint for its next timeout and does what is due, while so many are armed, of which one
// comes due each time: what that takes must not grow with their number.
func BenchmarkTimers(b *testing.B) {
	for _, armed := range []int{100, 20_000} {
		b.Run(fmt.Sprint(armed), func(b *testing.B) {
			e := New(noFrames{}, Config{Sessions: armed})
			r := rand.New(rand.NewPCG(1, 2))
			now := transport.Time(time.Hour)
			conns := make([]*Conn, armed)
			for i := range conns {
				conns[i] = e.newConn(transport.Path{}, true, now)
				conns[i].state, conns[i].keepAlive = established, 1000*time.Hour
				e.wheel.arm(&conns[i].timer, now.Add(time.Duration(r.Int64N(int64(time.Second)))))
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				now = now.Add(time.Second / time.Duration(armed))
				t := &conns[i%armed].timer
				e.wheel.arm(t, now.Add(time.Duration(r.Int64N(int64(2*time.Second)))))
				if at := e.NextTimeout(); at != 0 && at <= now {
					e.HandleTimeout(now)
				}
			}
		})
	}
}
