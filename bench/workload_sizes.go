package bench

import (
	"time"

	"github.com/fastrpc/fastrpc/bench/result"
)

// maxEcho is the longest message of workload sizes.
const maxEcho = 8 << 20

// sizesLoad is the time of a call as the payload grows, there and back: closed loop, one outstanding.
var sizesLoad = workload{
	name:  Sizes,
	about: "a round trip with one call outstanding, as the payload grows from 64 bytes to 8 MiB",
	axis:  result.AxisSize,
	along: []float64{64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, maxEcho},
	least: MinSize, most: maxEcho, size: 64,
	duration: 300 * time.Millisecond, counted: true,
	connect: connectShared,
}
