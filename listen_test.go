package fastrpc_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc"
	"github.com/fastrpc/fastrpc/afxdp"
	"github.com/fastrpc/fastrpc/bpf"
	"github.com/fastrpc/fastrpc/internal/lab"
	"github.com/fastrpc/fastrpc/internal/lab/labtest"
	"github.com/fastrpc/fastrpc/transport/xdp"
)

// What Listen can be refused for: the interface, its queues, the port, and what others have taken.
func TestListenErrors(t *testing.T) {
	nothingLeft(t)
	w := cabled(t, 2)
	h := w.lab.Server()
	listen := func(target string) error {
		return h.Do(func() error {
			_, err := fastrpc.NewServer(insecure).Listen(t.Context(), target)
			return err
		})
	}
	port := silence(t, w).Port() // somebody else's
	for target, want := range map[string]struct {
		code fastrpc.Code
		is   error
		says string
	}{
		"xdp://nowhere0:9000":                       {fastrpc.NotFound, xdp.ErrNoInterface, "ip -brief link"},
		"udp://nowhere0:9000":                       {fastrpc.NotFound, unix.ENODEV, "ip -br link"},
		"auto://nowhere0:9000":                      {fastrpc.NotFound, unix.ENODEV, "nowhere0"},
		"xdp://192.0.2.1:9000":                      {fastrpc.NotFound, xdp.ErrNoInterface, "ip -brief address"},
		"udp://192.0.2.1:9000":                      {fastrpc.NotFound, unix.EADDRNOTAVAIL, "ip -br address"},
		"xdp://veth0:9000?queues=2":                 {fastrpc.InvalidArgument, xdp.ErrQueue, "ethtool -l veth0"},
		"xdp://veth0:9000?queues=x":                 {fastrpc.InvalidArgument, xdp.ErrSettings, "0-3"},
		"xdp://veth0:9000?mode=fast":                {fastrpc.InvalidArgument, xdp.ErrSettings, "native"},
		"xdp://veth0:9000?frames=64&frames=128":     {fastrpc.InvalidArgument, xdp.ErrSettings, "2 times"},
		"xdp://veth0:9000?speed=":                   {fastrpc.InvalidArgument, xdp.ErrSettings, "busypoll, chunk"},
		"udp://veth0:9000?speed=":                   {fastrpc.InvalidArgument, unix.EINVAL, "frames and busypoll"},
		"tcp://nowhere0:9000":                       {fastrpc.NotFound, unix.ENODEV, "ip -br link"},
		"tcp://veth0:9000?speed=":                   {fastrpc.InvalidArgument, unix.EINVAL, "frames, busypoll, conns and idle"},
		"auto://veth0:9000?queues=2":                {fastrpc.InvalidArgument, xdp.ErrQueue, "ethtool -l veth0"},
		"auto://veth0:9000?zerocopy=on":             {fastrpc.FailedPrecondition, afxdp.ErrNoZeroCopy, "the driver of veth0"}, // though udp does not know it
		"xdp://:9000":                               {fastrpc.InvalidArgument, xdp.ErrNoInterface, "xdp://eth0:9000"},
		"xdp://veth0:9000?zerocopy=on":              {fastrpc.FailedPrecondition, afxdp.ErrNoZeroCopy, "the driver of veth0"},
		fmt.Sprintf("xdp://veth0:%d", port):         {fastrpc.FailedPrecondition, xdp.ErrPortTaken, "ss -ulpn"},
		fmt.Sprintf("udp://%v:%d", w.remote, port):  {fastrpc.FailedPrecondition, unix.EADDRINUSE, "ss -ulpn"},
		fmt.Sprintf("auto://%v:%d", w.remote, port): {fastrpc.FailedPrecondition, unix.EADDRINUSE, "ss -ulpn"},
		"xdp://lo:9000":                             {fastrpc.InvalidArgument, xdp.ErrLocalAddress, "udp://"},
		"rdma://veth0:9000":                         {fastrpc.InvalidArgument, nil, "transport/rdma"},
		"veth0:9000":                                {fastrpc.InvalidArgument, nil, "scheme://host:port"},
	} {
		t.Run(target, func(t *testing.T) {
			err := listen(target)
			checkError(t, err, want.code, fastrpc.NotExecuted, want.says)
			if want.is != nil && !errors.Is(err, want.is) {
				t.Errorf("%v\nis not %v", err, want.is)
			}
			if strings.Count(err.Error(), target) != 1 {
				t.Errorf("%v\ndoes not name the target once", err)
			}
			bare(t, h)
		})
	}
	t.Run("the process itself has the port", func(t *testing.T) {
		port := w.serve(t, echoServer())
		checkError(t, listen(w.listenTarget(port)), fastrpc.FailedPrecondition, fastrpc.NotExecuted, "this process listens there already")
	})
	bare(t, h)
	t.Run("a queue is taken", func(t *testing.T) {
		umem, err := afxdp.NewUmem(afxdp.UmemConfig{Chunks: 64, ChunkBytes: 2048})
		must(t, err)
		defer umem.Close()
		must(t, h.Do(func() error {
			s, err := afxdp.Open(umem, afxdp.SocketConfig{Ifindex: h.Ifindex, Queue: 1, RxEntries: 64})
			if err == nil {
				defer s.Close()
				checkError(t, listen("xdp://veth0:9000"), fastrpc.FailedPrecondition, fastrpc.NotExecuted, "queue 1 of veth0 is bound by another socket; see 'fastrpc doctor veth0'")
				bare(t, h)
			}
			return err
		}))
	})
	t.Run("another program is attached", func(t *testing.T) {
		must(t, h.Do(func() error {
			other, err := bpf.Attach(h.Ifindex, bpf.Options{})
			if err != nil {
				return err
			}
			defer other.Close()
			err = listen("xdp://veth0:9000")
			checkError(t, err, fastrpc.FailedPrecondition, fastrpc.NotExecuted, "bpftool link detach id")
			var attached *bpf.AttachedError
			if !errors.As(err, &attached) || attached.Interface != "veth0" {
				t.Errorf("%v does not name the program", err)
			}
			if now, there, err := bpf.Attached(h.Ifindex); err != nil || !there || now.ProgramID != attached.ProgramID {
				t.Errorf("afterwards %+v is attached, %v", now, err)
			}
			return nil
		}))
	})
	bare(t, h)
	w.dial(t, w.serve(t, echoServer())) // nothing was left in the way
}

