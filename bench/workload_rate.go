package bench

import "time"

// rateLoad is what a system carries of short calls: closed loop, many outstanding.
var rateLoad = workload{
	name:  Rate,
	about: "calls a second with many outstanding; the ring: packets a second that arrive in a flood one way",
	least: MinSize, most: MaxSize, size: 64,
	outstanding: 32,
	duration:    2 * time.Second, counted: true,
	connect: connectShared,
}
