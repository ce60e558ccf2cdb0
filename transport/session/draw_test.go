package session_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/sim"
)

// drawing makes a schedule from a seed.
type drawing struct {
	*rand.Rand
	items []item
	span  time.Duration // in which calls begin and accidents happen
}

// draw makes the schedule of a seed.
func draw(seed uint64) []item {
	d := &drawing{Rand: rand.New(rand.NewPCG(seed, 0xc4a05))}
	d.span = d.upTo(150 * time.Millisecond)
	d.network()
	for end := range 2 {
		d.end(end)
	}
	for id := range 10 + d.IntN(50) {
		d.call(id)
	}
	d.accidents()
	return d.items
}

var (
	ends  = [2]string{"client", "server"}
	addrs = [2]netip.AddrPort{clientAddr, serverAddr}
)

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

func (d *drawing) chance(p float64) bool { return d.Float64() < p }

// upTo draws a duration of at least a microsecond, in microseconds.
func (d *drawing) upTo(most time.Duration) time.Duration {
	return time.Duration(d.Int64N(most.Microseconds())+1) * time.Microsecond
}

func (d *drawing) add(apply func(p *plan), format string, args ...any) {
	d.items = append(d.items, item{fmt.Sprintf(format, args...), apply})
}

// network draws what happens to packets: mostly the same both ways, sometimes not.
func (d *drawing) network() {
	if d.chance(0.75) {
		d.ways("both ways", 0, 1)
		return
	}
	d.ways("client to server", 0)
	d.ways("server to client", 1)
}

func (d *drawing) ways(name string, ways ...int) {
	add := func(set func(f *sim.Faults), format string, args ...any) {
		d.add(func(p *plan) {
			for _, i := range ways {
				set(&p.faults[i])
			}
		}, "%s: %s", name, fmt.Sprintf(format, args...))
	}
	delay, jitter := d.upTo(200*time.Microsecond), d.upTo(100*time.Microsecond)
	add(func(f *sim.Faults) { f.Delay, f.Jitter = delay, jitter }, "delay %v to %v", delay, delay+jitter)
	if d.chance(0.3) {
		shape := pick(d.Rand, sim.Normal, sim.Pareto)
		add(func(f *sim.Faults) { f.JitterShape = shape }, "%s jitter", [...]string{sim.Normal: "normal", sim.Pareto: "Pareto's"}[shape])
	}
	loss := 0.0
	if d.chance(0.8) {
		loss = d.Float64() * 0.3 * d.Float64()
	}
	if d.chance(0.2) {
		loss = 0.3
	}
	if loss > 0 {
		add(func(f *sim.Faults) { f.Loss = loss }, "loss of %.3f", loss)
	}
	if d.chance(0.2) {
		share, burst := d.Float64()*0.3+0.001, 1+d.Float64()*20
		add(func(f *sim.Faults) { f.Burst = sim.BurstLoss(share, burst) }, "loss of %.3f in bursts of %.1f", share, burst)
	}
	if d.chance(0.5) {
		p := d.Float64() * 0.2
		add(func(f *sim.Faults) { f.Duplicate = p }, "duplication of %.3f", p)
	}
	if d.chance(0.5) {
		p, late := d.Float64()*0.3, d.upTo(5*time.Millisecond)
		add(func(f *sim.Faults) { f.Reorder, f.ReorderDelay = p, late }, "reordering of %.3f, by up to %v", p, late)
	}
	if d.chance(0.5) {
		p := d.Float64() * 0.1
		add(func(f *sim.Faults) { f.Corrupt = p }, "corruption of %.3f", p)
	}
	if d.chance(0.2) {
		p := d.Float64() * 0.1
		add(func(f *sim.Faults) { f.CorruptHeader = p }, "corruption of %.3f, of headers", p)
	}
	if d.chance(0.3) {
		b := sim.Bandwidth{BitsPerSecond: pick[int64](d.Rand, 20e6, 100e6, 1e9), QueueBytes: 10000 + d.IntN(200000), MarkBytes: d.IntN(20000)}
		add(func(f *sim.Faults) { f.Bandwidth = b }, "%d Mbit/s behind a queue of %d bytes, marked above %d", b.BitsPerSecond/1e6, b.QueueBytes, b.MarkBytes)
	}
	if d.chance(0.3) {
		p, late := d.Float64()*0.02, d.upTo(60*time.Millisecond)
		add(func(f *sim.Faults) { f.Spike, f.SpikeDelay = p, late }, "standstills at %.3f of the packets, of %v", p, late)
	}
}

