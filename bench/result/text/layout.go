package text

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/fastrpc/fastrpc/bench/result"
)

// A layout says what the screen shows of a workload.
type layout struct {
	title   string        // {size} and {outstanding} are of the point
	main    result.Figure // orders the systems, and is compared with the references
	columns figures       // of a table of one point
	along   figures       // of tables along an axis, one table each
}

type figures = []result.Figure

// references are the systems that ratios are shown to: the kernel's path as Go programs write it, and the floor or ceiling.
var references = []string{"net-tcp", "ring"}

var (
	tails = figures{result.P50, result.P99, result.P999, result.Max}
	cost  = figures{result.ClientCPU, result.ServerCPU, result.Allocs}

	packets  = result.Figure{Name: "packets/s", More: true, Of: result.PerSec.Of}
	messages = result.Figure{Name: "messages/s", More: true, Of: calls}

	first = func(f result.Figure) result.Figure { return result.Part("first", f) }
	bulk  = func(f result.Figure) result.Figure { return result.Part("bulk", f) }
	dial  = func(f result.Figure) result.Figure { return result.Part("dial", f) }
	call  = func(f result.Figure) result.Figure { return result.Part("call", f) }
	end   = func(f result.Figure) result.Figure { return result.Part("close", f) }
	late  = func(f result.Figure) result.Figure { return result.Part("late", f) }
	sent  = result.Uncorrected
)

// layouts of the workloads. One that is not here is shown like latency.
var layouts = map[string]layout{
	"latency": {
		title: "Round trips of {size}, one outstanding",
		main:  result.P50, columns: figures{result.P50, result.P90, result.P99, result.P999, result.P9999, result.Max, result.CPU, result.Allocs},
	},
	"anatomy": {
		title: "Round trips of {size}, one outstanding, with stamps on both sides",
		main:  result.P50, columns: slices.Concat(tails, figures{result.Part(result.PartUnstamped, result.P50), result.Part(result.PartUnstamped, result.P99)}),
	},
	"rate": {
		title: "Calls of {size}, {outstanding} outstanding; of ring: of the packets that it receives in a flood one way",
		main:  result.PerSec, columns: slices.Concat(figures{result.PerSec}, tails, cost),
	},
	"open": {
		title: "Calls of {size} at a given rate, each from when it was due; sent: from when it was sent; late: how late that was of itself",
		main:  result.P99, columns: slices.Concat(tails, figures{sent(result.P50), sent(result.P99), sent(result.P999), late(result.P99), result.PerSec, result.CPU}),
		along: figures{result.P50, result.P99, result.P999, sent(result.P99), result.PerSec, result.CPU},
	},
	"sweep": {
		title: "Calls of {size}, each from when it was due, at loads by what the system carries in a closed loop",
		main:  result.P99, along: figures{result.P50, result.P99, result.P999, sent(result.P99), result.Offered, result.PerSec},
	},
	"sizes": {
		title: "Round trips, one outstanding, by payload",
		main:  result.P50, along: figures{result.P50, result.P99},
	},
	"bulk": {
		title: "Messages of {size} one way, {outstanding} outstanding; of ring: of the payload of its flood one way, as large as the link takes",
		main:  result.Gbit, columns: slices.Concat(figures{result.Gbit, messages}, tails, cost),
	},
	"incast": {
		title: "Messages of {size} from many senders, each with one outstanding, to one receiver",
		main:  result.Gbit, along: figures{result.Gbit, result.P50, result.P99},
	},
	"mixed": {
		title: "Round trips of {size} beside messages of 1 MiB one way, over a connection each",
		main:  result.P99, columns: slices.Concat(tails, figures{result.PerSec, bulk(result.P50), bulk(result.P99), result.Gbit}),
	},
	"sessions": {
		title: "Round trips of {size} over many connections in turn",
		main:  result.P50, along: figures{result.P50, result.P99, result.PerSec},
	},
	"loss": {
		title: "Round trips of {size} with packets dropped on purpose",
		main:  result.P99, along: figures{result.P50, result.P99, result.P999, result.PerSec},
	},
	"idle": {
		title: "Pauses, a first call of {size} after each, and some more; busy: what both processes take of a CPU, nearly all of it in the pauses",
		main:  first(result.P50), along: figures{first(result.P50), first(result.P99), result.P50, result.ClientBusy, result.ServerBusy},
	},
	"churn": {
		title: "Connections that are dialled, carry one call of {size} and are closed; p50, p99: of all three",
		main:  result.PerSec, columns: slices.Concat(figures{result.PerSec, result.P50, result.P99, dial(result.P50), dial(result.P99), call(result.P50), end(result.P50)}, cost),
	},
	"flood": {
		title: "Packets of {size} (IP) in a flood one way; those that arrive",
		main:  packets, columns: figures{packets, result.Gbit, result.ClientBusy, result.ServerBusy},
	},
}

// calls a second of what makes calls; a flood's packets are none.
func calls(r *result.Round) float64 {
	if r.Latency == nil {
		return math.NaN()
	}
	return r.PerSec
}

func layoutOf(r *result.Report) layout {
	l, ok := layouts[r.Run.Workload]
	if !ok {
		l = layouts["latency"]
		l.title = "Workload " + r.Run.Workload + ", {size}"
	}
	if l.along == nil {
		l.along = l.columns
	}
	if l.columns == nil {
		l.columns = l.along
	}
	at := r.Results[0].Point
	l.title = strings.NewReplacer("{size}", size(at.Size), "{outstanding}", strconv.Itoa(at.Outstanding)).Replace(l.title)
	return l
}
