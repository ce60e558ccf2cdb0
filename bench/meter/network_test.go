package meter

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/afxdp"
	"github.com/fastrpc/fastrpc/bench/result"
	"github.com/fastrpc/fastrpc/internal/lab"
	"github.com/fastrpc/fastrpc/internal/lab/labtest"
)

// proc makes files below a directory, given as name and content in turn.
func proc(t *testing.T, contents ...string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, contents...)
	return dir
}

func write(t *testing.T, dir string, contents ...string) {
	t.Helper()
	for i := 0; i < len(contents); i += 2 {
		name := filepath.Join(dir, contents[i])
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(contents[i+1]), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

// Of a machine with four CPUs, client and server have the second and the fourth.
func TestCPUTimes(t *testing.T) {
	dir := proc(t, "stat", "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 1 1 1 1 1 1 1 1 0 0\ncpu1 100 0 50 800 10 3 2 35 0 0\ncpu3 100 0 50 800 10 3 2 35 0 0\nintr 1 2 3\n")
	m := newMeter(Config{CPUs: []int{1, 3}}, dir)
	defer m.Close()
	before := m.cpus.read()
	if before != (cpuTime{interrupts: 10, steal: 70, total: 2000}) {
		t.Errorf("read %+v", before)
	}
	write(t, dir, "stat", "cpu0 9 9 9 9 9 9 9 900 0 0\ncpu1 200 0 100 1600 20 6 4 70 7 0\ncpu3 200 0 100 1600 20 6 4 70 7 0\n")
	after := m.cpus.read()
	if got := after.stealSince(before); got != 3.5 {
		t.Errorf("steal %v %%, want 3.5", got)
	}
	if got := after.interruptsSince(before); got != 100e6 {
		t.Errorf("%v ns of interrupts, want 10 ticks", got)
	}
	if got := before.stealSince(after); got != 0 {
		t.Errorf("steal %v %% when time runs backwards, want 0", got)
	}
	write(t, dir, "stat", "cpu1 x\ncpu3 a b c d e f g h\nnonsense\n\n")
	if got := m.cpus.read(); got != (cpuTime{}) {
		t.Errorf("%+v out of nonsense", got)
	}
}

const (
	snmpBefore = "Ip: Forwarding InDiscards\nIp: 1 5\nTcp: MaxConn RetransSegs InErrs\nTcp: -1 7 0\nUdp: NoPorts RcvbufErrors\nUdp: 3 9\n"
	snmpAfter  = "Ip: Forwarding InDiscards\nIp: 1 5\nTcp: MaxConn RetransSegs InErrs\nTcp: -1 11 2\nUdp: NoPorts RcvbufErrors\nUdp: 4 9\n"
	tcpExt     = "TcpExt: SyncookiesSent ListenDrops\nTcpExt: 0 "
	softnet    = "00000001 00000005 00000000 0 0 0 0 0 0 0 0 0 00000001 0 0\n00000001 000000ff 0 0 0 0 0 0 0 0 0 0 00000003 0 0\n"
	softnetNow = "00000001 00000006 00000000 0 0 0 0 0 0 0 0 0 00000001 0 0\n00000001 0000010f 0 0 0 0 0 0 0 0 0 0 00000003 0 0\n"
)

// Counters of protocols and backlogs, in the kernel's forms; those that did not grow are left out.
func TestKernelCounters(t *testing.T) {
	const dir = "thread-self/net/"
	root := proc(t, dir+"snmp", snmpBefore, dir+"netstat", tcpExt+"1\n", dir+"snmp6", "Udp6NoPorts \t 4\n", dir+"softnet_stat", softnet)
	var k kernel
	k.open(root, "", []int{3})
	defer k.close()
	before := k.read()
	write(t, root, dir+"snmp", snmpAfter, dir+"netstat", tcpExt+"3\n", dir+"snmp6", "Udp6NoPorts \t 9\nshort\n", dir+"softnet_stat", softnetNow)
	after := k.read()
	n := after.since(&before, false)
	want := map[string]uint64{"TcpInErrs": 2, "UdpNoPorts": 1, "TcpExtListenDrops": 2, "Udp6NoPorts": 5, "softnet backlog of CPU 3": 16}
	if !maps.Equal(n.Drops, want) {
		t.Errorf("drops %v, want %v", n.Drops, want)
	}
	if n.Retransmissions == nil || *n.Retransmissions != 4 {
		t.Errorf("retransmissions %v, want 4", n.Retransmissions)
	}

	// Before Linux 5.10 the lines have no number. Without the files nothing is known.
	write(t, root, dir+"softnet_stat", "1 2 0 0 0 0 0 0 0 0 0\n1 3 0 0 0 0 0 0 0 0 0\n1 4 0 0 0 0 0 0 0 0 0\n1 7 0 0 0 0 0 0 0 0 0\n")
	if got := k.read().drops["softnet backlog of CPU 3"]; got != 7 {
		t.Errorf("%d drops of the fourth line, want 7", got)
	}
	var none kernel
	none.open(t.TempDir(), "", nil)
	c := none.read()
	if n := c.since(&c, false); n.Retransmissions != nil || len(n.Drops) != 0 {
		t.Errorf("%+v out of nothing", n)
	}
}

// What a network namespace's kernel and an AF_XDP socket of this process lose is counted: each of the packets, where it was lost.
func TestCountsInLab(t *testing.T) {
	h := labtest.New(t, lab.Config{}).Client()
	err := h.Do(func() error {
		umem, err := afxdp.NewUmem(afxdp.UmemConfig{Chunks: 4, ChunkBytes: 2048})
		if err != nil {
			return err
		}
		s, err := afxdp.Open(umem, afxdp.SocketConfig{Ifindex: h.Ifindex, TxEntries: 64})
		if err != nil {
			return errors.Join(err, umem.Close())
		}
		m := New(Config{Interface: h.Interface})
		defer m.Close()
		m.Start()

		const wrong, right, unheard = 3, 2, 50
		for range wrong {
			s.Transmit([]unix.XDPDesc{{Addr: 1 << 40, Len: 60}})
		}
		for i := range uint64(right) {
			s.Transmit([]unix.XDPDesc{{Addr: i * 2048, Len: 60}})
		}
		for s.Complete(make([]uint64, 1)) == 0 { // a descriptor is done with when those before it are
			if err := s.Kick(); err != nil {
				return err
			}
		}
		for range unheard {
			if err := send(&net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9}); err != nil {
				return err
			}
		}
		c := m.Stop()
		if got := c.Own.Drops["xsk tx_invalid_descs"]; got != wrong {
			t.Errorf("%d invalid descriptors, want %d: %v", got, wrong, c.Own.Drops)
		}
		if got := c.Kernel.Drops["UdpNoPorts"]; got != unheard {
			t.Errorf("%d packets to nobody, want %d: %v", got, unheard, c.Kernel.Drops)
		}
		if c.Kernel.Sent < right || c.Kernel.Sent > unheard { // a few of the kernel's own may be among them, those over loopback not
			t.Errorf("%d packets sent, want %d", c.Kernel.Sent, right)
		}
		return errors.Join(s.Close(), umem.Close())
	})
	if err != nil {
		t.Fatal(err)
	}
}

func send(to *net.UDPAddr) error {
	conn, err := net.DialUDP("udp4", nil, to)
	if err != nil {
		return err
	}
	_, err = conn.Write(make([]byte, 8))
	return errors.Join(err, conn.Close())
}

// What a system counts itself is what it counted between Start and Stop; a counter that began anew meanwhile is taken as it is.
func TestOwn(t *testing.T) {
	counts := []map[string]Own{
		{"a": {Retransmissions: 5, Drops: map[string]uint64{"old": 7, "same": 1, "anew": 9}}, "gone": {Retransmissions: 99}},
		{"a": {Retransmissions: 8, Drops: map[string]uint64{"old": 9, "same": 1, "anew": 2}}, "b": {Retransmissions: 1, Drops: map[string]uint64{"new": 4, "old": 1}}},
	}
	calls := 0
	m := New(Config{Own: func() map[string]Own { calls++; return counts[calls-1] }})
	defer m.Close()
	m.Start()
	c := m.Stop()
	if c.Own.Retransmissions != 4 || !maps.Equal(c.Own.Drops, map[string]uint64{"old": 3, "anew": 2, "new": 4}) {
		t.Errorf("%+v", c.Own)
	}
}

// Two sides that share a namespace share its counters; two that do not have each their own.
func TestJoin(t *testing.T) {
	one, two := uint64(1), uint64(2)
	client := Counts{Namespace: "a", Kernel: result.Network{Sent: 10, Received: 11, Retransmissions: &one, Drops: map[string]uint64{"x": 1}},
		Own: Own{Retransmissions: 100, Drops: map[string]uint64{"mine": 1}}}
	server := Counts{Namespace: "b", Kernel: result.Network{Sent: 20, Received: 21, Retransmissions: &two, Drops: map[string]uint64{"x": 2, "y": 3}},
		Own: Own{Retransmissions: 200, Drops: map[string]uint64{"mine": 2}}}
	n := Join(&client, &server)
	if n.Sent != 10 || n.Received != 11 || *n.Retransmissions != 303 ||
		!maps.Equal(n.Drops, map[string]uint64{"client: x": 1, "server: x": 2, "server: y": 3, "client: mine": 1, "server: mine": 2}) {
		t.Errorf("apart: %+v, %d", n, *n.Retransmissions)
	}
	server.Namespace = client.Namespace
	n = Join(&client, &server)
	if *n.Retransmissions != 302 || !maps.Equal(n.Drops, map[string]uint64{"x": 2, "y": 3, "client: mine": 1, "server: mine": 2}) {
		t.Errorf("together: %+v, %d", n, *n.Retransmissions)
	}
}

// No file of the kernel's is registered with the runtime's poller, which would then cost what is measured.
func TestPollerIsLeftAlone(t *testing.T) {
	m := New(Config{})
	defer m.Close()
	files := []*file{&m.cpus.stat, &m.kernel.snmp, &m.kernel.netstat, &m.kernel.softnet}
	polled := polledDescriptors(t)
	for _, f := range files {
		if f.fd <= 0 || polled[f.fd] {
			t.Errorf("descriptor %d: polled are %v", f.fd, polled)
		}
	}
	// As package os opens it, it is: so the test would see it.
	other, err := os.Open("/proc/self/net/snmp")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if fd := int(other.Fd()); !polledDescriptors(t)[fd] {
		t.Logf("this Go release does not poll what package os opens below /proc")
	}
}

// polledDescriptors reads what the process's epoll instances watch (fs/eventpoll.c, ep_show_fdinfo).
func polledDescriptors(t *testing.T) map[int]bool {
	t.Helper()
	polled := map[int]bool{}
	infos, err := filepath.Glob("/proc/self/fdinfo/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range infos {
		text, _ := os.ReadFile(info) // one that is gone meanwhile
		for line := range strings.Lines(string(text)) {
			var fd int
			if n, _ := fmt.Sscanf(line, "tfd: %d", &fd); n == 1 {
				polled[fd] = true
			}
		}
	}
	return polled
}
