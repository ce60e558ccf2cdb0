//go:build rdma

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/bench/machine"
	"github.com/fastrpc/fastrpc/bench/result"
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

// perftest runs one of its programs, server and client, and reads all single times (-U).
func perftest(o options, name string, args []string, times float64) (*result.Latency, error) {
	args = append(args[:len(args):len(args)], "-d", o.device, "-s", strconv.Itoa(o.size), "-n", strconv.Itoa(o.requests), "-x", gidIndex(o), "-F", "-U")
	server := exec.Command(name, args...)
	server.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := startOn(0, server); err != nil {
		return nil, fmt.Errorf("%w: apt-get install perftest", err)
	}
	defer func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	}()
	var out []byte
	var err error
	for try := range 50 { // until the server listens
		var text bytes.Buffer
		client := exec.Command(name, append(args, o.addr.String())...)
		client.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
		client.Stdout, client.Stderr = &text, &text
		if err = startOn(1%runtime.NumCPU(), client); err != nil {
			return nil, err
		}
		err = client.Wait()
		if out = text.Bytes(); err == nil {
			break
		}
		time.Sleep(time.Duration(try+1) * 10 * time.Millisecond)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return readTimes(o, name, out, times)
}

// readTimes reads the rows "number, time" of -U, which are microseconds, and prints the columns.
func readTimes(o options, name string, out []byte, times float64) (*result.Latency, error) {
	h, longest := result.NewHistogram(), time.Duration(0)
	columns := false
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
		f := strings.FieldsFunc(s.Text(), func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
		if strings.HasPrefix(strings.TrimSpace(s.Text()), "#bytes") {
			columns = true
		}
		if columns && o.cols {
			fmt.Println(name, s.Text())
		}
		if len(f) != 2 {
			continue
		}
		_, err1 := strconv.Atoi(f[0])
		us, err2 := strconv.ParseFloat(f[1], 64)
		if err1 != nil || err2 != nil {
			continue
		}
		took := time.Duration(us * times * 1e3)
		longest = max(longest, took)
		_ = h.RecordValue(int64(min(took, result.LongestLatency)))
	}
	if l := result.NewLatency(h, longest); l != nil {
		return l, nil
	}
	return nil, fmt.Errorf("%s printed no times:\n%s", name, out)
}

func gidIndex(o options) string {
	e, err := newEnd(o.device, o.addr, kindOf("rdma-send"))
	if err != nil {
		return "0"
	}
	return strconv.Itoa(e.gid.Index)
}

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
