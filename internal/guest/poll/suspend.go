package main

import (
	"context"
	"errors"
	"log"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/afxdp"
	"github.com/fastrpc/fastrpc/bpf"
	"github.com/fastrpc/fastrpc/internal/nic"
)

// work is how long the receiver takes for a packet: longer than interrupts are deferred, which is 20 times 100 µs, so that only suspension keeps
// them away.
const work = 5 * time.Millisecond

var (
	deferred  = nic.NAPISettings{DeferHardIRQs: 20, GROFlushTimeout: 100 * time.Microsecond}
	suspended = nic.NAPISettings{DeferHardIRQs: 20, GROFlushTimeout: 100 * time.Microsecond, IRQSuspendTimeout: 10 * time.Second}
)

// suspend receives with a bare socket that is waited for by epoll.
func (r *rig) suspend(ctx context.Context) (err error) {
	prog, err := bpf.Attach(r.dev.Index(), bpf.Options{Mode: bpf.Native})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, prog.Close()) }()
	const chunks, chunkBytes = 256, 2048
	umem, err := afxdp.NewUmem(afxdp.UmemConfig{Chunks: chunks, ChunkBytes: chunkBytes})
	if err != nil {
		return err
	}
	fill := make([]uint64, chunks)
	for i := range fill {
		fill[i] = uint64(i * chunkBytes)
	}
	s, err := afxdp.Open(umem, afxdp.SocketConfig{Ifindex: r.dev.Index(), RxEntries: chunks, Fill: fill})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close(), umem.Close()) }()
	if err := errors.Join(prog.SetSocket(0, s.FD()), prog.AllowPort(at.Port())); err != nil {
		return err
	}
	e, err := afxdp.NewEpoll(afxdp.BusyPoll{Micros: 500_000, Budget: 64, Prefer: true}, s.FD())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()

	receive := func() (n int, err error) {
		if _, err := e.Wait(time.Second); err != nil {
			return 0, err
		}
		var descs [64]unix.XDPDesc
		n = s.Receive(descs[:])
		for i := range n {
			s.Fill([]uint64{descs[i].Addr &^ (chunkBytes - 1)})
		}
		if n > 0 {
			time.Sleep(work)
		}
		return n, s.WakeFill()
	}
	without, err := r.interrupts(ctx, deferred, receive)
	if err != nil {
		return err
	}
	with, err := r.interrupts(ctx, suspended, receive)
	if err != nil {
		return err
	}
	log.Printf("epoll: %d interrupts for %d packets without suspension, %d with", without, packets, with)
	if with > without*3/4 { // 420 and 138 on an idle machine: an emulated device interrupts also when it is told not to
		return errors.New("suspension makes no difference")
	}
	return nil
}

// interrupts counts them while packets come.
func (r *rig) interrupts(ctx context.Context, set nic.NAPISettings, receive func() (int, error)) (uint64, error) {
	id, err := r.napi(ctx)
	if err == nil {
		err = r.dev.SetNAPI(id, set)
	}
	if err != nil {
		return 0, err
	}
	before, err := r.dev.PollCounts(0, id)
	if err == nil {
		err = r.send(ctx, receive)
	}
	if err != nil {
		return 0, err
	}
	after, err := r.dev.PollCounts(0, id)
	if err != nil {
		return 0, err
	}
	return after.Interrupts - before.Interrupts, nil
}
