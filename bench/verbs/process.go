//go:build rdma

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/bench/machine"
	"github.com/fastrpc/fastrpc/bench/perftest"
	"github.com/fastrpc/fastrpc/bench/result"
	"github.com/fastrpc/fastrpc/rdma"
)

// startOn starts a process on a CPU.
func startOn(cpu int, cmd *exec.Cmd) error {
	runtime.LockOSThread() // whose CPUs the process inherits
	defer runtime.UnlockOSThread()
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return err
	}
	one.Set(cpu)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return err
	}
	err := cmd.Start()
	_ = unix.SchedSetaffinity(0, &before)
	return err
}

// ours runs both sides of one of our systems, and gives the client's figures.
func ours(o options, system string) (*result.Latency, error) {
	var sides [2]struct {
		cmd *exec.Cmd
		in  *json.Encoder
		out *json.Decoder
	}
	var client result.Latency
	for i := range sides {
		s := &sides[i]
		s.cmd = exec.Command("/proc/self/exe", "--play", system, "--device", o.device, "--addr", o.addr.String(), "--size", strconv.Itoa(o.size),
			"--requests", strconv.Itoa(o.requests), "--server="+strconv.FormatBool(i == 0))
		s.cmd.Stderr = os.Stderr
		s.cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
		in, err := s.cmd.StdinPipe()
		if err != nil {
			return nil, err
		}
		out, err := s.cmd.StdoutPipe()
		if err != nil {
			return nil, err
		}
		s.in, s.out = json.NewEncoder(in), json.NewDecoder(out)
		if err := startOn(i%runtime.NumCPU(), s.cmd); err != nil {
			return nil, err
		}
		defer func() { // a side that waits for the end ends by this
			_ = in.Close()
			_ = s.cmd.Wait()
		}()
	}
	var spots [2]spot
	for range 2 { // where each is; that each is ready
		for i := range sides {
			if err := sides[i].out.Decode(&spots[i]); err != nil {
				return nil, fmt.Errorf("%s: side %d: %w", system, i, err)
			}
		}
		for i := range sides {
			if err := sides[i].in.Encode(spots[1-i]); err != nil {
				return nil, fmt.Errorf("%s: side %d: %w", system, i, err)
			}
		}
	}
	if err := sides[1].out.Decode(&client); err != nil {
		return nil, fmt.Errorf("%s: client: %w", system, err)
	}
	return &client, nil
}

// theirs runs one of perftest's programs, server and client, and gives the client's figures as round trips.
func theirs(o options, tool string, args []string, trips time.Duration) (*result.Latency, error) {
	e, err := newEnd(o.device, o.addr, rdma.UD)
	if err != nil {
		return nil, err
	}
	r := perftest.Run{Tool: tool, Args: args, Device: o.device, Port: 1, GID: e.gid.Index, TCP: perftestPort, Size: o.size, Count: o.requests}
	if err := e.close(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), giveUp)
	defer cancel()
	server := r.Server(ctx)
	if err := startOn(0, server); err != nil {
		return nil, perftest.Explain(err)
	}
	times, err := r.Latency(ctx, o.addr, func(cmd *exec.Cmd) error { return startOn(1%runtime.NumCPU(), cmd) })
	if err != nil {
		cancel()
	}
	_ = server.Wait() // one that failed has no client either
	if err != nil {
		return nil, err
	}
	h, longest := result.NewHistogram(), time.Duration(0)
	for _, t := range times {
		t *= trips
		longest = max(longest, t)
		_ = h.RecordValue(int64(min(t, result.LongestLatency)))
	}
	return result.NewLatency(h, longest), nil
}

// perftestPort is where its server listens, as it does by itself.
const perftestPort = 18515

func write(o options, r *result.Report) error {
	r.Machine = machine.Describe()
	r.Machine.Pinning = "server on CPU 0, client on CPU 1"
	r.Machine.Network = "one port of " + o.device + ", to itself"
	if o.json == "" {
		return nil
	}
	if o.json == "-" {
		return r.Write(os.Stdout)
	}
	f, err := os.Create(o.json)
	if err != nil {
		return err
	}
	defer f.Close()
	return r.Write(f)
}