// end draws how an end is sized and what its clock shows.
func (d *drawing) end(end int) {
	add := func(apply func(p *plan), format string, args ...any) {
		d.add(apply, "%s: %s", ends[end], fmt.Sprintf(format, args...))
	}
	config := func(name string, value any, set func(cfg *session.Config)) {
		add(func(p *plan) { set(&p.configs[end]) }, "Config.%s %v", name, value)
	}
	if n := pick(d.Rand, 0, 0, 12, 40); n > 0 {
		config("Calls", n, func(cfg *session.Config) { cfg.Calls = n })
	}
	if n := pick(d.Rand, 0, 1, 4, 16); n > 0 {
		config("CallsPerSession", n, func(cfg *session.Config) { cfg.CallsPerSession = n })
	}
	if n := pick(d.Rand, uint32(0), 1<<20, 20000); n > 0 {
		config("MaxMessage", n, func(cfg *session.Config) { cfg.MaxMessage = n })
	}
	if n := pick(d.Rand, int64(0), 0, 300000, 60000); n > 0 {
		config("Reassembly", n, func(cfg *session.Config) { cfg.Reassembly = n })
	}
	if n := pick(d.Rand, 0, 4, 32); n > 0 {
		config("Window", n, func(cfg *session.Config) { cfg.Window = n })
	}
	if n := pick(d.Rand, 0, 0, 1, 5); n > 0 {
		config("StreamWindow", n, func(cfg *session.Config) { cfg.StreamWindow = n })
	}
	if n := pick(d.Rand, int64(0), 0, 20000, 100000); n > 0 {
		config("Credit", n, func(cfg *session.Config) { cfg.Credit = n })
	}
	if d.chance(0.2) {
		config("Congestion", "fixed", func(cfg *session.Config) { cfg.Congestion = session.Fixed })
	}
	if v := pick(d.Rand, 0, 0, 2*time.Millisecond); v > 0 {
		config("AckDelay", v, func(cfg *session.Config) { cfg.AckDelay = v })
	}
	if v := pick(d.Rand, 0, 0, time.Millisecond); v > 0 {
		config("LazyAckDelay", v, func(cfg *session.Config) { cfg.LazyAckDelay = v })
	}
	if v := pick(d.Rand, 0, 200*time.Microsecond, 5*time.Millisecond); v > 0 {
		config("MinPTO", v, func(cfg *session.Config) { cfg.MinPTO = v })
	}
	if d.chance(0.33) {
		add(func(p *plan) { p.links[end].Frames = 64 }, "64 frames")
	}
	if n := pick(d.Rand, 600, 1500, 2048); n < 2048 {
		add(func(p *plan) { p.links[end].MTU = n }, "MTU %d", n)
	}
	if d.chance(0.5) {
		add(func(p *plan) { p.links[end].Burst = 4 }, "bursts of 4")
	}
	if v := pick(d.Rand, 0, 0, 30*time.Microsecond, time.Millisecond); v > 0 {
		add(func(p *plan) { p.links[end].CompleteAfter = v }, "frames complete after %v", v)
	}
	if d.chance(0.5) {
		add(func(p *plan) { p.links[end].Unreachable = true }, "hears of packets that nobody took")
	}
	if d.chance(0.3) {
		v := d.upTo(5 * time.Hour)
		add(func(p *plan) { p.ahead[end] = v }, "its clock is ahead by %v", v)
	}
	if end == 0 && d.chance(0.5) {
		v := d.upTo(5 * time.Millisecond)
		add(func(p *plan) { p.redial = v }, "dials again after %v", v)
	}
}

