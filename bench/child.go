package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"runtime"
	"time"

	"github.com/fastrpc/fastrpc/bench/machine"
	"github.com/fastrpc/fastrpc/bench/meter"
	"github.com/fastrpc/fastrpc/bench/result"
)

// Parent and child talk in lines of JSON: an order on the child's standard input, an answer to each on its standard output. The end of the
// input ends the child.
//
//	server: serve → ready, then start, stop → the allocations in between
//	client: connect, warm, run → the round's figures
type order struct {
	Do       string        `json:"do"`
	System   string        `json:"system,omitempty"`
	Endpoint *Endpoint     `json:"endpoint,omitempty"`
	Requests int           `json:"requests,omitempty"`
	Duration time.Duration `json:"duration_ns,omitempty"`
}

type answer struct {
	Error     string        `json:"error,omitempty"`
	Ready     *Ready        `json:"ready,omitempty"`
	Round     *result.Round `json:"round,omitempty"`
	Counts    *meter.Counts `json:"counts,omitempty"`
	About     *about        `json:"about,omitempty"`
	Uncounted int64         `json:"uncounted,omitempty"` // calls since the server's start that are not the round's
	Note      string        `json:"note,omitempty"`      // of a Noter
}

// about is what a side tells of itself.
type about struct {
	NIC      result.NIC `json:"nic"` // but for what the system was granted
	GoGC     string     `json:"gogc"`
	MaxProcs int        `json:"gomaxprocs"`
}

func newAbout(iface string) *about {
	a := &about{NIC: machine.NIC(iface)}
	a.GoGC, a.MaxProcs = machine.GoSettings()
	return a
}

// The two orders around the measured loop are compared and answered as bytes, so that the server's own control channel allocates nothing
// in between and the count is the loop's alone.
var (
	startLine = []byte(`{"do":"start"}`)
	stopLine  = []byte(`{"do":"stop"}`)
	emptyLine = []byte("{}\n")
)

// Child serves one side of one run on behalf of a comparing parent. It is what the command in Config.Child calls, which exits when Child
// returns. in ends when the parent has no more orders, or is gone, however it went: so no child outlives its parent.
func Child(in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c := child{ctx: ctx, served: make(chan error, 1)}
	defer c.close()
	lines := bufio.NewReader(in)
	enc := json.NewEncoder(out)
	for {
		line, err := lines.ReadSlice('\n')
		if err == io.EOF {
			cancel()
			return c.wait()
		}
		if err != nil {
			return fmt.Errorf("bench: control channel: %w", err)
		}
		line = line[:len(line)-1]
		if bytes.Equal(line, startLine) {
			c.meter.Start()
			if _, err := out.Write(emptyLine); err != nil {
				return err
			}
			continue
		}
		if bytes.Equal(line, stopLine) {
			counts := c.meter.Stop()
			if err := enc.Encode(answer{Counts: &counts}); err != nil {
				return err
			}
			continue
		}
		if err := enc.Encode(c.obey(line)); err != nil {
			return err
		}
	}
}

type child struct {
	ctx      context.Context
	serving  bool
	served   chan error // Serve's result
	endpoint Endpoint   // of the client
	caller   Caller
	payload  []byte  // of workload latency
	window   *window // of the others
	calls    uint64
	meter    *meter.Meter
}

func (c *child) obey(line []byte) answer {
	var o order
	if err := json.Unmarshal(line, &o); err != nil {
		return answer{Error: fmt.Sprintf("control channel: %v", err)}
	}
	a, err := c.do(&o)
	if err != nil {
		return answer{Error: err.Error()}
	}
	return a
}

func (c *child) do(o *order) (answer, error) {
	switch {
	case o.Do == "serve" && o.Endpoint != nil:
		return c.serve(o)
	case o.Do == "connect" && o.Endpoint != nil:
		return answer{About: newAbout(o.Endpoint.Interface)}, c.connect(o)
	case o.Do == "warm" && c.caller != nil:
		_, err := c.measure(o, NewRecorder())
		return answer{}, err
	case o.Do == "run" && c.caller != nil:
		return c.run(o)
	}
	return answer{}, fmt.Errorf("control channel: order %q does not fit", o.Do)
}

