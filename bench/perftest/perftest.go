// Package perftest runs the tools of that name that come with RDMA, ib_send_lat and its kin, and reads what they measured. It needs no RDMA
// itself: 'apt-get install perftest'.
package perftest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Run is one run of a tool, whose client and server are started alike but for the server's address.
type Run struct {
	Tool   string   // ib_send_lat, ib_write_lat, ib_read_lat or ib_send_bw
	Args   []string // beyond those below
	Device string
	Port   int // of the device
	GID    int // index of the address to use, in the port's table
	TCP    int // port by which the two find each other, on any address of the server's
	Size   int // payload, bytes
	Count  int // messages
}

// command leaves out the warnings about the processor's frequency (-F), which are on standard output.
func (r *Run) command(ctx context.Context, last ...string) *exec.Cmd {
	args := []string{"-F", "-d", r.Device, "-i", strconv.Itoa(r.Port), "-x", strconv.Itoa(r.GID), "-p", strconv.Itoa(r.TCP), "-s", strconv.Itoa(r.Size), "-n", strconv.Itoa(r.Count)}
	cmd := exec.CommandContext(ctx, r.Tool, append(append(args, r.Args...), last...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// Server is the command of the server's side, which serves one client and ends.
func (r *Run) Server(ctx context.Context) *exec.Cmd {
	if r.bandwidth() {
		return r.command(ctx, "--report_gbits")
	}
	return r.command(ctx, "-U")
}

// Latency runs the client against a server that listens, or soon will. It gives the tool's times, one for each message but the last: of ib_read_lat
// from one read's begin to the next one's, of the others half of that. start starts a command.
func (r *Run) Latency(ctx context.Context, server netip.Addr, start func(*exec.Cmd) error) ([]time.Duration, error) {
	out, err := r.client(ctx, server, start, "-U") // all times, as they were measured
	if err != nil {
		return nil, err
	}
	return parseTimes(out)
}

// Rate is Latency for ib_send_bw: how many messages a second came over.
func (r *Run) Rate(ctx context.Context, server netip.Addr, start func(*exec.Cmd) error) (perSecond float64, err error) {
	out, err := r.client(ctx, server, start, "--report_gbits")
	if err != nil {
		return 0, err
	}
	return parseRate(out)
}

func (r *Run) bandwidth() bool { return strings.HasSuffix(r.Tool, "_bw") }

// connectLimit is how long a server may take until it listens.
const connectLimit = 10 * time.Second

func (r *Run) client(ctx context.Context, server netip.Addr, start func(*exec.Cmd) error, form string) ([]byte, error) {
	end := time.Now().Add(connectLimit)
	for {
		var out bytes.Buffer
		cmd := r.command(ctx, form, server.String())
		cmd.Stdout, cmd.Stderr = &out, &out
		err := start(cmd)
		if err != nil {
			return nil, Explain(err)
		}
		if err = cmd.Wait(); err == nil {
			return out.Bytes(), nil
		}
		if ctx.Err() != nil || !bytes.Contains(out.Bytes(), []byte("connect")) || time.Now().After(end) {
			return nil, fmt.Errorf("%s: %w: %s", r.Tool, errors.Join(err, ctx.Err()), bytes.TrimSpace(out.Bytes()))
		}
		time.Sleep(20 * time.Millisecond) // the tools tell nobody when they listen
	}
}

// Explain says what to do about a tool that could not be started.
func Explain(err error) error {
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%w: apt-get install perftest", err)
	}
	return err
}

// parseTimes reads the rows "number, microseconds" that -U adds.
func parseTimes(out []byte) (times []time.Duration, err error) {
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
		number, us, is := strings.Cut(s.Text(), ",")
		if _, err := strconv.Atoi(strings.TrimSpace(number)); err != nil || !is {
			continue
		}
		f, err := strconv.ParseFloat(strings.TrimSpace(us), 64)
		if err != nil {
			return nil, fmt.Errorf("perftest: a time that is no number: %q", s.Text())
		}
		times = append(times, time.Duration(f*float64(time.Microsecond)))
	}
	if len(times) == 0 {
		return nil, fmt.Errorf("perftest: no times in what it printed: %s", out)
	}
	return times, nil
}

// parseRate reads the last column of the row below the headings: millions of messages a second.
func parseRate(out []byte) (perSecond float64, err error) {
	below := false
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
		f := strings.Fields(s.Text())
		if below && len(f) >= 5 {
			millions, err := strconv.ParseFloat(f[4], 64)
			if err == nil && millions > 0 {
				return millions * 1e6, nil
			}
		}
		below = below || len(f) > 0 && f[0] == "#bytes"
	}
	return 0, fmt.Errorf("perftest: no rate in what it printed: %s", out)
}
