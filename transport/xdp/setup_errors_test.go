package xdp_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/fastrpc/fastrpc/afxdp"
	"github.com/fastrpc/fastrpc/bpf"
	"github.com/fastrpc/fastrpc/internal/lab"
	"github.com/fastrpc/fastrpc/internal/lab/labtest"
	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/xdp"
)

// What cannot be opened says why and what to do, and leaves nothing behind.
func TestListenErrors(t *testing.T) {
	cable := labtest.New(t, lab.Config{Queues: 2})
	h := cable.Server()
	taken := addrPort(h.IPv4, 9100)
	listenKernel(t, h, taken)
	for target, want := range map[string]struct {
		is   error
		says string
	}{
		"xdp://nowhere0:9000":                        {xdp.ErrNoInterface, "nowhere0"},
		"xdp://:9000":                                {xdp.ErrNoInterface, "xdp://eth0:9000"},
		"xdp://0.0.0.0:9000":                         {xdp.ErrNoInterface, "xdp://eth0:9000"},
		"xdp://192.0.2.1:9000":                       {xdp.ErrNoInterface, "192.0.2.1"},
		"xdp://127.0.0.1:9000":                       {xdp.ErrLocalAddress, "udp://"},
		"xdp://lo:9000":                              {xdp.ErrLocalAddress, "udp://"},
		"xdp://" + taken.String():                    {xdp.ErrPortTaken, "9100"},
		"xdp://veth0:9100":                           {xdp.ErrPortTaken, "9100"},
		"xdp://" + addrPort(h.IPv6, 9100).String():   {xdp.ErrPortTaken, h.IPv4.String()}, // one port, all addresses of the interface
		"xdp://veth0:9000?queues=2":                  {xdp.ErrQueue, "ethtool -l veth0"},
		"xdp://veth0:9000?queues=two":                {xdp.ErrSettings, "0-3"},
		"xdp://veth0:9000?frames=100":                {xdp.ErrSettings, "power of two"},
		"xdp://veth0:9000?frames=32":                 {xdp.ErrSettings, "64"},
		"xdp://veth0:9000?chunk=1024":                {xdp.ErrSettings, "2048"},
		"xdp://veth0:9000?mode=fast":                 {xdp.ErrSettings, "native"},
		"xdp://veth0:9000?zerocopy=on":               {afxdp.ErrNoZeroCopy, ""},
		"xdp://veth0:9000?prefixes=10.0.0.0/33":      {xdp.ErrSettings, "192.0.2.0/24"},
		"xdp://veth0:9000?busypoll=-1":               {xdp.ErrSettings, "0 to"},
		"xdp://veth0:9000?speed=11":                  {xdp.ErrSettings, "busypoll, chunk, frames, mode, plugin, prefixes, program, queues, xskmap, zerocopy"},
		"xdp://veth0:9000?mode=generic&mode=generic": {xdp.ErrSettings, "2 times"},
	} {
		t.Run(target, func(t *testing.T) {
			p, err := tryListen(t, h, target)
			if err == nil {
				closePort(t, p)
				t.Fatal("it was opened")
			}
			if !errors.Is(err, want.is) || !strings.Contains(err.Error(), want.says) {
				t.Errorf("%v\nwant %v that says %q", err, want.is, want.says)
			}
			t.Log(err)
			checkBare(t, h)
		})
	}
}

// checkBare fails unless the interface is without a program.
func checkBare(t testing.TB, h lab.Host) {
	t.Helper()
	must(t, h.Do(func() error {
		if a, there, err := bpf.Attached(h.Ifindex); err != nil || there {
			t.Errorf("program left behind: %+v, %v", a, err)
		}
		return nil
	}))
}