func TestListenMTUTooLarge(t *testing.T) {
	nothingLeft(t)
	l := labtest.New(t, lab.Config{Queues: 1, MTU: 16000})
	must(t, l.Server().Do(func() error {
		s := fastrpc.NewServer(insecure)
		_, err := s.Listen(t.Context(), "xdp://veth0:9000")
		checkError(t, err, fastrpc.FailedPrecondition, fastrpc.NotExecuted, "ip link set dev veth0 mtu 15342")
		if _, err := s.Listen(t.Context(), "auto://veth0:9000"); err != nil {
			return err
		}
		if names := s.Transports(); len(names) != 1 || !strings.HasPrefix(names[0], "udp ") || !strings.Contains(names[0], "mtu 15342") {
			t.Errorf("auto:// took %q", names)
		}
		shutDown(t, s)
		return nil
	}))
	bare(t, l.Server())
}

// Jumbo frames need no setting.
func TestJumboFrames(t *testing.T) {
	nothingLeft(t)
	l := labtest.New(t, lab.Config{Queues: 2, MTU: 9000})
	w := world{lab: l, scheme: "xdp", listen: "xdp://" + l.Server().Interface, remote: l.Server().IPv4}
	c := w.dial(t, w.serve(t, echoServer()))
	for _, size := range []int{0, 1400, 3700, 3900, 8800, 9000, 300_000} {
		checkEcho(t, c, "echo", pattern(size))
	}
}

// Without its capabilities a process is told which, and how to get them; auto:// goes on without AF_XDP.
func TestMissingCapability(t *testing.T) {
	nothingLeft(t)
	w := cabled(t, 1)
	child := w.startChild(t, "unprivileged", w.listenTarget(9000))
	says := child.line(t)
	code, text, _ := strings.Cut(says, " ")
	if code != "PermissionDenied" || !strings.Contains(text, "setcap cap_net_raw,") || !strings.Contains(text, "CAP_NET_ADMIN") {
		t.Errorf("xdp:// without capabilities: %s", says)
	}
	says = child.line(t)
	code, text, _ = strings.Cut(says, " ")
	if code != "OK" || !strings.HasPrefix(text, "udp ") || !strings.Contains(text, "CAP_BPF") {
		t.Errorf("auto:// without capabilities: %s", says)
	}
	bare(t, w.lab.Server())
}
