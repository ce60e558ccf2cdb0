//go:build rdma

package main

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/rdma"
	"github.com/fastrpc/fastrpc/rdma/examples/kv"
)

// What the server exports: a table, and memory in which anything may be done.
const (
	tableName, scratchName = "users", "scratch"
	scratchBytes           = 128 << 10
	users                  = 200
)

var layout = kv.Layout{Slots: 1024, Key: 32, Value: 200}

// user is what the table has under a number.
func user(n int) (key, value []byte) { return fmt.Append(nil, "user ", n), pattern(n % 201) }

// export has regions read and written at an address, until the exporter is closed.
func export(at netip.AddrPort) (*rdma.Exporter, error) {
	scratch, err := mapped(scratchBytes)
	if err != nil {
		return nil, err
	}
	b, err := mapped(layout.Bytes())
	if err != nil {
		return nil, err
	}
	table, err := kv.NewTable(b, layout)
	if err != nil {
		return nil, err
	}
	for n := range users {
		if err := table.Put(user(n)); err != nil {
			return nil, err
		}
	}
	e, err := rdma.NewExporter(at, rdma.ExporterConfig{})
	if err != nil {
		return nil, err
	}
	if _, err := e.Export(scratchName, scratch, rdma.RemoteRead|rdma.RemoteWrite|rdma.RemoteAtomic, time.Hour); err != nil {
		return nil, err
	}
	_, err = e.Export(tableName, b, rdma.RemoteRead, time.Hour)
	return e, err
}

// mapped is memory that is there until the guest ends.
func mapped(n int) ([]byte, error) {
	return unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
}

// regions reads and writes the server's memory, and looks up what its table has.
func regions(ctx context.Context, server netip.Addr) error {
	cs, err := dial(ctx, server)
	if err != nil {
		return err
	}
	i, err := rdma.Dial(ctx, netip.AddrPortFrom(server, portRegions))
	if err != nil {
		return err
	}
	defer i.Close()
	r, err := i.Open(ctx, scratchName)
	if err != nil {
		return err
	}
	if err := access(ctx, i, r); err != nil {
		return err
	}
	table, err := kv.Open(ctx, i, tableName)
	if err != nil {
		return err
	}
	for n := range users {
		key, want := user(n)
		value, _, err := table.Get(ctx, key)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		if !bytes.Equal(value, want) {
			return fmt.Errorf("%s is %q; want %q", key, value, want)
		}
	}
	log.Printf("%d keys were found by one-sided reads", users)
	if err := table.Close(); err != nil {
		return err
	}
	return hangUp(ctx, cs)
}

// access writes memory of every size that a card cuts differently, reads it, and counts in it.
func access(ctx context.Context, i *rdma.Importer, r *rdma.Remote) error {
	b, err := i.NewBatch(4, 2*scratchBytes)
	if err != nil {
		return err
	}
	for _, size := range []int{1, 8, 64, 65, 1023, 1024, 1025, 4096, 4097, 65_537} {
		if err := b.Reset(); err != nil {
			return err
		}
		want := pattern(size)
		want[0] = byte(size)
		if err := b.Write(r, 64, want); err != nil {
			return err
		}
		b.Fence()
		got, err := b.Read(r, 64, size)
		if err != nil {
			return err
		}
		before, err := b.FetchAdd(r, 0, 3)
		if err != nil {
			return err
		}
		b.Fence()
		swapped, err := b.CompareAndSwap(r, 0, 3, 0)
		if err != nil {
			return err
		}
		if err := b.Do(ctx); err != nil {
			return fmt.Errorf("%d bytes: %w", size, err)
		}
		if !bytes.Equal(got, want) || *before != 0 || *swapped != 3 {
			return fmt.Errorf("%d bytes were read as others, or the counter was %d and %d instead of 0 and 3", size, *before, *swapped)
		}
		log.Printf("%d bytes were written and read", size)
	}
	return b.Close()
}
