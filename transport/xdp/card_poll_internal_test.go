package xdp

import (
	"context"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/internal/lab"
	"github.com/fastrpc/fastrpc/internal/lab/labtest"
	"github.com/fastrpc/fastrpc/internal/nic"
	"github.com/fastrpc/fastrpc/transport"
)

// The interrupts of a NAPI instance that a Link learned of are deferred, and come back when the interface is given up.
func TestDeferred(t *testing.T) {
	l := labtest.New(t, lab.Config{Queues: 1})
	must(t, l.Server().Do(func() error {
		p, err := driver{}.Listen(context.Background(), transport.Target{Scheme: scheme, Host: l.Server().Interface, Port: 9000})
		must(t, err)
		link := p.Links()[0].(*Link)
		defer func() { must(t, p.Close()); must(t, link.Close()) }()
		s := &link.dev.card
		all, err := s.nic.NAPIs()
		must(t, err)
		settings := func() nic.NAPISettings {
			n, err := s.nic.NAPI(all[0].ID)
			must(t, err)
			return n.NAPISettings
		}
		s.polled <- all[0].ID // as learnNAPI does, where the driver tells the socket
		want := nic.NAPISettings{DeferHardIRQs: 2, GROFlushTimeout: 200 * time.Microsecond}
		for end := time.Now().Add(30 * time.Second); settings() != want && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		if got := settings(); got != want {
			t.Errorf("the settings are %+v, want %+v", got, want)
		}
		must(t, s.giveBack())
		if got := settings(); got != all[0].NAPISettings {
			t.Errorf("given back as %+v, before %+v", got, all[0].NAPISettings)
		}
		s.polling(context.Background(), all[0].ID) // too late
		if got := settings(); got != all[0].NAPISettings {
			t.Errorf("changed afterwards: %+v", got)
		}
		if _, refused, why := s.report(); refused != 0 {
			t.Errorf("refused: %v", why)
		}
		return nil
	}))
}

// What somebody has set stays.
func TestDeferredAlready(t *testing.T) {
	set := nic.NAPISettings{DeferHardIRQs: 1, Threaded: nic.NAPIThread}
	if got := (&card{}).polledAs(set); got != set {
		t.Errorf("%+v became %+v", set, got)
	}
	threaded := set
	threaded.Threaded = nic.NAPIThreadBusy
	if got := (&card{thread: true}).polledAs(set); got != threaded {
		t.Errorf("%+v became %+v, want %+v", set, got, threaded)
	}
}