func TestMTUTooLarge(t *testing.T) {
	for mtu, query := range map[int]string{16000: "?mode=generic", 15400: "?mode=native", 7200: "?chunk=2048"} {
		cable := labtest.New(t, lab.Config{Queues: 1, MTU: mtu})
		_, err := tryListen(t, cable.Server(), "xdp://veth0:9000"+query)
		if !errors.Is(err, xdp.ErrMTU) || !strings.Contains(err.Error(), "ip link set dev veth0 mtu") {
			t.Errorf("MTU %d with %s: %v", mtu, query, err)
		}
		checkBare(t, cable.Server())
	}
	cable := labtest.New(t, lab.Config{Queues: 1, MTU: 3000})
	p := listen(t, cable.Server(), "xdp://veth0:9000")
	if path := resolve(t, p.Links()[0], p.Local(), addrPort(cable.Client().IPv4, 1)); path.MTU != 3000-28 {
		t.Errorf("MTU 3000 gives packets of %d bytes", path.MTU)
	}
}

// An address of this host is refused with a hint, in Dial and in Resolve.
func TestLocalAddress(t *testing.T) {
	cable := labtest.New(t, lab.Config{Queues: 1})
	h := cable.Server()
	p := listen(t, h, "xdp://veth0:9000")
	for _, a := range []netip.Addr{h.IPv4, h.IPv6, netip.MustParseAddr("127.0.0.1")} {
		remote := addrPort(a, 9000)
		_, err := tryDial(t, h, remote, "")
		check := func(err error) {
			if !errors.Is(err, xdp.ErrLocalAddress) || !strings.Contains(err.Error(), "udp://") || !strings.Contains(err.Error(), a.String()) {
				t.Errorf("%v: %v", a, err)
			}
		}
		check(err)
		_, err = p.Links()[0].Resolve(t.Context(), p.Local(), remote)
		check(err)
	}
}

func TestOtherProgramIsLeftAlone(t *testing.T) {
	cable := labtest.New(t, lab.Config{Queues: 1})
	h := cable.Server()
	var other *bpf.Program
	must(t, h.Do(func() (err error) {
		other, err = bpf.Attach(h.Ifindex, bpf.Options{})
		return err
	}))
	defer other.Close()
	_, err := tryListen(t, h, "xdp://veth0:9000")
	var attached *bpf.AttachedError
	if !errors.As(err, &attached) || attached.Interface != "veth0" {
		t.Fatalf("%v", err)
	}
	if _, err := other.Counters(); err != nil {
		t.Errorf("the other program: %v", err)
	}
}

// A queue that somebody else's socket has is an error, and what was opened before it is closed again.
func TestQueueTaken(t *testing.T) {
	cable := labtest.New(t, lab.Config{Queues: 2})
	h := cable.Server()
	umem, err := afxdp.NewUmem(afxdp.UmemConfig{Chunks: 64, ChunkBytes: 2048})
	must(t, err)
	defer umem.Close()
	var s *afxdp.Socket
	must(t, h.Do(func() (err error) {
		s, err = afxdp.Open(umem, afxdp.SocketConfig{Ifindex: h.Ifindex, Queue: 1, RxEntries: 64})
		return err
	}))
	defer s.Close()
	if _, err := tryListen(t, h, "xdp://veth0:9000"); !errors.Is(err, afxdp.ErrQueueBusy) || !strings.Contains(err.Error(), "queue 1 of veth0") {
		t.Errorf("%v", err)
	}
	checkBare(t, h)
	closePort(t, listen2(t, h, "xdp://veth0:9000?queues=0"))
}

func listen2(t testing.TB, h lab.Host, target string) transport.Port {
	t.Helper()
	p, err := tryListen(t, h, target)
	must(t, err)
	return p
}

// A second process on the interface is refused; when the first is killed, nothing of it stays.
func TestSecondProcessAndKill(t *testing.T) {
	cable := labtest.New(t, lab.Config{Queues: 2})
	h := cable.Server()
	cmd, says := startChild(t, h, "xdp://veth0:9000")
	if says != "ready" {
		t.Fatal(says)
	}
	var attached *bpf.AttachedError
	if _, err := tryListen(t, h, "xdp://veth0:9001"); !errors.As(err, &attached) {
		t.Errorf("beside another process: %v", err)
	}
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	checkBare(t, h)
	closePort(t, listen2(t, h, "xdp://veth0:9000")) // program, queues and port are free
}
