package fastrpc_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc"
	"github.com/fastrpc/fastrpc/internal/lab"
	"github.com/fastrpc/fastrpc/internal/nic"
	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/xdp"
)

// What lands on a queue without a socket reaches the server through the kernel, and is counted. No call is lost while 'ethtool -L' takes such
// queues away and brings them back, again and again, and the kernel does not take one with a socket.
func TestXDPRequeue(t *testing.T) {
	nothingLeft(t)
	w := cabled(t, 4)
	w.scheme = "udp" // a kernel's sender spreads its flows over all the queues that there are
	server, client := nicOf(t, w.lab.Server()), nicOf(t, w.lab.Client())
	// veth's receive queues are its peer's transmit queues, and XDP wants as many of the former as of the latter (drivers/net/veth.c,
	// veth_set_channels), so that the receiver grows first and shrinks last.
	grow := func(n int) {
		must(t, server.SetChannels(nic.Channels{RX: n, TX: 2}))
		must(t, client.SetChannels(nic.Channels{RX: 4, TX: n}))
	}
	shrink := func(n int) {
		must(t, client.SetChannels(nic.Channels{RX: 4, TX: n}))
		must(t, server.SetChannels(nic.Channels{RX: n, TX: 2}))
	}
	s := echoServer()
	two := w
	two.query = "?queues=0-1"
	port := two.serve(t, s)

	// A Port of our own keeps the server's Links open when the server has ended, so that their counters can be read.
	var held transport.Port
	must(t, w.atServer(func() error {
		d, err := transport.Open("xdp")
		must(t, err)
		held, err = d.Listen(t.Context(), transport.Target{Scheme: "xdp", Host: w.lab.Server().Interface})
		return err
	}))
	if n := len(held.Links()); n != 2 {
		t.Fatalf("the server has %d queues, want 2 of 4", n)
	}

	const clients = 24
	var calls [clients]atomic.Uint64
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var wg sync.WaitGroup
	for i := range clients {
		c := w.dial(t, port, fastrpc.WithPark())
		wg.Go(func() {
			echo, body := c.Method("echo"), string(pattern(100+i))
			for ctx.Err() == nil {
				rep, err := echo.Call(context.Background(), []byte(body), fastrpc.Timeout(patience))
				if err != nil {
					t.Errorf("client %d, call %d: %v", i, calls[i].Load(), err)
					return
				}
				if string(rep.Body()) != body {
					t.Errorf("client %d: another reply", i)
				}
				rep.Release()
				calls[i].Add(1)
			}
		})
	}
	everyoneCalls := func() {
		t.Helper()
		var before [clients]uint64
		for i := range calls {
			before[i] = calls[i].Load()
		}
		eventually(t, func() string {
			for i := range calls {
				if calls[i].Load() < before[i]+20 {
					return "a client does not get on"
				}
			}
			return ""
		})
	}
	everyoneCalls()
	for range 3 {
		shrink(2)
		everyoneCalls()
		grow(4)
		everyoneCalls()
	}
	shrink(2)
	// A queue with a socket is not taken away: the kernel refuses, in copy mode too.
	must(t, client.SetChannels(nic.Channels{RX: 4, TX: 1}))
	if err := server.SetChannels(nic.Channels{RX: 1, TX: 2}); !errors.Is(err, unix.EINVAL) || !strings.Contains(err.Error(), "AF_XDP") {
		t.Errorf("one queue for two sockets: %v", err)
	} else {
		t.Log(err)
	}
	everyoneCalls()
	stop()
	wg.Wait()

	shutDown(t, s) // its Links are ours alone now
	must(t, held.Close())
	var received, viaKernel, noSocket uint64
	for _, l := range held.Links() {
		st := l.(*xdp.Link).Stats()
		received += st.Received
		viaKernel += st.ViaKernel
		noSocket = st.Steering.NoSocket // of the whole interface
	}
	for _, l := range held.Links() {
		must(t, l.Close())
	}
	t.Logf("%d packets from queues with sockets, %d by the kernel; %d found no socket", received, viaKernel, noSocket)
	if received == 0 || viaKernel == 0 || noSocket < viaKernel {
		t.Errorf("%d packets from queues, %d by the kernel, %d found no socket", received, viaKernel, noSocket)
	}
}

// nicOf opens a host's end of the cable.
func nicOf(t testing.TB, h lab.Host) (d *nic.Device) {
	t.Helper()
	must(t, h.Do(func() (err error) {
		d, err = nic.Open(h.Ifindex)
		return err
	}))
	t.Cleanup(func() { must(t, d.Close()) })
	return d
}

// Answers come in on the queue that a session lives on, wherever the network chose to deliver them: a driver that cannot tell (veth has no hash
// key) guesses by the port, and the session moves once. Packets of settled sessions are not handed from queue to queue.
func TestXDPAnswersOnOwnQueue(t *testing.T) {
	nothingLeft(t)
	w := cabled(t, 4)
	w.listen = "udp://" // whose kernel spreads flows over queues by a hash of its own
	port := w.serve(t, echoServer())
	var clients []*fastrpc.Client
	for range 16 {
		clients = append(clients, w.dial(t, port))
	}
	counts := func() (forwarded, packets uint64, queues int) {
		for _, q := range clients[0].Stats() { // of all: clients of one interface share its queues
			forwarded += q.Forwarded
			packets += q.Packets
			if q.Sessions > 0 {
				queues++
			}
		}
		return forwarded, packets, queues
	}
	for _, c := range clients { // what a session that has moved left behind is on its way no more
		checkEcho(t, c, "echo", pattern(10))
	}
	moved, before, queues := counts()
	if queues < 2 {
		t.Errorf("16 sessions live on %d queues", queues)
	}
	for range 20 {
		for _, c := range clients {
			checkEcho(t, c, "echo", pattern(10))
		}
	}
	forwarded, packets, _ := counts()
	t.Logf("%d packets handed over while sessions were opened, %d of %d afterwards", moved, forwarded-moved, packets-before)
	if moved == 0 || forwarded-moved > (packets-before)/10 { // where sessions do not move, it is three packets of four
		t.Errorf("%d packets handed over while sessions were opened, %d afterwards", moved, forwarded-moved)
	}
}