func (c *child) serve(o *order) (answer, error) {
	s, err := Lookup(o.System)
	if err != nil {
		return answer{}, err
	}
	ready := make(chan Ready, 1)
	c.serving = true
	go func() { c.served <- s.Serve(c.ctx, *o.Endpoint, func(r Ready) { ready <- r }) }()
	select {
	case r := <-ready:
		if ifi, err := net.InterfaceByName(o.Endpoint.Interface); err == nil {
			r.MAC = ifi.HardwareAddr.String()
		}
		c.meter = meter.New(meter.Config{Interface: o.Endpoint.Interface, Own: r.Counters})
		return answer{Ready: &r, About: newAbout(o.Endpoint.Interface)}, nil
	case err := <-c.served:
		c.serving = false
		if err == nil {
			err = fmt.Errorf("%s: the server ended before it was ready", o.System)
		}
		return answer{}, err
	}
}

func (c *child) connect(o *order) error {
	s, err := Lookup(o.System)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.ctx, callLimit)
	defer cancel()
	c.endpoint = *o.Endpoint
	if c.caller, err = s.Connect(ctx, c.endpoint); err != nil {
		return err
	}
	config := meter.Config{Interface: c.endpoint.Interface}
	if counting, ok := c.caller.(Counting); ok {
		config.Own = counting.Counters
	}
	c.meter = meter.New(config)
	if c.endpoint.Workload == Latency {
		c.payload = pattern(c.endpoint.Size)
	} else if _, ok := c.caller.(Pipeline); ok {
		c.window = newWindow(&c.endpoint)
	}
	return nil
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

// What goes before the measured calls. On its one CPU the server's control goroutine, blocked in a read once it answered "start", keeps
// the processor until the runtime notices, which takes the first call 10 to 20 ms.
const (
	settleCalls = 64
	settleFor   = 20 * time.Millisecond
)

func (c *child) run(o *order) (answer, error) {
	rec := NewRecorder()
	runtime.GC() // the warm-up's rubbish is not the loop's
	before, settle := c.calls, order{Requests: settleCalls}
	if c.endpoint.Workload != Latency {
		settle = order{Duration: settleFor}
	}
	if _, err := c.measure(&settle, NewRecorder()); err != nil {
		return answer{}, err
	}
	c.meter.Start()
	r, err := c.measure(o, rec)
	counts := c.meter.Stop()
	if err != nil {
		return answer{}, err
	}
	r.Latency = rec.Latency()
	return answer{Round: &r, Counts: &counts, Uncounted: max(int64(c.calls-before)-r.Ops, 0), Note: noteOf(c.caller)}, nil
}

// measure makes calls as the workload has it: o.Requests of them, which only workload latency heeds, or for o.Duration.
func (c *child) measure(o *order, rec *Recorder) (r result.Round, err error) {
	var elapsed time.Duration
	p, pipelines := c.caller.(Pipeline)
	m, measures := c.caller.(Measurer)
	switch {
	case measures:
		return m.Measure(o.Requests, o.Duration, rec)
	case c.endpoint.Workload == Latency:
		elapsed, err = c.loop(o, rec)
	case pipelines:
		elapsed, err = c.load(p, o.Duration, rec)
	default:
		err = fmt.Errorf("the system has no workload %s", c.endpoint.Workload)
	}
	if err != nil {
		return r, fmt.Errorf("call %d: %w", c.calls, err)
	}
	r = rec.Round(elapsed)
	if c.endpoint.Workload == Bulk {
		r.SetBits(r.Ops * int64(c.endpoint.Size))
	}
	return r, nil
}

// loop makes o.Requests calls, or calls for o.Duration. It allocates nothing.
func (c *child) loop(o *order, rec *Recorder) (time.Duration, error) {
	requests := o.Requests
	if requests == 0 {
		requests = math.MaxInt
	}
	begin := time.Now()
	for range requests {
		c.calls++
		number(c.payload, c.calls)
		t := time.Now()
		if err := c.caller.Call(c.payload); err != nil {
			return 0, err
		}
		rec.Record(time.Since(t))
		if o.Duration > 0 && time.Since(begin) >= o.Duration {
			break
		}
	}
	return time.Since(begin), nil
}

// number writes n into the payload, so that the echo of another call is not taken for this one's.
func number(payload []byte, n uint64) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], n)
	copy(payload, b[:])
}

func (c *child) wait() error {
	if !c.serving {
		return nil
	}
	select {
	case err := <-c.served:
		return err
	case <-time.After(endLimit):
		return fmt.Errorf("bench: the server did not end within %v", endLimit)
	}
}

func (c *child) close() {
	if c.meter != nil {
		c.meter.Close()
	}
	if c.caller != nil {
		_ = c.caller.Close() // the process ends; nobody is there to hear
	}
}
