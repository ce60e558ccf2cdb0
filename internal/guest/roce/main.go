//go:build rdma

// Command roce is one of two hosts with soft-RoCE on a cable: it serves, or it is the client of the other, and fails if anything is not as it
// should be. It is for guests: what it makes of the host stays.
//
//	roce --addr 198.18.0.1 serve
//	roce --addr 198.18.0.2 --server 198.18.0.1 talk
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/netip"
	"runtime/debug"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/fastrpc/fastrpc"
	"github.com/fastrpc/fastrpc/rdma/rxetest"
	_ "github.com/fastrpc/fastrpc/transport/rdma"
)

const (
	card     = "eth0"
	patience = 4 * time.Minute // for all that a client does, and each wait in it
)

// What a server listens at.
const (
	portUD      = 9000
	portRC      = 9001
	portRegions = 9002
)

// emulated suits cards that take milliseconds for a packet, of guests that the machine may leave waiting for seconds. To congestion control that
// would be a queue, to loss recovery a loss, and to the client a dead server.
var emulated = []fastrpc.Option{
	fastrpc.WithInsecure(), fastrpc.WithCongestion(fastrpc.Swift, 50*time.Millisecond), fastrpc.WithMinPTO(200 * time.Millisecond),
	fastrpc.WithHeartbeat(500*time.Millisecond, 12), fastrpc.WithPhi(fastrpc.Phi{AcceptablePause: 6 * time.Second}),
}

// A part is what a host does, with the server's address.
type part func(ctx context.Context, server netip.Addr) error

func main() {
	log.SetFlags(0)
	parts := map[string]part{"serve": serve, "talk": talk, "outage": outage, "carrier": carrier, "regions": regions, "rping-serve": rpingServe, "rping": rpingCall}
	addr := flag.String("addr", "", "this host's address")
	remote := flag.String("server", "", "the server's address; its own if it is this host")
	mtu := flag.Int("mtu", 1500, "of the network card")
	bridged := flag.Bool("bridge", false, "soft-RoCE over a veth pair, bridged with the network card: its carrier can be taken away")
	flag.Parse()
	play := parts[flag.Arg(0)]
	if play == nil {
		log.Fatalf("no part %q", flag.Arg(0))
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	time.AfterFunc(patience+10*time.Second, func() {
		debug.SetTraceback("all")
		panic("what should have ended with the context did not")
	})
	if err := setUp(*addr, *mtu, *bridged); err != nil {
		log.Fatal(err)
	}
	if *remote == "" {
		remote = addr
	}
	server, err := netip.ParseAddr(*remote)
	if err == nil {
		err = play(ctx, server)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func setUp(addr string, mtu int, bridged bool) error {
	l, err := netlink.LinkByName(card)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetMTU(l, mtu); err != nil {
		return fmt.Errorf("MTU %d: %w", mtu, err)
	}
	if !bridged {
		return rxetest.SetUpOver(card, addr)
	}
	if err := bridge(); err != nil {
		return fmt.Errorf("bridge: %w", err)
	}
	return rxetest.SetUpOver(nearEnd, addr)
}

// clients are connected to both of the server's ports.
type clients map[string]*fastrpc.Client

func (cs clients) close() (err error) {
	for _, c := range cs {
		err = errors.Join(err, c.Close())
	}
	return err
}

// dial connects to the server, which may have yet to start.
func dial(ctx context.Context, server netip.Addr) (clients, error) {
	cs := clients{}
	for kind, port := range map[string]uint16{"ud": portUD, "rc": portRC} {
		target := fmt.Sprintf("rdma://%v?qp=%s", netip.AddrPortFrom(server, port), kind)
		err := persist(ctx, func() (err error) { cs[kind], err = fastrpc.Dial(ctx, target, emulated...); return err })
		if err != nil {
			return nil, fmt.Errorf("%s: %w", target, err)
		}
	}
	return cs, nil
}

// persist tries until something succeeds, or ctx ends.
func persist(ctx context.Context, try func() error) error {
	for {
		err := try()
		if err == nil || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}
