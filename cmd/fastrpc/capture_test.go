package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	fork "github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/pcapgo"
	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/lab"
	"github.com/fastrpc/fastrpc/internal/lab/labtest"
	"github.com/fastrpc/fastrpc/internal/tap"
)

// patience bounds waiting for what must happen.
const patience = 20 * time.Second

// tapped stands for a process that has a host's interface open, with one queue through which a test passes what it likes.
type tapped struct {
	tap.Point
	server *tap.Server
}

func newTapped(t *testing.T, h lab.Host, queue int, stats func(<-chan struct{}) []any) *tapped {
	t.Helper()
	p := &tapped{}
	if err := h.Do(func() (err error) {
		p.server, err = tap.Listen(tap.Config{
			Ifindex: h.Ifindex, Queues: []tap.Queue{{Number: queue, Name: fmt.Sprint("queue ", queue), Point: &p.Point}}, Stats: stats,
		})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.server.Close() })
	return p
}

// pass lets one packet pass, when somebody looks. Callable from any goroutine.
func (p *tapped) pass(t *testing.T, d tap.Direction, packet []byte) {
	t.Helper()
	for until := time.Now().Add(patience); p.Watched() == nil; time.Sleep(time.Millisecond) { // there is nothing that would tell
		if time.Now().After(until) {
			t.Error("nobody looks")
			return
		}
	}
	p.Watched().Packets(d, packet, []unix.XDPDesc{{Len: uint32(len(packet))}})
}

// fastOn runs the program in this process on a host of a lab.
func fastOn(ctx context.Context, h lab.Host, args ...string) (code int, out, errOut string) {
	if err := h.Do(func() error {
		code, out, errOut = fastContext(ctx, args...)
		return nil
	}); err != nil {
		return -1, "", err.Error()
	}
	return code, out, errOut
}

// savedPacket is a packet of a pcapng file.
type savedPacket struct {
	ci    fork.CaptureInfo
	data  []byte
	flags pcapgo.NgEpbFlag
	queue uint32
}

