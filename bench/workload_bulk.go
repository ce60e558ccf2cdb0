package bench

import "time"

// bulkLoad is what a system carries of long messages one way: closed loop.
var bulkLoad = workload{
	name:  Bulk,
	about: "long messages one way, each answered by a few bytes: Gbit/s; the ring: payload of a flood's largest packets",
	least: MinBulk, most: MaxBulk, size: 8 << 20,
	outstanding: 1,
	duration:    2 * time.Second, counted: true,
	connect: connectShared,
}
