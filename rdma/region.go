//go:build rdma

package rdma

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Exporter lets clients reach memory of this process by one-sided operations: see Export. This side's processor has part in opening a region
// only. Its methods may be called from any goroutine.
//
// There is no authentication: whoever may connect may open any region, and the keys of regions are numbers that can be guessed. Clients that
// are not to reach each other's regions need an exporter each, for a key is good with the connections of its own exporter only.
type Exporter struct {
	cm   *CM
	l    *Listener
	dev  *Context
	pd   *PD
	cq   *CQ
	file *os.File // of the queue's events
	mem  []byte   // a place for each question that may wait
	mr   *MR

	made    closers
	stop    context.CancelFunc
	done    context.Context
	running sync.WaitGroup
	changed chan struct{} // a lease began, or ends at another time

	mu      sync.Mutex
	now     func() time.Time
	regions map[string]*Region
	spent   map[uint32]time.Time // keys that were revoked, and until when a client may hold them for good
	clients map[uint32]*client   // by the number of their queue pair
	free    []int                // places of mem
}

// ExporterConfig says how much an exporter takes on.
type ExporterConfig struct {
	Clients int // connected at once, of whom more are refused; 0 stands for 64
}

const defaultClients = 64

// NewExporter listens at an address of an RDMA device; port 0 takes any.
func NewExporter(addr netip.AddrPort, c ExporterConfig) (_ *Exporter, err error) {
	if c.Clients == 0 {
		c.Clients = defaultClients
	}
	if c.Clients < 1 || addr.Addr().IsUnspecified() || !addr.IsValid() {
		return nil, fmt.Errorf("rdma: an exporter is for one client or more, not %d, at an address of one device, not %v", c.Clients, addr)
	}
	e := &Exporter{
		changed: make(chan struct{}, 1), now: time.Now,
		regions: map[string]*Region{}, spent: map[uint32]time.Time{}, clients: map[uint32]*client{},
	}
	e.done, e.stop = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			_ = e.Close()
		}
	}()
	if e.cm, err = NewCM(); err != nil {
		return nil, err
	}
	e.made.add(e.cm.Close)
	if e.l, err = e.cm.Listen(RC, addr); err != nil {
		return nil, err
	}
	e.made.add(e.l.Close)
	name, _ := e.l.Device()
	if e.dev, err = Open(name); err != nil {
		return nil, err
	}
	e.made.add(e.dev.Close)
	if e.pd, err = e.dev.AllocPD(); err != nil {
		return nil, err
	}
	e.made.add(e.pd.Close)
	if e.cq, err = e.dev.CreateCQ(c.Clients*(serveSends+serveReceives), true); err != nil {
		return nil, err
	}
	e.made.add(e.cq.Close)
	if e.file, err = dupNonblock(e.cq.FD(), "completions of "+name); err != nil {
		return nil, err
	}
	e.made.add(e.file.Close)
	if e.mem, err = mapMemory(c.Clients * placeBytes); err != nil {
		return nil, err
	}
	e.made.add(func() error { return unix.Munmap(e.mem) })
	if e.mr, err = e.pd.Register(e.mem, LocalWrite); err != nil {
		return nil, err
	}
	e.made.add(e.mr.Close)
	for i := range c.Clients {
		e.free = append(e.free, i)
	}
	e.running.Go(e.accept)
	e.running.Go(e.answer)
	e.running.Go(e.expire)
	return e, nil
}

// Addr is where clients Dial to.
func (e *Exporter) Addr() netip.AddrPort { return e.l.Addr() }

// Done is closed when nobody can connect any more: after Close, or because the device is being removed, which may wait until Close.
func (e *Exporter) Done() <-chan struct{} { return e.l.gone }

// Clients is how many are connected.
func (e *Exporter) Clients() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.clients)
}

// Region is memory that is exported, until its lease is over or Close.
type Region struct {
	e      *Exporter
	name   string
	rights Access
	mr     *MR
	ends   time.Time
	done   chan struct{} // closed when the key was revoked
}

