package sim

import (
	"time"

	"github.com/fastrpc/fastrpc/transport"
)

// LinkOptions sizes a Link. The zero value is good for most tests.
type LinkOptions struct {
	Frames     int // buffers; half of them send, half receive. Default 512, at least 2
	FrameBytes int // capacity of one buffer. Default 2048, at most 65535
	MTU        int // the Path.MTU of every path. Default, and at most, FrameBytes
	Burst      int // most frames that one Send or Recv takes. Default 64

	// Reliable makes the Link's packets arrive once, in order and whole, as over a lossless fabric: queues have no limit for them, and a full
	// receiver makes them wait. Of a Network's Faults only delays, Bandwidth and MTU apply, and partitions.
	Reliable bool

	// FetchLeast makes the Link a transport.Fetcher for messages of so many bytes or more, and FetchFails is how likely each read is to
	// fail. For a Network's Links only.
	FetchLeast int
	FetchFails float64

	// CompleteAfter keeps a sent frame in flight for this long, as a device does whose completions lag. Zero: until the next Completed.
	// For a Network's Links only.
	CompleteAfter time.Duration

	// Clock stamps what a Pipe's end receives. Nil: transport.Now, of which the reading is a third of what the Pipe costs.
	Clock func() transport.Time

	// Unreachable makes packets to an address where nobody listens come back as Unreachable events, as ICMP would report them, and those
	// beyond the receiver's MTU, or beyond Faults.MTU with Faults.ReportMTU, as MTUChanged. For a Network's Links only.
	Unreachable bool
}

func (o LinkOptions) withDefaults() LinkOptions {
	if o.Frames == 0 {
		o.Frames = 512
	}
	if o.FrameBytes == 0 {
		o.FrameBytes = 2048
	}
	if o.MTU == 0 {
		o.MTU = o.FrameBytes
	}
	if o.Burst == 0 {
		o.Burst = 64
	}
	if o.Clock == nil {
		o.Clock = transport.Now
	}
	if o.Frames < 2 || o.FrameBytes < 1 || o.FrameBytes > 65535 || o.MTU < 1 || o.MTU > o.FrameBytes || o.Burst < 1 || o.CompleteAfter < 0 {
		panic("sim: LinkOptions out of range")
	}
	return o
}

func (o LinkOptions) caps(name string) transport.Caps {
	return transport.Caps{
		Scheme: "sim", Name: name, Frames: o.Frames, FrameBytes: o.FrameBytes, Burst: o.Burst,
		Reliable: o.Reliable, Ordered: o.Reliable, ECN: true, FetchLeast: o.FetchLeast,
	}
}
