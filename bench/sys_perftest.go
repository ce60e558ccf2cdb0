//go:build rdma

package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"time"

	"github.com/fastrpc/fastrpc/bench/perftest"
	"github.com/fastrpc/fastrpc/bench/result"
	"github.com/fastrpc/fastrpc/rdma"
)

func init() {
	ud, rc := []string{"-c", "UD"}, []string(nil)
	for _, f := range []floor{
		{name: "ib_send_lat", tool: "ib_send_lat", args: ud, trips: 2, count: 10_000},
		{name: "ib_send_lat-rc", tool: "ib_send_lat", args: rc, trips: 2, count: 10_000},
		{name: "ib_write_lat", tool: "ib_write_lat", args: rc, trips: 2, count: 10_000},
		{name: "ib_read_lat", tool: "ib_read_lat", args: rc, trips: 1, count: 10_000},
		{name: "ib_send_bw", tool: "ib_send_bw", args: rc, count: 100_000},
	} {
		if _, err := exec.LookPath(f.tool); err != nil {
			AddMissing(f.name, perftest.Explain(err).Error())
		} else {
			Register(f)
		}
	}
}

// floor is one of perftest's tools, by its own method: what the card does without any protocol. It is run as often as a round needs, each time
// for as many messages, since both sides have to be told the same number beforehand.
type floor struct {
	name, tool string
	args       []string
	trips      time.Duration // by which its times are multiplied to be a round trip's
	count      int
}

func (f floor) Name() string { return f.name }
func (floor) Bypass() bool   { return false }
func (floor) RDMA() bool     { return true }

func (f floor) Has(w string) bool {
	if f.trips == 0 {
		return w == Flood
	}
	return w == Latency || w == Sizes
}

// Serve serves one client after the other.
func (f floor) Serve(ctx context.Context, e Endpoint, ready func(Ready)) error {
	at, err := freePort(e.Local)
	if err != nil {
		return err
	}
	r, err := f.run(&e, at.Port())
	if err != nil {
		return err
	}
	ready(Ready{Addr: at})
	for {
		text, err := r.Server(ctx).CombinedOutput()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w: %s", f.tool, err, text)
		}
	}
}

// freePort finds a port for the tool to listen at.
func freePort(local netip.AddrPort) (netip.AddrPort, error) {
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(local))
	if err != nil {
		return local, err
	}
	at := l.Addr().(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(local.Addr(), at.Port()), l.Close()
}

// run finds the device that has the side's address.
func (f floor) run(e *Endpoint, tcp uint16) (r perftest.Run, err error) {
	r = perftest.Run{Tool: f.tool, Args: f.args, TCP: int(tcp), Size: e.Size, Count: f.count}
	cm, err := rdma.NewCM()
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, cm.Close()) }()
	l, err := cm.Listen(rdma.RC, netip.AddrPortFrom(e.Local.Addr(), 0))
	if err != nil {
		return r, err
	}
	defer l.Close()
	r.Device, r.Port = l.Device()
	c, err := rdma.Open(r.Device)
	if err != nil {
		return r, err
	}
	defer c.Close()
	port, err := c.Port(r.Port)
	if err != nil {
		return r, err
	}
	gid, err := port.Row(l.GID())
	r.GID = gid.Index
	return r, err
}

func (f floor) Connect(_ context.Context, e Endpoint) (Caller, error) {
	r, err := f.run(&e, e.Remote.Port())
	if err != nil {
		return nil, err
	}
	return &floorCaller{floor: f, run: r, server: e.Remote.Addr()}, nil
}

type floorCaller struct {
	floor  floor
	run    perftest.Run
	server netip.Addr
}

func (c *floorCaller) Call([]byte) error {
	return fmt.Errorf("%s makes its calls itself", c.floor.tool)
}
func (c *floorCaller) Close() error { return nil }

// Measure implements [Measurer].
func (c *floorCaller) Measure(requests int, d time.Duration, rec *Recorder) (r result.Round, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), limitOf(&order{Requests: requests, Duration: d}))
	defer cancel()
	if c.floor.trips == 0 {
		return c.flood(ctx, d)
	}
	var elapsed time.Duration
	for done := 0; done < requests || requests == 0 && elapsed < d; {
		times, err := c.run.Latency(ctx, c.server, (*exec.Cmd).Start)
		if err != nil {
			return r, err
		}
		for _, t := range times {
			if done == requests && requests > 0 {
				break
			}
			rec.Record(t * c.floor.trips)
			elapsed += t * c.floor.trips
			done++
		}
	}
	return rec.Round(elapsed), nil
}

func (c *floorCaller) flood(ctx context.Context, d time.Duration) (r result.Round, err error) {
	for r.Seconds == 0 || r.Seconds < d.Seconds() {
		rate, err := c.run.Rate(ctx, c.server, (*exec.Cmd).Start)
		if err != nil {
			return r, err
		}
		r.Ops += int64(c.run.Count)
		r.Seconds += float64(c.run.Count) / rate
	}
	r.PerSec = float64(r.Ops) / r.Seconds
	r.SetBits(r.Ops * int64(c.run.Size))
	return r, nil
}
