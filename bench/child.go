package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/fastrpc/fastrpc/bench/machine"
	"github.com/fastrpc/fastrpc/bench/meter"
	"github.com/fastrpc/fastrpc/bench/result"
)

// Parent and child talk in lines of JSON: an order on the child's standard input, an answer to each on its standard output. The end of the
// input ends the child.
//
//	server: serve → ready; count, counted → instructions; start, stop → what was used in between
//	client: connect, warm; count → instructions of some calls; run → the round's figures
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
	Counted   *counted      `json:"counted,omitempty"`
	About     *about        `json:"about,omitempty"`
	Uncounted int64         `json:"uncounted,omitempty"` // calls since the server's start that are not the round's
	Note      string        `json:"note,omitempty"`      // of a Noter
	Stamps    []byte        `json:"stamps,omitempty"`    // of workload anatomy: stamp.Encode
	Unstamped []string      `json:"unstamped,omitempty"` // of workload anatomy: what will not be stamped, and why
}

// about is what a side tells of itself.
type about struct {
	NIC      result.NIC `json:"nic"` // but for what the system was granted
	GoGC     string     `json:"gogc"`
	MaxProcs int        `json:"gomaxprocs"`
	Counters string     `json:"counters"`
	Counts   bool       `json:"counts"` // instructions
}

func newAbout(iface string) *about {
	a := &about{NIC: machine.NIC(iface)}
	a.GoGC, a.MaxProcs = machine.GoSettings()
	a.Counters, a.Counts = meter.CountersScope()
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
// returns. in ends when the parent has no more orders, or is gone, however it went: so no child outlives its parent. If in is a pipe, and ends
// while the child is busy with an order, the process exits.
func Child(in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c := child{ctx: ctx, cancel: cancel, served: make(chan error, 1)}
	defer c.close()
	go exitWithParent(in, &c.busy)
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
		c.busy.Store(true)
		a := c.obey(line)
		c.busy.Store(false)
		if err := enc.Encode(a); err != nil {
			return err
		}
	}
}

type child struct {
	ctx      context.Context
	cancel   context.CancelFunc
	busy     atomic.Bool // an order is obeyed
	serving  bool
	served   chan error // Serve's result
	client   *client
	about    *about
	meter    *meter.Meter
	counters *meter.Counters // while it counts instructions
	losing   io.Closer       // of packets that come in, see workload loss
	anatomy  anatomySide
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
		c.about = newAbout(o.Endpoint.Interface)
		return answer{About: c.about}, c.connect(o)
	case o.Do == "warm" && c.client != nil:
		_, err := c.client.some(o.bound())
		return answer{}, err
	case o.Do == "count" && c.about != nil:
		return c.count(o.bound())
	case o.Do == "counted":
		n, err := c.stopCounters()
		return answer{Counted: &counted{Counted: n}}, err
	case o.Do == "run" && c.client != nil:
		r, counts, uncounted, err := c.client.measure(o.bound(), c.meter)
		return answer{Round: &r, Counts: &counts, Uncounted: uncounted, Note: c.client.note()}, err
	case c.anatomy.side != nil:
		return c.stamp(o)
	}
	return answer{}, fmt.Errorf("control channel: order %q does not fit", o.Do)
}

func (c *child) serve(o *order) (answer, error) {
	s, err := Lookup(o.System)
	if err != nil {
		return answer{}, err
	}
	if s, err = c.stamped(s, o); err != nil {
		return answer{}, err
	}
	allowFiles(o.Endpoint)
	if err := c.lose(s, o.Endpoint); err != nil {
		return answer{}, err
	}
	ready := make(chan Ready, 1)
	c.serving = true
	go func() {
		c.served <- explainFiles(s.Serve(c.ctx, *o.Endpoint, func(r Ready) { ready <- r }), o.Endpoint)
	}()
	select {
	case r := <-ready:
		if ifi, err := net.InterfaceByName(o.Endpoint.Interface); err == nil {
			r.MAC = ifi.HardwareAddr.String()
		}
		c.meter = meter.New(meter.Config{Interface: o.Endpoint.Interface, Own: r.Counters})
		c.about = newAbout(o.Endpoint.Interface)
		return answer{Ready: &r, About: c.about}, nil
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
	if s, err = c.stamped(s, o); err != nil {
		return err
	}
	allowFiles(o.Endpoint)
	if err := c.lose(s, o.Endpoint); err != nil {
		return err
	}
	if c.client, err = connect(c.ctx, s, o.Endpoint); err != nil {
		return explainFiles(err, o.Endpoint)
	}
	c.meter = meter.New(meter.Config{Interface: o.Endpoint.Interface, Own: c.client.counters})
	return nil
}

// lose has this side's interface lose packets where the endpoint says so, and the system does not see to it itself.
func (c *child) lose(s System, e *Endpoint) (err error) {
	if e.Loss > 0 && !s.Bypass() {
		c.losing, err = dropArrivals(e.Interface, e.Loss)
	}
	return err
}

func (o *order) bound() bound { return bound{requests: o.Requests, duration: o.Duration} }

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
	if c.client != nil {
		c.client.close()
	}
	if c.losing != nil {
		_ = c.losing.Close() // the kernel does it otherwise
	}
}