func readPcapng(t *testing.T, b []byte) (r *pcapgo.NgReader, packets []savedPacket) {
	t.Helper()
	r, err := pcapgo.NewNgReader(bytes.NewReader(b), pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	for {
		data, ci, o, err := r.ReadPacketDataWithOptions()
		if err == io.EOF {
			return r, packets
		}
		if err != nil || o.Flags == nil || o.Queue == nil {
			t.Fatalf("packet %d: %v, options %+v", len(packets), err, o)
		}
		packets = append(packets, savedPacket{ci, data, o.Flags.Direction, *o.Queue})
	}
}

// The packets of several processes come into one file, in their order, with all that is known of them; only those that the filter wants.
func TestCaptureFile(t *testing.T) {
	h := labtest.New(t, lab.Config{Queues: 1}).Server()
	one, two := newTapped(t, h, 0, nil), newTapped(t, h, 3, nil)
	frame := func(port layers.UDPPort, s string) []byte {
		return ether(layers.EthernetTypeIPv4, ipv4(port, 0, bytes.Repeat([]byte(s), 50)))
	}
	passed := make(chan struct{})
	begun := time.Now()
	go func() {
		defer close(passed)
		one.pass(t, tap.In, frame(9000, "a"))
		two.pass(t, tap.Out, frame(9000, "b"))
		one.pass(t, tap.In, frame(53, "not wanted"))
		two.pass(t, tap.In, frame(9001, "c"))
		one.pass(t, tap.Out, frame(9000, "d"))
	}()
	file := filepath.Join(t.TempDir(), "file.pcapng")
	code, out, errOut := fastOn(t.Context(), h, "capture", h.Interface, "-w", file, "-s", "90", "--count", "4", "port", "9000", "or", "9001")
	<-passed
	if code != exitOK || out != "" || !strings.Contains(errOut, "4 packets captured, 5 seen, 0 dropped") || strings.Count(errOut, "capturing veth0") != 2 {
		t.Fatalf("exit code %d, output %q, error %q", code, out, errOut)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	r, packets := readPcapng(t, b)
	if len(packets) != 4 || r.NInterfaces() != 2 {
		t.Fatalf("%d packets of %d interfaces", len(packets), r.NInterfaces())
	}
	for i, want := range []struct {
		data  []byte
		flags pcapgo.NgEpbFlag
		queue uint32
	}{
		{frame(9000, "a"), pcapgo.NgEpbFlagDirectionInbound, 0},
		{frame(9000, "b"), pcapgo.NgEpbFlagDirectionOutbound, 3},
		{frame(9001, "c"), pcapgo.NgEpbFlagDirectionInbound, 3},
		{frame(9000, "d"), pcapgo.NgEpbFlagDirectionOutbound, 0},
	} {
		p := packets[i]
		if !bytes.Equal(p.data, want.data[:90]) || p.ci.Length != len(want.data) || p.flags != want.flags || p.queue != want.queue {
			t.Errorf("packet %d: %+v", i, p)
		}
		if at := p.ci.Timestamp; i > 0 && at.Before(packets[i-1].ci.Timestamp) || at.Before(begun.Add(-time.Millisecond)) || at.After(time.Now()) {
			t.Errorf("packet %d: at %v", i, at)
		}
	}
	seen := uint64(0)
	for i := range 2 {
		ifi, err := r.Interface(i)
		if err != nil || ifi.Name != "veth0" || ifi.Filter != "port 9000 or 9001" || ifi.TimestampResolution.ToTimestampResolution() != fork.TimestampResolutionNanosecond ||
			ifi.SnapLength != 90 || !strings.Contains(ifi.Description, fmt.Sprintf("pid %d", os.Getpid())) || !strings.Contains(ifi.Description, "queue ") {
			t.Errorf("interface %d: %+v, %v", i, ifi, err)
		}
		seen += ifi.Statistics.PacketsReceived
	}
	if seen != 5 {
		t.Errorf("the interfaces' statistics tell of %d packets", seen)
	}
}

// A process that begins during the capture joins it, and one that ends leaves it; the file goes to standard output as it grows.
func TestCaptureComingAndGoing(t *testing.T) {
	h := labtest.New(t, lab.Config{Queues: 1}).Server()
	ctx, stop := context.WithCancel(t.Context())
	r, w := io.Pipe()
	var out bytes.Buffer
	done := make(chan int)
	go func() {
		code := -1
		_ = h.Do(func() error {
			code = run(ctx, []string{"capture", h.Interface, "-w", "-"}, strings.NewReader(""), &out, w)
			return nil
		})
		w.Close()
		done <- code
	}()
	lines := bufio.NewScanner(r)
	expect := func(says string) {
		t.Helper()
		if !lines.Scan() || !strings.Contains(lines.Text(), says) {
			t.Fatalf("%q; want %q", lines.Text(), says)
		}
	}
	expect("waiting for one")
	first := newTapped(t, h, 0, nil)
	expect("capturing veth0")
	first.pass(t, tap.In, []byte("first"))
	if err := first.server.Close(); err != nil {
		t.Fatal(err)
	}
	expect("has closed the interface, or ended")
	second := newTapped(t, h, 1, nil)
	expect("capturing veth0")
	second.pass(t, tap.In, []byte("second"))
	stop()
	expect("2 packets captured")
	if code := <-done; code != exitOK {
		t.Errorf("exit code %d", code)
	}
	_, packets := readPcapng(t, out.Bytes())
	if len(packets) != 2 || string(packets[0].data) != "first" || string(packets[1].data) != "second" || packets[1].ci.InterfaceIndex != 1 {
		t.Errorf("%+v", packets)
	}
}

// Packets that find the buffer full are counted, at the end and in the file. A capture of nobody is a file too.
func TestCaptureDrops(t *testing.T) {
	h := labtest.New(t, lab.Config{Queues: 1}).Server()
	p := newTapped(t, h, 0, nil)
	packet := make([]byte, 4096-16)
	descs := slices.Repeat([]unix.XDPDesc{{Len: uint32(len(packet))}}, 20) // 16 fit, before anybody can read one
	passed := make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		defer close(passed)
		defer stop()
		p.pass(t, tap.In, packet[:0])
		p.Watched().Packets(tap.Out, packet, descs)
	}()
	file := filepath.Join(t.TempDir(), "file.pcapng")
	code, _, errOut := fastOn(ctx, h, "capture", h.Interface, "-w", file, "--buffer", "1")
	<-passed
	if code != exitOK || !strings.Contains(errOut, "dropped because a buffer was full; --buffer") {
		t.Errorf("exit code %d, error %q", code, errOut)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	r, packets := readPcapng(t, b)
	ifi, err := r.Interface(0)
	if n := uint64(len(packets)); err != nil || ifi.Statistics.PacketsReceived != 21 || ifi.Statistics.PacketsDropped != 21-n || n < 16 || n > 17 {
		t.Errorf("%d packets in the file, %+v, %v", n, ifi.Statistics, err)
	}
	if err := p.server.Close(); err != nil {
		t.Fatal(err)
	}
	code, out, errOut := fastOn(t.Context(), h, "capture", h.Interface, "-w", "-", "--duration", "1ms")
	if r, packets := readPcapng(t, []byte(out)); code != exitOK || len(packets) != 0 || r.NInterfaces() != 1 {
		t.Errorf("of nobody: exit code %d, error %q", code, errOut)
	}
}

// Packets that come faster than they can be read do not keep a capture from ending, and what the file tells adds up.
func TestCaptureEndsUnderLoad(t *testing.T) {
	h := labtest.New(t, lab.Config{Queues: 1}).Server()
	p := newTapped(t, h, 0, nil)
	ctx, stop := context.WithCancel(t.Context())
	over := make(chan struct{})
	go func() {
		packet, descs := make([]byte, 64), slices.Repeat([]unix.XDPDesc{{Len: 64}}, 64)
		p.pass(t, tap.In, packet)
		for w := p.Watched(); w != nil; w = p.Watched() {
			w.Packets(tap.In, packet, descs)
			stop()
		}
		close(over)
	}()
	file := filepath.Join(t.TempDir(), "file.pcapng")
	code, _, errOut := fastOn(ctx, h, "capture", h.Interface, "-w", file)
	<-over
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	r, packets := readPcapng(t, b)
	ifi, err := r.Interface(0)
	if s := ifi.Statistics; code != exitOK || err != nil || s.PacketsReceived != uint64(len(packets))+s.PacketsDropped || len(packets) < 65 {
		t.Errorf("exit code %d, %d packets in the file, %+v, error %q", code, len(packets), s, errOut)
	}
}

// serveProcess serves on a host as a process of its own.
func serveProcess(t *testing.T, h lab.Host) *exec.Cmd {
	t.Helper()
	srv := exec.Command("/proc/self/exe", "serve", "--listen", "xdp://"+h.Interface+":9000", "--insecure")
	errOut, err := srv.StderrPipe()
	if err == nil {
		err = h.Start(srv)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = srv.Process.Kill()
		_ = srv.Wait()
	})
	serving(t, errOut)
	return srv
}

// held counts what a process holds: descriptors, and mappings of captures.
func held(t *testing.T, pid int) (files, mappings int) {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(list), strings.Count(string(maps), "memfd:fastrpc-capture")
}

// Calls between two processes are captured at both ends: the same frames, in opposite directions, which the program can read again.
func TestCaptureOfCalls(t *testing.T) {
	l := labtest.New(t, lab.Config{Queues: 2})
	srv := serveProcess(t, l.Server())
	target := fmt.Sprintf("xdp://%v:9000", l.Server().IPv4)
	call := func(says string) {
		t.Helper()
		code, out, errOut := fastOn(t.Context(), l.Client(), "call", target, "echo", "--data", says, "--insecure")
		if code != exitOK || out != says {
			t.Fatalf("exit code %d, output %q, error %q", code, out, errOut)
		}
	}
	files, _ := held(t, srv.Process.Pid)

	file := filepath.Join(t.TempDir(), "file.pcapng")
	begin := func() (*exec.Cmd, *bufio.Scanner) {
		t.Helper()
		c := exec.Command("/proc/self/exe", "capture", l.Server().Interface, "udp", "port", "9000", "-w", file)
		errOut, err := c.StderrPipe()
		if err == nil {
			err = l.Server().Start(c)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Process.Kill() })
		lines := bufio.NewScanner(errOut)
		if !lines.Scan() || !strings.Contains(lines.Text(), "queues: 2") {
			t.Fatalf("capture said %q", lines.Text())
		}
		return c, lines
	}
	c, lines := begin()
	const says = "these very bytes"
	call(says)
	if err := c.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if !lines.Scan() || !strings.Contains(lines.Text(), " 0 dropped") {
		t.Errorf("capture said %q", lines.Text())
	}
	if err := c.Wait(); err != nil {
		t.Errorf("capture after Ctrl-C: %v", err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, packets := readPcapng(t, b)
	var with []pcapgo.NgEpbFlag
	last := map[int]time.Time{}
	for _, p := range packets {
		if bytes.Contains(p.data, []byte(says)) {
			with = append(with, p.flags)
		}
		g := gopacket.NewPacket(p.data, layers.LayerTypeEthernet, gopacket.Default)
		udp, _ := g.Layer(layers.LayerTypeUDP).(*layers.UDP)
		if udp == nil || (udp.DstPort == 9000) != (p.flags == pcapgo.NgEpbFlagDirectionInbound) || (udp.SrcPort == 9000) != (p.flags == pcapgo.NgEpbFlagDirectionOutbound) {
			t.Errorf("direction %d: %v", p.flags, g)
		}
		if i := p.ci.InterfaceIndex; p.ci.Timestamp.Before(last[i]) {
			t.Errorf("interface %d: %v after %v", i, p.ci.Timestamp, last[i])
		}
		last[p.ci.InterfaceIndex] = p.ci.Timestamp
	}
	if !slices.Equal(slices.Compact(with), []pcapgo.NgEpbFlag{pcapgo.NgEpbFlagDirectionInbound, pcapgo.NgEpbFlagDirectionOutbound}) {
		t.Errorf("directions of the packets with the data: %v", with)
	}
	code, out, errOut := fast(t, "decode", file)
	if code != exitOK || !strings.Contains(out, "Request slot 0 seq 1 method 0") || !strings.Contains(out, "Request slot 0 seq 2 method 1") || !strings.Contains(errOut, "checksum wrong: 0, cut by the capture: 0, malformed: 0, not fastrpc: 0") {
		t.Errorf("decode: exit code %d, output %q, error %q", code, out, errOut)
	}

	// One that is killed ends no less: the server goes on and holds what it held before.
	c, _ = begin()
	call("before the end")
	if _, mappings := held(t, srv.Process.Pid); mappings != 2 {
		t.Errorf("%d mappings during a capture", mappings)
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	for until := time.Now().Add(patience); ; time.Sleep(time.Millisecond) { // the server is told by the kernel, when it gets to run
		f, m := held(t, srv.Process.Pid)
		if f <= files && m == 0 {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("descriptors %d → %d, mappings %d", files, f, m)
		}
	}
	call("after the end")
}

// Without a file, what is captured is printed as decode prints it.
func TestCaptureText(t *testing.T) {
	h := labtest.New(t, lab.Config{Queues: 1}).Server()
	p := newTapped(t, h, 0, nil)
	go p.pass(t, tap.In, ether(layers.EthernetTypeIPv4, ipv4(9000, 0, helloPacket())))
	code, out, errOut := fastOn(t.Context(), h, "capture", h.Interface, "--count", "1")
	if code != exitOK || !strings.Contains(out, "192.0.2.1:40000 > 192.0.2.2:9000 Hello from ") || !strings.Contains(errOut, "packets: 1 Hello") {
		t.Errorf("exit code %d, output %q, error %q", code, out, errOut)
	}
}
