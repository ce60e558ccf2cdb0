package bench

import "time"

// latencyLoad is the time of a call: closed loop, one outstanding.
var latencyLoad = workload{
	name:  Latency,
	about: "a round trip with one call outstanding: its time",
	least: MinSize, most: MaxSize, size: 64,
	duration: 600 * time.Millisecond, counted: true, // all systems in five rounds then take well under two minutes
	connect: connectShared,
}
