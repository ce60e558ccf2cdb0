package bench

import "time"

// floodLoad is packets one way, as fast as they go; no calls. Systems measure it themselves: see Measurer.
var floodLoad = workload{
	name:  Flood,
	about: "packets one way, as fast as they go, of --size bytes from the IP header on: those that arrive",
	least: MinFlood, most: MaxFlood, size: MinFlood,
	duration: 2 * time.Second,
	connect:  connectShared,
}
