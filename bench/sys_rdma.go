//go:build rdma

package bench

import (
	"context"
	"errors"
	"time"

	"github.com/fastrpc/fastrpc"
	"github.com/fastrpc/fastrpc/rdma"
)

func init() {
	Register(rpc{name: "rdma-ud", scheme: "rdma", query: "?qp=ud", handle: (*fastrpc.Server).HandleInline})
	Register(rpc{name: "rdma-rc", scheme: "rdma", query: "?qp=rc", handle: (*fastrpc.Server).HandleInline})
	Register(oneSided{name: "rdma-read"})
	Register(oneSided{name: "rdma-write", writes: true})
}

// oneSided is an operation on the server's region, posted and waited for; the server's process has no part in it. A read brings what the server
// wrote once. A write has ended when the server's card has acknowledged it; what the last one wrote is read back at the end.
type oneSided struct {
	name   string
	writes bool
}

func (s oneSided) Name() string    { return s.name }
func (oneSided) Bypass() bool      { return false }
func (oneSided) RDMA() bool        { return true }
func (oneSided) Has(w string) bool { return w == Latency || w == Sizes }

// The region, whose lease outlasts a round.
const (
	regionName  = "bench"
	regionLease = 24 * time.Hour
)

func (s oneSided) Serve(ctx context.Context, e Endpoint, ready func(Ready)) error {
	x, err := rdma.NewExporter(e.Local, rdma.ExporterConfig{})
	if err != nil {
		return err
	}
	mem, err := rdma.Map(e.Size)
	if err != nil {
		return errors.Join(err, x.Close())
	}
	regionBytes(mem.Bytes())
	if _, err = x.Export(regionName, mem.Bytes()[:e.Size], rdma.RemoteRead|rdma.RemoteWrite, regionLease); err == nil {
		ready(Ready{Addr: x.Addr()})
		<-ctx.Done()
	}
	return errors.Join(err, x.Close(), mem.Close())
}

// regionBytes writes what reads are to bring.
func regionBytes(b []byte) {
	for i := range b {
		b[i] = byte(i ^ i>>8)
	}
}

func (s oneSided) Connect(ctx context.Context, e Endpoint) (Caller, error) {
	i, err := rdma.Dial(ctx, e.Remote)
	if err != nil {
		return nil, err
	}
	c := &oneSidedCaller{i: i, want: make([]byte, e.Size)}
	regionBytes(c.want)
	if s.writes {
		c.wrote = make([]byte, 0, e.Size)
	}
	if c.r, err = i.Open(ctx, regionName); err == nil {
		c.b, err = i.NewBatch(1, e.Size)
	}
	if err != nil {
		return nil, errors.Join(err, i.Close())
	}
	return c, nil
}

type oneSidedCaller struct {
	i     *rdma.Importer
	r     *rdma.Remote
	b     *rdma.Batch
	wrote []byte // what is to be in the region: a write's last payload
	want  []byte // else
}

// Call reads or writes. A server that is gone ends the connection, and with it the operation.
func (c *oneSidedCaller) Call(payload []byte) error {
	if c.wrote == nil {
		return c.read(c.want)
	}
	if err := c.b.Reset(); err != nil {
		return err
	}
	if err := c.b.Write(c.r, 0, payload); err != nil {
		return err
	}
	c.wrote = append(c.wrote[:0], payload...)
	return c.b.Do(context.Background())
}

func (c *oneSidedCaller) read(want []byte) error {
	if err := c.b.Reset(); err != nil {
		return err
	}
	got, err := c.b.Read(c.r, 0, len(want))
	if err != nil {
		return err
	}
	if err := c.b.Do(context.Background()); err != nil {
		return err
	}
	return verify(got, want)
}

func (c *oneSidedCaller) Close() error {
	var err error
	if len(c.wrote) > 0 {
		err = c.read(c.wrote)
	}
	return errors.Join(err, c.i.Close())
}
