//go:build rdma

package rdma

import (
	"errors"
	"time"
)

// SetNow gives the exporter a clock, which it looks at right away.
func (e *Exporter) SetNow(now func() time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.now = now
	e.poke()
}

// SetNow gives the importer a clock.
func (i *Importer) SetNow(now func() time.Time) { i.now = now }

// UseKey makes the region's operations use another key.
func (r *Remote) UseKey(key uint32) { r.key = key }

// Key is the key of a region.
func (r *Remote) Key() uint32 { return r.key }

// HoldKey makes the exporter believe that a client may hold a key still.
func (e *Exporter) HoldKey(key uint32, until time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.spent[key] = until
}

// AddRights makes the client believe in rights that the region has not.
func (r *Remote) AddRights(rights Access) { r.rights |= rights }

// SetLen makes it believe in another length.
func (r *Remote) SetLen(n int) { r.length = n }

// Probe asks the clients now whether they are there still, and Probing counts those that have not answered.
func (e *Exporter) Probe() { e.probe() }

func (e *Exporter) Probing() (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range e.clients {
		if c.probing {
			n++
		}
	}
	return n
}

// Strand makes the batch one that is under way over a connection that has ended, on a device that completes nothing any more.
func (b *Batch) Strand() {
	b.state, b.i.batch = batchUnderWay, b
	b.i.fail(ErrGone)
}

// Fail makes the connection manager one that has no more events.
func (m *CM) Fail(why error) { m.fail(why) }

// Vanish makes the client deaf without a goodbye, as if its machine had lost power.
func (i *Importer) Vanish() error { return i.qp.Reset() }

// Vanish makes the exporter deaf to all its clients.
func (e *Exporter) Vanish() (err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range e.clients {
		err = errors.Join(err, c.qp.Reset())
	}
	return err
}
