package bench

import "time"

// latencyLoad is the time of a call: closed loop, one outstanding.
var latencyLoad = workload{
	name:  Latency,
	about: "a round trip with one call outstanding: its time",
	least: MinSize, most: MaxSize, size: 64,
	// Many short rounds rather than few long ones: a machine is in one state for seconds, and a median shall not hang on one of them. All
	// systems together take well under two minutes.
	duration: 250 * time.Millisecond, counted: true, rounds: 11,
	connect: connectShared,
}
