// Command poll receives packets by busy polling, and fails if the device interrupts nevertheless, or if its settings are not given back. It is for
// a guest whose network card tells its sockets their NAPI instances, which veth does not: it leaves addresses and a network namespace behind.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/netip"
	"time"

	"github.com/fastrpc/fastrpc/internal/guest/hosts"
	"github.com/fastrpc/fastrpc/internal/nic"
	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/xdp"
)

const (
	sender, receiver = "eth0", "eth1"
	senderAddress    = "198.18.0.1/24"
	receiverAddress  = "198.18.0.2/24"

	patience = 4 * time.Minute // for all of it
	packets  = 1000            // in a window; 11 interrupts would be too many
)

var at = netip.MustParseAddrPort("198.18.0.2:9000")

// defaults are what the setting busypoll makes of a NAPI instance that nobody has set.
var defaults = nic.NAPISettings{DeferHardIRQs: 2, GROFlushTimeout: 200 * time.Microsecond}

// slow is for an emulated card and a loaded machine, where a turn takes milliseconds: with the defaults, interrupts would come back in between.
var slow = nic.NAPISettings{DeferHardIRQs: 1000, GROFlushTimeout: 100 * time.Millisecond}

func main() {
	log.SetFlags(0)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var r rig
	if err := r.open(ctx); err != nil {
		log.Fatal(err)
	}
	for _, story := range []struct {
		name, setting string
		before, while nic.NAPISettings
		most          uint64 // interrupts in the window
	}{
		{"none", "0", nic.NAPISettings{}, nic.NAPISettings{}, 0},
		{"system calls", "50", nic.NAPISettings{}, defaults, packets}, // a matter of the machine's speed
		{"system calls, slowly", "50", slow, slow, packets / nic.EnoughPackets},
		// To a virtio device, the wish for no interrupts is a hint (Virtual I/O Device 1.2, section 2.7.7), which QEMU does not always heed.
		{"a thread", "thread", nic.NAPISettings{}, nic.NAPISettings{Threaded: nic.NAPIThreadBusy}, packets / 2},
	} {
		p, err := r.run(ctx, story.setting, story.before, story.while)
		log.Printf("%s: %+v", story.name, p)
		if few := packets / uint64(nic.EnoughPackets); err == nil && (p.Interrupts > story.most || p.Works != (story.setting != "0" && p.Interrupts <= few)) {
			err = fmt.Errorf("%d interrupts at most were to be expected, and a verdict to match", story.most)
		}
		if err != nil {
			log.Fatalf("%s: %v", story.name, err)
		}
	}
	if err := r.suspend(ctx); err != nil {
		log.Fatal(err)
	}
}

// rig is the two ends of the cable. The sender has a namespace of its own: packets to an address of the same one would not leave it.
type rig struct {
	driver transport.Driver
	dev    *nic.Device // the receiver's
	from   transport.Port
}

func (r *rig) open(ctx context.Context) (err error) {
	if r.driver, err = transport.Open("xdp"); err != nil {
		return err
	}
	if err := hosts.Address(receiver, receiverAddress); err != nil {
		return err
	}
	if r.dev, err = nic.OpenName(receiver); err != nil {
		return err
	}
	return hosts.InNamespace(sender, func() (err error) {
		if err := hosts.Address(sender, senderAddress); err != nil {
			return err
		}
		r.from, err = r.driver.Dial(ctx, transport.Target{}, at)
		return err
	})
}

// run receives with a setting of busypoll, two windows of packets: one for everybody to settle, and the one that it returns.
func (r *rig) run(ctx context.Context, setting string, before, while nic.NAPISettings) (p xdp.Polling, err error) {
	id, err := r.napi(ctx)
	if err == nil {
		err = r.dev.SetNAPI(id, before)
	}
	if err != nil {
		return p, err
	}
	defer func() {
		if err == nil {
			err = r.expect(ctx, id, before)
		}
	}()
	t, err := transport.ParseTarget(fmt.Sprintf("xdp://%s:%d?mode=native&busypoll=%s", receiver, at.Port(), setting))
	if err != nil {
		return p, err
	}
	to, err := r.driver.Listen(ctx, t)
	if err != nil {
		return p, err
	}
	link := to.Links()[0].(*xdp.Link)
	defer func() { err = errors.Join(err, to.Close(), link.Close()) }()
	frames := make([]transport.Frame, link.Caps().Burst)
	receive := func() (n int, err error) {
		n, err = link.Recv(frames)
		link.Free(frames[:n])
		return n, err
	}
	for range 2 {
		from, err := r.dev.PollCounts(0, id)
		if err != nil {
			return p, err
		}
		if err := r.send(ctx, receive); err != nil {
			return p, err
		}
		if to, err := r.dev.PollCounts(0, id); err != nil || setting == "0" && to.Interrupts-from.Interrupts < packets/10 {
			return p, fmt.Errorf("%d interrupts without busy polling: %w", to.Interrupts-from.Interrupts, err)
		}
		st := link.Stats()
		if p = st.Polling; st.WhyRefused != "" {
			return p, errors.New(st.WhyRefused)
		}
	}
	if setting != "0" && p.NAPI != id {
		return p, fmt.Errorf("the socket's NAPI instance is %d, the queue's %d", p.NAPI, id)
	}
	return p, r.expect(ctx, id, while)
}

// napi waits until the queue has a NAPI instance, which it has not while the driver gives a socket's memory back, after its Close.
func (r *rig) napi(ctx context.Context) (uint32, error) {
	for ctx.Err() == nil {
		if napis, err := r.dev.QueueNAPIs(); err != nil || napis[0] != 0 {
			return napis[0], err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return 0, fmt.Errorf("queue 0 of %s has no NAPI instance: %w", receiver, ctx.Err())
}

// expect waits until a NAPI instance has settings.
func (r *rig) expect(ctx context.Context, id uint32, want nic.NAPISettings) error {
	for {
		n, err := r.dev.NAPI(id)
		if err == nil && n.NAPISettings == want {
			return nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("NAPI instance %d has %+v (%w), want %+v", id, n.NAPISettings, err, want)
		}
	}
}

// send sends packets, each when the one before has arrived, as receive tells. One that is lost is sent again.
func (r *rig) send(ctx context.Context, receive func() (int, error)) error {
	from := r.from.Links()[0]
	path, err := from.Resolve(ctx, r.from.Local(), at)
	if err != nil {
		return err
	}
	frames := make([]transport.Frame, from.Caps().Burst)
	for received := 0; received < packets; {
		f := frames[:1]
		if !from.Alloc(&f[0]) {
			return errors.New("no frame to send")
		}
		f[0].Data, f[0].Path = f[0].Data[:100], path
		if n, err := from.Send(f); err != nil || n != 1 {
			return fmt.Errorf("sent %d: %w", n, err)
		}
		if err := from.Flush(); err != nil {
			return err
		}
		before := received
		for again := time.Now().Add(100 * time.Millisecond); received == before && time.Now().Before(again); {
			n, err := receive()
			if err != nil {
				return err
			}
			received += n
			from.Free(frames[:from.Completed(frames)])
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("after %d packets: %w", received, err)
		}
	}
	return nil
}
