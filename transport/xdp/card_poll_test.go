package xdp_test

import (
	"strings"
	"testing"

	"github.com/fastrpc/fastrpc/internal/lab"
	"github.com/fastrpc/fastrpc/internal/lab/labtest"
	"github.com/fastrpc/fastrpc/internal/nic"
)

// Whether busy polling works is measured, and on veth it depends on the kernel: since Linux 6.14 the socket learns no NAPI instance there, which
// is what Stats says, and then no interrupts are deferred that nobody would poll instead.
func TestBusyPollMeasured(t *testing.T) {
	cable := labtest.New(t, lab.Config{Queues: 1})
	at := addrPort(cable.Server().IPv4, 9000)
	server := listen(t, cable.Server(), "xdp://"+at.String()+"?busypoll=20").Links()[0]
	p := dial(t, cable.Client(), at, "")
	client := p.Links()[0]
	path := resolve(t, client, p.Local(), at)
	if s := stats(server).Polling; s.Works || s.NAPI == 0 && s.Why != "no packet has come in yet that would tell the socket its NAPI instance" {
		t.Errorf("before the first packet: %+v", s)
	}
	for range 200 {
		send(t, client, path, random(100))
		receive(t, server)
	}
	s := stats(server).Polling
	t.Logf("%+v", s)
	if s.NAPI == 0 && (s.Works || !strings.Contains(s.Why, "SO_INCOMING_NAPI_ID is 0")) || s.Works != (s.Why == "") || s.SoftIRQs == 0 {
		t.Errorf("%+v", s)
	}
	if c := stats(client).Polling; c.Works || !strings.Contains(c.Why, "not asked for") {
		t.Errorf("the client, without busypoll: %+v", c)
	}
	must(t, cable.Server().Do(func() error {
		d, err := nic.Open(cable.Server().Ifindex)
		must(t, err)
		defer d.Close()
		all, err := d.NAPIs()
		must(t, err)
		if len(all) != 1 || s.NAPI == 0 && all[0].NAPISettings != (nic.NAPISettings{}) {
			t.Errorf("NAPI instances %+v", all)
		}
		return nil
	}))
}
