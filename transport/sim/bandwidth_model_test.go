package sim

import (
	"math/big"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport"
)

// slowWire is the obvious bottleneck: a list of packets, each with the exact time at which its last bit leaves.
type slowWire struct {
	Bandwidth
	queue []slowPacket
}

type slowPacket struct {
	bytes  int64
	leaves *big.Rat // nanoseconds
}

func (w *slowWire) pass(now transport.Time, bytes int64) (leaves transport.Time, mark, ok bool) {
	t := new(big.Rat).SetInt64(int64(now))
	for len(w.queue) > 0 && w.queue[0].leaves.Cmp(t) <= 0 {
		w.queue = w.queue[1:]
	}
	took := func(bytes int64) *big.Rat { return big.NewRat(bytes*8e9, w.BitsPerSecond) }
	waiting := new(big.Rat) // bytes; of the first packet what has not left
	starts := t
	for i, p := range w.queue {
		rest := new(big.Rat).SetInt64(p.bytes)
		if i == 0 {
			left := new(big.Rat).Sub(p.leaves, t)
			rest = left.Quo(left.Mul(left, new(big.Rat).SetInt64(p.bytes)), took(p.bytes))
		}
		waiting.Add(waiting, rest)
		starts = p.leaves
	}
	after := new(big.Rat).Add(waiting, new(big.Rat).SetInt64(bytes))
	if waiting.Sign() > 0 && after.Cmp(new(big.Rat).SetInt64(int64(w.QueueBytes))) > 0 {
		return 0, false, false
	}
	end := new(big.Rat).Add(starts, took(bytes))
	w.queue = append(w.queue, slowPacket{bytes, end})
	up := new(big.Int).Add(end.Num(), new(big.Int).Sub(end.Denom(), big.NewInt(1)))
	return transport.Time(up.Div(up, end.Denom()).Int64()), w.MarkBytes > 0 && waiting.Cmp(new(big.Rat).SetInt64(int64(w.MarkBytes))) > 0, true
}

// The bottleneck against the obvious one.
func TestBottleneckModel(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 37))
		o := Bandwidth{BitsPerSecond: 1e6 + rng.Int64N(1e11), QueueBytes: 1000 + rng.IntN(20_000), MarkBytes: rng.IntN(10_000)}
		slow := slowWire{Bandwidth: o}
		var fast bottleneck
		fast.set(o)
		now := transport.Time(1)
		dropped, marked := 0, 0
		for step := range 500 {
			bytes := int64(84 + rng.IntN(1500))
			leaves, mark, ok := fast.pass(now, bytes, false)
			wantLeaves, wantMark, wantOK := slow.pass(now, bytes)
			if leaves != wantLeaves || mark != wantMark || ok != wantOK {
				t.Fatalf("seed %d, step %d: %d bytes at %d leave at %d, marked %v, %v; want %d, %v, %v",
					seed, step, bytes, now, leaves, mark, ok, wantLeaves, wantMark, wantOK)
			}
			if !ok {
				dropped++
			}
			if mark {
				marked++
			}
			if rng.IntN(3) > 0 {
				now = now.Add(time.Duration(rng.Int64N(3 * bytes * 8e9 / o.BitsPerSecond)))
			}
		}
		if dropped == 0 && marked == 0 && seed == 0 {
			t.Error("the schedule never filled the queue")
		}
	}
}