// call draws a call, and then, each on a line of its own, what is special about it.
func (d *drawing) call(id int) {
	at := d.upTo(d.span)
	d.add(func(p *plan) { p.calls[id] = &chaosCall{id: id, at: at, request: idBytes, reply: idBytes} }, "call %d at %v", id, at)
	add := func(set func(k *chaosCall), format string, args ...any) {
		d.add(func(p *plan) {
			if k := p.calls[id]; k != nil {
				set(k)
			}
		}, "call %d: %s", id, fmt.Sprintf(format, args...))
	}
	n, m := d.size(), d.size()
	add(func(k *chaosCall) { k.request = n }, "a request of %d bytes", n)
	add(func(k *chaosCall) { k.reply = m }, "a reply of %d bytes", m)
	for i, what := range [2]string{"request", "reply"} {
		if d.chance(0.5) {
			add(func(k *chaosCall) { k.copied[i] = true }, "the %s is not built in place", what)
		}
	}
	after := func(chance float64, most time.Duration, what string, field func(k *chaosCall) *time.Duration) {
		if d.chance(chance) {
			v := d.upTo(most)
			add(func(k *chaosCall) { *field(k) = v }, "%s %v", what, v)
		}
	}
	after(0.3, 60*time.Millisecond, "the handler takes", func(k *chaosCall) *time.Duration { return &k.takes })
	after(0.5, 100*time.Millisecond, "a timeout of", func(k *chaosCall) *time.Duration { return &k.timeout })
	after(0.15, 30*time.Millisecond, "cancelled after", func(k *chaosCall) *time.Duration { return &k.cancel })
	after(0.2, 20*time.Millisecond, "the reply is held for", func(k *chaosCall) *time.Duration { return &k.holds })
	if d.chance(0.1) {
		add(func(k *chaosCall) { k.code = session.InvalidArgument }, "the handler answers with an error")
	}
	if d.chance(0.2) {
		add(func(k *chaosCall) { k.streams = true }, "a stream")
		for i, who := range ends {
			if sizes := d.sizes(); len(sizes) > 0 {
				add(func(k *chaosCall) { k.sizes[i] = sizes }, "%d messages of the %s's, of up to %d bytes", len(sizes), who, slices.Max(sizes))
			}
		}
	}
	if d.chance(0.02) {
		add(func(k *chaosCall) { k.discarded = true }, "discarded instead of started")
	}
}

// size draws the length of a message: mostly one packet, sometimes many.
func (d *drawing) size() int {
	switch {
	case d.chance(0.2):
		return idBytes + d.IntN(30000)
	case d.chance(0.05):
		return idBytes + d.IntN(200000)
	}
	return idBytes + d.IntN(500)
}

// sizes draws the lengths of a stream's messages in one direction: none, one, or a number of them, short or long.
func (d *drawing) sizes() []int {
	sizes := make([]int, pick(d.Rand, 0, 1, 1, 1+d.IntN(10), 1+d.IntN(100)))
	most := pick(d.Rand, 100, 1000, 10000)
	for i := range sizes {
		sizes[i] = d.IntN(most)
	}
	return sizes
}

// accidents draws what befalls the ends and the ways between them.
func (d *drawing) accidents() {
	for end := range 2 {
		d.accident(0.25, func() (func(c *chaos), string) {
			v := d.upTo(400 * time.Millisecond)
			return func(c *chaos) { c.pause(end, v) }, fmt.Sprintf("the %s pauses for %v", ends[end], v)
		})
		d.accident(0.1, func() (func(c *chaos), string) {
			v := pick(d.Rand, d.upTo(100*time.Millisecond), d.upTo(10*time.Second), d.upTo(5*time.Minute))
			return func(c *chaos) { c.jump(end, v) }, fmt.Sprintf("the %s's clock jumps ahead by %v", ends[end], v)
		})
		d.accident(0.15, func() (func(c *chaos), string) {
			v := d.upTo(400 * time.Millisecond)
			return func(c *chaos) { c.cut(end, v) }, fmt.Sprintf("nothing gets from the %s to the %s for %v", ends[end], ends[1-end], v)
		})
		d.accident(0.1, func() (func(c *chaos), string) {
			n, v := 1+d.IntN(16), d.upTo(100*time.Millisecond)
			return func(c *chaos) { c.replay(end, n, v) }, fmt.Sprintf("the %s's last %d packets come again after %v", ends[end], n, v)
		})
	}
	d.accident(0.05, func() (func(c *chaos), string) {
		v := d.upTo(800 * time.Millisecond)
		return func(c *chaos) { c.cut(0, v); c.cut(1, v) }, fmt.Sprintf("nothing gets through for %v", v)
	})
	d.accident(0.25, func() (func(c *chaos), string) {
		v := d.upTo(100 * time.Millisecond)
		return func(c *chaos) { c.crashServer(v) }, fmt.Sprintf("the server crashes and is there again after %v", v)
	})
	d.accident(0.1, func() (func(c *chaos), string) {
		return func(c *chaos) { c.rebind() }, "the client's address changes"
	})
	d.accident(0.1, func() (func(c *chaos), string) {
		v := d.upTo(100 * time.Millisecond)
		return func(c *chaos) { c.crashClient(v) }, fmt.Sprintf("the client crashes and is there again after %v", v)
	})
}

func (d *drawing) accident(chance float64, what func() (do func(c *chaos), text string)) {
	if !d.chance(chance) {
		return
	}
	at := d.upTo(d.span)
	do, text := what()
	d.add(func(p *plan) { p.accidents = append(p.accidents, accident{at, text, do}) }, "at %v %s", at, text)
}