// Export lets clients open mem by a name. Rights are of RemoteRead, RemoteWrite and RemoteAtomic; the lease ends after a time that Renew
// prolongs. Mem must be mapped memory, as for PD.Register, and stay mapped until Done.
//
// A region has a registration of its own, and with it a key, that is taken back at its end. Memory windows, made for the same end, are not on
// every device, and those of type 2B are bound to a single connection by a work request on it; a deregistration exists everywhere, and when
// it returns, the card has ended what it had begun (ibv_dereg_mr: mlx5r_umr_revoke_mr in the kernel's driver of ConnectX fences it, rxe waits
// for the references). It costs what pinning the memory costs, at every export, and no region is opened meanwhile.
func (e *Exporter) Export(name string, mem []byte, rights Access, lease time.Duration) (*Region, error) {
	if err := checkName(len(name)); err != nil {
		return nil, err
	}
	if rights == 0 || rights&^remoteRights != 0 || lease <= 0 {
		return nil, fmt.Errorf("rdma: region %q: rights %#x are not of RemoteRead, RemoteWrite and RemoteAtomic, or a lease of %v is none", name, int(rights), lease)
	}
	if rights&RemoteAtomic != 0 && !e.dev.Limits().Atomics {
		return nil, failedAs(ErrUnsupported, "ibv_reg_mr", 0, "%s has no atomics: export region %q without RemoteAtomic", e.dev.name, name)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.done.Err() != nil {
		return nil, ErrClosed
	}
	if e.regions[name] != nil {
		return nil, fmt.Errorf("rdma: region %q is exported already: close it first, or renew its lease", name)
	}
	access := rights
	if rights&(RemoteWrite|RemoteAtomic) != 0 {
		access |= LocalWrite
	}
	mr, err := e.register(mem, access)
	if err != nil {
		return nil, err
	}
	r := &Region{e: e, name: name, rights: rights, mr: mr, ends: e.now().Add(lease), done: make(chan struct{})}
	e.regions[name] = r
	e.poke()
	return r, nil
}

// register gives mem a key that no client can hold for another region still: drivers hand out a key again that was just given back (that
// of ConnectX has a stack of them: drivers/infiniband/core/frmr_pools.c of Linux 7.2, pop_handle_from_queue_locked).
func (e *Exporter) register(mem []byte, access Access) (mr *MR, err error) {
	maps.DeleteFunc(e.spent, func(_ uint32, until time.Time) bool { return !until.After(e.now()) })
	var unfit []*MR
	for {
		if mr, err = e.pd.Register(mem, access); err != nil {
			break
		}
		if _, held := e.spent[mr.RKey()]; !held {
			break
		}
		unfit = append(unfit, mr)
	}
	for _, m := range unfit {
		err = errors.Join(err, m.Close())
	}
	return mr, err
}

// Name of the region.
func (r *Region) Name() string { return r.name }

// Expires tells when the lease ends.
func (r *Region) Expires() time.Time {
	r.e.mu.Lock()
	defer r.e.mu.Unlock()
	return r.ends
}

// Done is closed when no client can reach the region any more, and its memory is the caller's again.
func (r *Region) Done() <-chan struct{} { return r.done }

// Renew lets the lease end after a time from now. Clients learn of it by Remote.Renew.
func (r *Region) Renew(lease time.Duration) error {
	r.e.mu.Lock()
	defer r.e.mu.Unlock()
	if r.mr == nil {
		return fmt.Errorf("rdma: region %q: %w: export it again", r.name, ErrStale)
	}
	ends := r.e.now().Add(lease)
	if lease <= 0 || ends.Before(r.ends) {
		return fmt.Errorf("rdma: region %q: a lease is not made shorter, for clients count on it: close the region", r.name)
	}
	r.ends = ends
	r.e.poke()
	return nil
}

// Close revokes the region: clients that use it still are refused by the card, and their connection ends by it.
func (r *Region) Close() error {
	r.e.mu.Lock()
	defer r.e.mu.Unlock()
	if r.mr == nil {
		return ErrClosed
	}
	return r.revoke()
}

// revoke is called with the lock held.
func (r *Region) revoke() error {
	r.e.spent[r.mr.RKey()] = r.ends
	delete(r.e.regions, r.name)
	err := r.mr.Close()
	if err != nil { // the key may be good still: let nobody use it
		for _, c := range r.e.clients {
			c.drop()
		}
		err = fmt.Errorf("region %q could not be revoked, all clients are disconnected: %w", r.name, err)
	}
	r.mr = nil
	close(r.done)
	return err
}

// expire revokes the regions whose lease is over, and finds out about clients that are gone.
func (e *Exporter) expire() {
	timer, probes := time.NewTimer(0), time.NewTicker(probeEvery)
	defer timer.Stop()
	defer probes.Stop()
	for {
		select {
		case <-e.done.Done():
			return
		case <-e.changed:
		case <-timer.C:
		case <-probes.C:
			e.probe()
			continue
		}
		timer.Reset(e.revokeDue())
	}
}

// revokeDue returns for how long no other lease ends.
func (e *Exporter) revokeDue() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	next, now := time.Hour, e.now()
	for _, r := range e.regions {
		if left := r.ends.Sub(now); left > 0 {
			next = min(next, left)
		} else {
			_ = r.revoke() // its clients are disconnected when it fails, which is all that can be done
		}
	}
	return next
}

// poke makes expire look again.
func (e *Exporter) poke() {
	select {
	case e.changed <- struct{}{}:
	default:
	}
}

// Close revokes all regions and disconnects all clients.
func (e *Exporter) Close() error {
	e.mu.Lock()
	if e.done.Err() != nil {
		e.mu.Unlock()
		return ErrClosed
	}
	e.stop()
	var errs []error
	for _, r := range slices.Collect(maps.Values(e.regions)) {
		errs = append(errs, r.revoke())
	}
	e.mu.Unlock()
	e.running.Wait() // also for those who serve a client
	return errors.Join(errors.Join(errs...), e.made.close())
}
