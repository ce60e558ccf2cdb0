package session

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"time"

	"github.com/fastrpc/fastrpc/transport"
)

// bottleneck is a model of one link with a tail-drop queue that several senders share: every packet is an event, every packet is acknowledged.
type bottleneck struct {
	rate    float64       // packets a second
	baseRTT time.Duration // of an empty path
	queue   int           // packets that wait at most
	loss    float64       // share of packets lost at random, none of the queue's doing
	mark    int           // packets in the queue above which CE is set; 0: never
	pause   time.Duration // the receiver answers nothing for so long, once in 10 pauses' time

	now     transport.Time
	freeAt  transport.Time
	random  *rand.Rand
	flows   []*modelSender
	events  eventHeap
	order   int
	dropped int
	waited  time.Duration // sum over all packets
	served  int
}

type modelSender struct {
	controller
	started   bool
	next      uint64
	sentAt    map[uint64]transport.Time
	top       uint64 // newest acknowledged
	least     time.Duration
	rtt       time.Duration
	nextAt    transport.Time // pacing
	heardAt   transport.Time
	timeouts  int
	delivered int
}

type modelEvent struct {
	at     transport.Time
	order  int
	flow   *modelSender
	number uint64 // acknowledged; 0: the flow looks at its timers
	marked bool
}

type eventHeap []modelEvent

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].order < h[j].order
}
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *eventHeap) Push(x any)   { *h = append(*h, x.(modelEvent)) }
func (h *eventHeap) Pop() any {
	x := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return x
}

func (b *bottleneck) schedule(e modelEvent) {
	b.order++
	e.order = b.order
	heap.Push(&b.events, e)
}

// packets1500 is 10 Gbit/s in packets of 1,500 bytes.
const packets1500 = 10e9 / 8 / 1500

// tenGbit is the path of the requirements: 10 Gbit/s, 20 µs a way, 256 KiB of queue.
func tenGbit() *bottleneck {
	return &bottleneck{rate: packets1500, baseRTT: 40 * time.Microsecond, queue: 256 << 10 / 1500}
}

// start adds n flows, the i-th at i × apart.
func (b *bottleneck) start(n, maxWindow int, apart time.Duration) {
	if b.random == nil {
		b.random = rand.New(rand.NewPCG(1, 2))
		b.now = transport.Time(time.Second)
	}
	for i := range n {
		f := &modelSender{controller: newController(Swift, maxWindow, 0), next: 1, least: math.MaxInt64, sentAt: map[uint64]transport.Time{}}
		b.flows = append(b.flows, f)
		b.schedule(modelEvent{at: b.now.Add(time.Duration(i) * apart), flow: f})
	}
}

// run lets d pass and returns how many packets each flow delivered in it.
func (b *bottleneck) run(d time.Duration) []float64 {
	before := make([]int, len(b.flows))
	for i, f := range b.flows {
		before[i] = f.delivered
	}
	b.waited, b.served, b.dropped = 0, 0, 0
	end := b.now.Add(d)
	for len(b.events) > 0 && b.events[0].at <= end {
		e := heap.Pop(&b.events).(modelEvent)
		b.now = e.at
		b.step(e)
	}
	b.now = end
	got := make([]float64, len(b.flows))
	for i, f := range b.flows {
		got[i] = float64(f.delivered - before[i])
	}
	return got
}

func (b *bottleneck) step(e modelEvent) {
	f := e.flow
	if e.number != 0 {
		if at, ok := f.sentAt[e.number]; ok {
			flight := len(f.sentAt)
			delete(f.sentAt, e.number)
			f.delivered++
			f.rtt = b.now.Sub(at)
			f.least = min(f.least, f.rtt)
			f.heardAt, f.timeouts = b.now, 0
			f.acked(b.now, 1, flight, f.rtt, f.least, e.marked)
		}
		f.top = max(f.top, e.number)
		for n, at := range f.sentAt { // in any order: their moment is the same
			if n+packetThreshold <= f.top {
				delete(f.sentAt, n)
				f.lost(b.now, at)
			}
		}
	} else {
		if !f.started {
			f.started, f.heardAt = true, b.now
		}
		if pto := f.pto() << f.timeouts; len(f.sentAt) > 0 && b.now.Sub(f.heardAt) >= pto {
			f.timeouts, f.heardAt = f.timeouts+1, b.now
			for n, at := range f.sentAt { // what is sent next probes
				delete(f.sentAt, n)
				f.lost(b.now, at)
			}
			f.timedOut(b.now, f.timeouts)
		}
		wake := b.now.Add(f.pto() / 4)
		if f.nextAt > b.now {
			wake = min(wake, f.nextAt)
		}
		b.schedule(modelEvent{at: wake, flow: f})
	}
	b.send(f)
}

func (f *modelSender) pto() time.Duration { return max(3*f.rtt, initialRTT) }

func (b *bottleneck) send(f *modelSender) {
	for {
		w, gap := f.window()
		if len(f.sentAt) >= w || gap > 0 && b.now < f.nextAt {
			return
		}
		f.nextAt = b.now.Add(gap)
		n := f.next
		f.next++
		f.sentAt[n] = b.now
		start := max(b.now, b.freeAt)
		backlog := int(start.Sub(b.now).Seconds() * b.rate)
		if backlog >= b.queue {
			b.dropped++
			continue
		}
		b.freeAt = start.Add(time.Duration(1e9 / b.rate))
		b.waited += start.Sub(b.now)
		b.served++
		if b.random.Float64() < b.loss {
			continue
		}
		back := b.freeAt.Add(b.baseRTT)
		if b.pause > 0 { // the receiver answers at the end of its pause
			if into := time.Duration(back) % (10 * b.pause); into < b.pause {
				back = back.Add(b.pause - into)
			}
		}
		b.schedule(modelEvent{at: back, flow: f, number: n, marked: b.mark > 0 && backlog > b.mark})
	}
}

// meanQueue is the mean waiting time of the packets since the last run began.
func (b *bottleneck) meanQueue() time.Duration { return b.waited / time.Duration(max(b.served, 1)) }

func sumOf(xs []float64) (s float64) {
	for _, x := range xs {
		s += x
	}
	return s
}

// spread compares shares: the largest deviation from the fair one, and Jain's index.
func spread(xs []float64) (deviation, jain float64) {
	mean, squares := sumOf(xs)/float64(len(xs)), 0.0
	for _, x := range xs {
		deviation = max(deviation, math.Abs(x/mean-1))
		squares += x * x
	}
	return deviation, sumOf(xs) * sumOf(xs) / (float64(len(xs)) * squares)
}
