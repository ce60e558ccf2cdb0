//go:build rdma

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc"
)

// serve answers calls and exports memory until a client calls "end". Its words are a journal that outlives the guest: "ran 7" is out before the
// call of that number is answered.
func serve(ctx context.Context, at netip.Addr) error {
	s := fastrpc.NewServer(emulated...)
	s.HandleInline("echo", echo)
	s.Handle("worker", echo)
	s.Handle("record", record)
	ran := tally{ran: map[uint64]byte{}}
	s.HandleInline("count", ran.count)
	s.HandleInline("counts", ran.report)
	ended, end := context.WithCancel(ctx)
	s.HandleInline("end", func(*fastrpc.Response, *fastrpc.Request) error { end(); return nil })
	for kind, port := range map[string]uint16{"ud": portUD, "rc": portRC} {
		if _, err := s.Listen(ctx, fmt.Sprintf("rdma://%v?qp=%s", netip.AddrPortFrom(at, port), kind)); err != nil {
			return err
		}
	}
	exporter, err := export(netip.AddrPortFrom(at, portRegions))
	if err != nil {
		return err
	}
	fmt.Println("serving", s.Transports())
	<-ended.Done()
	if ctx.Err() != nil {
		return fmt.Errorf("no client called \"end\": %w", ctx.Err())
	}
	return errors.Join(s.Shutdown(ctx), exporter.Close())
}

func echo(w *fastrpc.Response, r *fastrpc.Request) error {
	_, err := w.Write(r.Body())
	return err
}

var journal sync.Mutex

// record waits until what it printed has left the guest.
func record(w *fastrpc.Response, r *fastrpc.Request) error {
	journal.Lock()
	fmt.Println("ran", binary.LittleEndian.Uint64(r.Body()))
	err := unix.IoctlSetInt(int(os.Stdout.Fd()), unix.TCSBRK, 1) // tcdrain
	journal.Unlock()
	if err != nil {
		return err
	}
	return echo(w, r)
}
