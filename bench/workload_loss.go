package bench

import (
	"time"

	"github.com/fastrpc/fastrpc/bench/result"
)

// lossLoad is the time of a call where packets are lost on their way in, at both ends: see lossy.go.
var lossLoad = workload{
	name:  Loss,
	about: "round trips where both ends lose a share of the packets that come to them",
	axis:  result.AxisLoss,
	along: []float64{0, 0.001, 0.01, 0.05},
	least: MinSize, most: MaxSize, size: 64,
	outstanding: 1,
	duration:    2 * time.Second, counted: true,
	connect: connectShared,
}
