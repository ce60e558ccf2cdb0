package bench

// latencyLoad is the time of a call: closed loop, one outstanding.
var latencyLoad = workload{
	name:  Latency,
	about: "a round trip with one call outstanding: its time",
	least: MinSize, most: MaxSize, size: 64,
	requests: 20000, counted: true,
	connect: connectShared,
}
