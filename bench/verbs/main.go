//go:build rdma

// Command verbs measures package rdma, and calls over it, beside perftest, the tools that come with RDMA: both by the same method, interleaved,
// client and server each a process on a CPU of its own, over one device of this machine.
//
//	apt-get install perftest
//	go run -tags rdma ./bench/verbs --device mlx5_0 --addr 192.0.2.7 --json rdma-64.json
//
// It prints the medians of all rounds. Times are of round trips; perftest's are doubled where it
// gives half of them.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/fastrpc/fastrpc/bench/result"
	"github.com/fastrpc/fastrpc/rdma/rxetest"
)

type options struct {
	device           string
	addr             netip.Addr
	size             int
	requests, warmUp int
	rounds           int
	json, play       string
	server, rxe      bool
}

func main() {
	var o options
	addr := flag.String("addr", rxetest.Addr, "the device's IP address")
	flag.StringVar(&o.device, "device", rxetest.Device, "RDMA device")
	flag.IntVar(&o.size, "size", 64, "payload, bytes, from 64 to 188")
	flag.IntVar(&o.requests, "requests", 2000, "measured, a round")
	flag.IntVar(&o.rounds, "rounds", 5, "turns through all systems")
	flag.StringVar(&o.json, "json", "", "write the report to this file; -: standard output")
	flag.BoolVar(&o.rxe, "rxe", false, "make a device of soft-RoCE first; for machines that are for tests")
	flag.StringVar(&o.play, "play", "", "") // a child's system
	flag.BoolVar(&o.server, "server", false, "")
	flag.Parse()
	if err := run(o, *addr); err != nil && !(o.server && errors.Is(err, io.EOF)) { // a server ends when its parent says no more
		fmt.Fprintln(os.Stderr, "verbs:", err)
		os.Exit(1)
	}
}

func run(o options, addr string) (err error) {
	if o.addr, err = netip.ParseAddr(addr); err != nil {
		return err
	}
	if o.size < 64 || o.size > inlineMax || o.requests < 100 || o.rounds < 1 {
		return errors.New("want --size from 64 to 188, at least 100 --requests, 1 --rounds")
	}
	o.warmUp = o.requests / 10
	if o.play != "" {
		runtime.GOMAXPROCS(1) // a side has one CPU; with more, whoever yields wakes up another thread (runtime/proc.go of Go 1.26, goschedImpl)
	}
	switch {
	case o.play == "rdma-ud":
		return call(o, !o.server)
	case o.play != "":
		return play(o, o.play, !o.server)
	case o.rxe:
		if err := rxetest.SetUp(); err != nil {
			return err
		}
	}
	return compare(o)
}

// pairs are what is compared: ours, perftest's program and its options, and by what perftest's time is multiplied to be a round trip.
var pairs = []struct {
	system, theirs string
	args           []string
	trips          time.Duration
}{
	{"rdma-send", "ib_send_lat", []string{"-c", "UD"}, 2},
	{"rdma-write", "ib_write_lat", nil, 2},
	{"rdma-read", "ib_read_lat", nil, 1},
	{"rdma-ud", "ib_send_lat", []string{"-c", "UD"}, 2},
}

func compare(o options) error {
	rep := result.Report{Schema: result.Schema, Run: result.Run{Workload: "latency", Rounds: o.rounds, Requests: o.requests}}
	of := map[string]*result.Result{}
	add := func(system string, round, place int, l *result.Latency, took time.Duration) {
		r := of[system]
		if r == nil {
			r = &result.Result{System: system, Point: result.Point{Size: o.size, Outstanding: 1, Clients: 1}}
			of[system] = r
			rep.Run.Systems = append(rep.Run.Systems, system)
		}
		secs := took.Seconds()
		r.Rounds = append(r.Rounds, result.Round{Number: round, Place: place, Ops: l.Count, Seconds: secs, PerSec: float64(l.Count) / secs, Latency: l})
	}
	for round := 1; round <= o.rounds; round++ {
		place := 0
		done := map[string]bool{}
		for _, p := range pairs {
			name := strings.Join(append([]string{p.theirs}, p.args...), " ")
			turns := []func() error{func() error {
				begin := time.Now()
				l, err := ours(o, p.system)
				if err == nil {
					place++
					add(p.system, round, place, l, time.Since(begin))
				}
				return err
			}}
			if !done[name] {
				done[name] = true
				turns = append(turns, func() error {
					begin := time.Now()
					l, err := theirs(o, p.theirs, p.args, p.trips)
					if err == nil {
						place++
						add(name, round, place, l, time.Since(begin))
					}
					return err
				})
			}
			if round%2 == 0 && len(turns) == 2 {
				turns[0], turns[1] = turns[1], turns[0]
			}
			for _, turn := range turns {
				if err := turn(); err != nil {
					return err
				}
			}
		}
	}
	for _, s := range rep.Run.Systems {
		rep.Results = append(rep.Results, *of[s])
	}
	for _, p := range pairs {
		floor := of[strings.Join(append([]string{p.theirs}, p.args...), " ")]
		ratio := result.Ratio(of[p.system], floor, result.P50)
		fmt.Printf("%-12s p50 %8.2f µs   %-18s %8.2f µs   ratio %.2f (%.2f to %.2f)\n", p.system, of[p.system].Median(result.P50), floor.System,
			floor.Median(result.P50), ratio.Value, ratio.Low, ratio.High)
	}
	return write(o, &rep)
}
