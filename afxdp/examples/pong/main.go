//go:build linux

// Command pong answers the pings that an interface receives, without the kernel's help: a small XDP program gives ICMP echo requests to AF_XDP
// sockets, one a queue, and each is turned around in the chunk that it came in. Everything else, ARP included, stays with the kernel.
//
//	go build ./afxdp/examples/pong && sudo ./pong eth0
//
// It needs an IPv4 address on the interface, and root (or the capabilities that the package documentation of afxdp lists).
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/afxdp"
)

const (
	chunksPerQueue = 2048 // all in the fill ring, or on their way through the other three
	burst          = 64
	idleMillis     = 100 // how often to look whether to stop
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: pong INTERFACE")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	answered, err := serve(ctx, os.Args[1], func() { log.Printf("answering pings on %s", os.Args[1]) })
	log.Printf("%d pings answered", answered)
	if err != nil {
		log.Fatal(err)
	}
}

// queue is a socket with the buffers for its bursts.
type queue struct {
	*afxdp.Socket
	packets [burst]unix.XDPDesc
	chunks  [burst]uint64
}

// serve answers until ctx ends. ready is called once packets come.
func serve(ctx context.Context, name string, ready func()) (answered int, err error) {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return 0, err
	}
	// Any queue may receive a ping, so each gets a socket. They share one UMEM and have a partition of its chunks each.
	rxQueues, err := filepath.Glob(filepath.Join("/sys/class/net", name, "queues/rx-*"))
	if err != nil || len(rxQueues) == 0 {
		return 0, fmt.Errorf("cannot tell how many queues %s has: /sys does not show it: %w", name, errors.Join(err, os.ErrNotExist))
	}
	umem, err := afxdp.NewUmem(afxdp.UmemConfig{Chunks: len(rxQueues) * chunksPerQueue, ChunkBytes: 2048})
	if err != nil {
		return 0, err
	}
	defer umem.Close()
	queues := make([]*queue, len(rxQueues))
	for i := range queues {
		if queues[i], err = open(umem, ifi.Index, i, queues[0]); err != nil {
			return 0, err
		}
		defer queues[i].Close()
	}

	// The program is attached when all sockets are there, and detached before they go.
	prog, sockets, err := loadEchoFilter(len(queues))
	if err != nil {
		return 0, err
	}
	defer prog.Close()
	defer sockets.Close()
	wait := make([]unix.PollFd, len(queues))
	for i, q := range queues {
		if err := sockets.Put(uint32(i), uint32(q.FD())); err != nil {
			return 0, err
		}
		wait[i] = unix.PollFd{Fd: int32(q.FD()), Events: unix.POLLIN}
	}
	attached, err := link.AttachXDP(link.XDPOptions{Program: prog, Interface: ifi.Index}) // native if the driver has it
	if err != nil {
		return 0, err
	}
	defer attached.Close()

	ready()
	for ctx.Err() == nil {
		worked := 0
		for _, q := range queues {
			n, err := q.turn(umem)
			if err != nil {
				return answered, err
			}
			worked += n
		}
		if answered += worked; worked == 0 {
			_, _ = unix.Poll(wait, idleMillis)
		}
	}
	return answered, nil
}

// open opens the socket of one queue with all its chunks in the fill ring; first, if not nil, is the socket that registered the UMEM.
func open(umem *afxdp.Umem, ifindex, number int, first *queue) (*queue, error) {
	frames, err := afxdp.NewFrameStack(umem, number*chunksPerQueue, chunksPerQueue)
	if err != nil {
		return nil, err
	}
	fill := make([]uint64, chunksPerQueue)
	frames.AllocBurst(fill)
	c := afxdp.SocketConfig{Ifindex: ifindex, Queue: number, RxEntries: chunksPerQueue, TxEntries: chunksPerQueue, Fill: fill}
	if first != nil {
		c.Shared = first.Socket
	}
	socket, err := afxdp.Open(umem, c)
	if err != nil {
		return nil, err
	}
	return &queue{Socket: socket}, nil
}

// turn moves what there is, at most a burst, and returns how many packets it answered. No ring can overflow: each holds all of the queue's
// chunks.
func (q *queue) turn(umem *afxdp.Umem) (answered int, err error) {
	sent := q.chunks[:q.Complete(q.chunks[:])]
	q.Fill(sent) // sent: ready to receive again

	received := q.packets[:q.Receive(q.packets[:])]
	replies := received[:0]
	for _, p := range received {
		if turnAround(umem.Data(p)) {
			replies = append(replies, p)
		} else {
			q.Fill([]uint64{p.Addr})
		}
	}
	q.Transmit(replies)
	for _, err := range []error{q.Kick(), q.WakeFill()} {
		if err != nil && !errors.Is(err, afxdp.ErrRetry) { // what waits in a ring goes with the next turn
			return len(replies), err
		}
	}
	return len(replies), nil
}
