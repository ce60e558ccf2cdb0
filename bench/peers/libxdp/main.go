// The peers libxdp, libxdp-tx and libxdp-rx are the C program in xsk/xsk.c, on the library that most people use AF_XDP through. What it does not
// do itself, bench's ring does: so each direction of a flood can be compared alone.
package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/fastrpc/fastrpc/bench"
	"github.com/fastrpc/fastrpc/bench/peers/internal/peer"
	"github.com/fastrpc/fastrpc/bench/result"
	"github.com/fastrpc/fastrpc/internal/netpath"
)

type libxdp struct {
	name            string
	sends, receives bool
}

func main() {
	peer.Main(
		libxdp{name: "libxdp", sends: true, receives: true},
		libxdp{name: "libxdp-tx", sends: true},
		libxdp{name: "libxdp-rx", receives: true},
	)
}

func (l libxdp) Name() string { return l.name }
func (l libxdp) Bypass() bool { return true }

func (l libxdp) Has(workload string) bool {
	return workload == bench.Flood || workload == bench.Latency
}

func (l libxdp) Serve(ctx context.Context, e bench.Endpoint, ready func(bench.Ready)) error {
	if !l.receives {
		return other("ring").Serve(ctx, e, ready)
	}
	p, err := startProgram(&e, "serve")
	if err != nil {
		return err
	}
	ready(bench.Ready{Addr: netip.AddrPortFrom(e.Local.Addr(), bench.RingServerPort), XDPMode: "native", ZeroCopy: "no", BusyPoll: "no"})
	<-ctx.Done()
	return p.Close()
}

func (l libxdp) Connect(ctx context.Context, e bench.Endpoint) (bench.Caller, error) {
	if !l.sends {
		return other("ring").Connect(ctx, e)
	}
	ifi, err := net.InterfaceByName(e.Interface)
	if err != nil {
		return nil, err
	}
	h, err := bench.HeaderOf(&e, ifi.HardwareAddr)
	if err != nil {
		return nil, err
	}
	headerOf := func(frame int) string {
		packet := make([]byte, frame)
		h.Put(packet, 0)
		return fmt.Sprintf("%x", packet[:h.Len()])
	}
	return startProgram(&e, "call", headerOf(h.Len()+peer.PacketPayload(&e)), headerOf(bench.QuestionBytes(peer.PacketPayload(&e))))
}

func other(name string) bench.System {
	s, err := bench.Lookup(name)
	if err != nil {
		panic(err) // bench registers it
	}
	return s
}

// program is a running xsk.
type program struct {
	workload string
	payload  int
	cmd      *exec.Cmd
	in       io.WriteCloser
	out      *bufio.Reader
	stderr   strings.Builder
}

func startProgram(e *bench.Endpoint, role string, args ...string) (*program, error) {
	if e.Workload == bench.Flood && e.Size > peer.MostBytes {
		return nil, fmt.Errorf("libxdp: packets of %d bytes; Debian's libxdp 1.3 has no multi-buffer", e.Size)
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &program{workload: e.Workload, payload: peer.PacketPayload(e)}
	dir := filepath.Dir(exe)
	argv := append([]string{role, filepath.Join(dir, "steer.o"), e.Interface, e.Workload, strconv.Itoa(p.payload)}, args...)
	p.cmd = exec.Command(filepath.Join(dir, "xsk-libxdp"), argv...)
	p.cmd.Stderr = &p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a terminal's Ctrl-C goes to the parent, which ends this in order
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("libxdp: %w; build it with 'make peers'", err)
	}
	if line, err := p.out.ReadString('\n'); line != "ready\n" {
		return nil, fmt.Errorf("libxdp: %w", errors.Join(err, p.Close()))
	}
	return p, nil
}

func (p *program) Call([]byte) error { return errors.New("libxdp makes its calls itself") }

// Measure has the program make the calls, or the flood.
func (p *program) Measure(requests int, d time.Duration, rec *bench.Recorder) (r result.Round, err error) {
	if p.workload == bench.Flood {
		numbers, err := p.ask(fmt.Sprintf("flood %d", d), 2)
		if err != nil {
			return r, err
		}
		r.Ops, r.Seconds = int64(numbers[0]), time.Duration(numbers[1]).Seconds()
		r.PerSec = float64(r.Ops) / r.Seconds
		r.SetBits(r.Ops * int64(p.payload+netpath.IPv4Bytes+netpath.UDPBytes))
		return r, nil
	}
	var elapsed time.Duration
	for done := 0; done < requests || requests == 0 && elapsed < d; {
		n := 1000
		if requests > 0 {
			n = min(n, requests-done)
		}
		took, err := p.ask(fmt.Sprintf("calls %d", n), n)
		if err != nil {
			return r, err
		}
		for _, ns := range took {
			rec.Record(time.Duration(ns))
			elapsed += time.Duration(ns)
		}
		done += n
	}
	return rec.Round(elapsed), nil
}

func (p *program) ask(order string, answers int) ([]uint64, error) {
	if _, err := io.WriteString(p.in, order+"\n"); err != nil {
		return nil, fmt.Errorf("libxdp: %w", errors.Join(err, p.Close()))
	}
	numbers := make([]uint64, answers)
	if err := binary.Read(p.out, binary.LittleEndian, numbers); err != nil {
		return nil, fmt.Errorf("libxdp: %w", errors.Join(err, p.Close()))
	}
	return numbers, nil
}

// Close ends the program by the end of its input, and by force where that does not.
func (p *program) Close() error {
	p.in.Close()
	kill := time.AfterFunc(5*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer kill.Stop()
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(p.stderr.String()))
	}
	return nil
}
