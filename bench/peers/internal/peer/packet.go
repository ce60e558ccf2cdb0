package peer

import "github.com/fastrpc/fastrpc/bench"

// MostBytes is the largest packet of the bare AF_XDP sockets, from its IP header on: they read it into one chunk of 2 KiB.
const MostBytes = 1500

// PacketPayload is how many bytes their packets carry, of a call or a flood.
func PacketPayload(e *bench.Endpoint) int { return bench.FloodBytes(e, MostBytes) }
