//go:build rdma

package kv

import (
	"context"
	"errors"
	"fmt"

	"github.com/fastrpc/fastrpc/rdma"
)

// Reader looks keys up in a table by one-sided reads. One goroutine at a time may use it, and its importer.
type Reader struct {
	remote *rdma.Remote
	batch  *rdma.Batch
	layout Layout
	torn   int
}

// Open opens the table that the other side exports under a name.
func Open(ctx context.Context, i *rdma.Importer, name string) (*Reader, error) {
	remote, err := i.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	layout, err := readLayout(ctx, i, remote)
	if err != nil {
		return nil, fmt.Errorf("kv: table %q: %w", name, err)
	}
	batch, err := i.NewBatch(1, neighbours*layout.slotBytes())
	if err != nil {
		return nil, err
	}
	return &Reader{remote: remote, batch: batch, layout: layout}, nil
}

func readLayout(ctx context.Context, i *rdma.Importer, remote *rdma.Remote) (Layout, error) {
	b, err := i.NewBatch(1, headerBytes)
	if err != nil {
		return Layout{}, err
	}
	defer b.Close()
	header, err := b.Read(remote, 0, headerBytes)
	if err != nil {
		return Layout{}, err
	}
	if err := b.Do(ctx); err != nil {
		return Layout{}, err
	}
	layout, err := parseLayout(header)
	if err == nil && layout.Bytes() != remote.Len() {
		err = fmt.Errorf("it has %d bytes, where its header says %d", remote.Len(), layout.Bytes())
	}
	return layout, err
}

// Get looks a key up. The value, whose version grows with each write of its slot, is valid until the next Get. A read that met a write is
// repeated, until ctx ends; nothing is allocated.
func (r *Reader) Get(ctx context.Context, key []byte) (value []byte, version uint64, err error) {
	if len(key) == 0 || len(key) > r.layout.Key {
		return nil, 0, ErrNotFound
	}
	for {
		b, err := r.read(ctx, r.layout.place(key))
		if err != nil {
			return nil, 0, err
		}
		s, err := r.layout.find(b, key)
		if err != errTorn {
			return s.value, s.version, err
		}
		r.torn++
		if ctx.Err() != nil {
			return nil, 0, fmt.Errorf("%w, again and again: %w", errTorn, ctx.Err())
		}
	}
}

// read reads a neighbourhood.
func (r *Reader) read(ctx context.Context, at int) ([]byte, error) {
	if err := r.batch.Wait(ctx); r.batch.Reset() != nil {
		return nil, err // a look-up before, whose ctx ended, is under way still
	}
	b, err := r.batch.Read(r.remote, at, neighbours*r.layout.slotBytes())
	if err != nil {
		return nil, err
	}
	err = r.batch.Post()
	if errors.Is(err, rdma.ErrStale) { // as far as this side knows: the server may have renewed the lease
		if err = r.remote.Renew(ctx); err == nil {
			err = r.batch.Post()
		}
	}
	if err == nil {
		err = r.batch.Wait(ctx)
	}
	return b, err
}

// Torn is how many reads met a write, and were repeated.
func (r *Reader) Torn() int { return r.torn }

// Close gives the reader's memory back.
func (r *Reader) Close() error { return r.batch.Close() }
