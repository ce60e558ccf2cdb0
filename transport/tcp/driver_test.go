package tcp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/transport"
)

// Each mistake has an error of its own, which names the thing and what to do.
func TestListenErrors(t *testing.T) {
	_, addr := listen(t, "tcp://127.0.0.1:0")
	holder := fmt.Sprintf("ss -tlpn sport = :%d", addr.Port())
	for target, want := range map[string]struct {
		err  error
		says string
	}{
		"tcp://" + addr.String():              {unix.EADDRINUSE, holder},
		fmt.Sprintf("tcp://:%d", addr.Port()): {unix.EADDRINUSE, holder},
		"tcp://198.51.100.9:0":                {unix.EADDRNOTAVAIL, "ip -br address"},
		"tcp://nosuchdevice0:0":               {unix.ENODEV, "nosuchdevice0"},
		"tcp://[fe80::1]:0":                   {unix.EINVAL, "needs its interface"},
		"tcp://127.0.0.1:0?frame=9":           {unix.EINVAL, `"frame" is unknown`},
		"tcp://127.0.0.1:0?frames=9":          {unix.EINVAL, "16 to 65536"},
		"tcp://127.0.0.1:0?conns=0":           {unix.EINVAL, "conns=0"},
		"tcp://127.0.0.1:0?idle=x":            {unix.EINVAL, "idle=x"},
		"tcp://127.0.0.1:0?busypoll=x":        {unix.EINVAL, "busypoll=x"},
	} {
		tg, err := transport.ParseTarget(target)
		if err != nil {
			t.Fatal(err)
		}
		p, err := Driver{}.Listen(t.Context(), tg)
		if !errors.Is(err, want.err) || !strings.Contains(err.Error(), want.says) || !strings.HasPrefix(err.Error(), "tcp: ") {
			t.Errorf("Listen(%s) = %v, %v; want %v and %q", target, p, err, want.err, want.says)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (Driver{}).Listen(ended, transport.Target{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Listen with an ended context: %v", err)
	}
	for _, remote := range []string{"127.0.0.1:0", "0.0.0.0:9", "224.0.0.1:9"} {
		if _, err := (Driver{}).Dial(t.Context(), transport.Target{}, netip.MustParseAddrPort(remote)); err == nil {
			t.Errorf("Dial of %s succeeded", remote)
		}
	}
}

// A server that is restarted gets its port back at once, with connections of its predecessor still closing.
func TestRestart(t *testing.T) {
	client, server, path := joined(t, "", "")
	for range 3 {
		if err := server.Close(); err != nil {
			t.Fatal(err)
		}
		server, _ = listen(t, "tcp://"+server.local.String())
		awaitEvent(t, client, transport.PeerClosed)
		send(t, client, path, "hello again")
		freeOne(server, awaitPacket(t, server))
	}
}
