package doctor

import (
	"maps"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// An answer as the kernel makes it (net/dcb/dcbnl.c): 802.1Qaz's attributes, flow control on priority 3, and an application table.
func TestDCBDecode(t *testing.T) {
	enc := netlink.NewAttributeEncoder()
	enc.String(dcbIfName, "eth7")
	enc.Nested(dcbIEEE, func(e *netlink.AttributeEncoder) error {
		pfc := make([]byte, 136) // struct ieee_pfc
		pfc[0], pfc[1] = 4, 1<<3 // how many it could have, and which it has
		e.Bytes(dcbIEEEPFC, pfc)
		e.Nested(dcbIEEEApps, func(e *netlink.AttributeEncoder) error {
			e.Bytes(dcbIEEEApp, []byte{dcbDSCP, 3, 26, 0}) // DSCP 26 is priority 3
			e.Bytes(dcbIEEEApp, []byte{1, 5, 0x15, 0x89})  // by Ethernet's type
			e.Bytes(dcbIEEEApp, []byte{dcbDSCP})           // cut off
			return nil
		})
		return nil
	})
	b, err := enc.Encode()
	if err != nil {
		t.Fatal(err)
	}
	a, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		t.Fatal(err)
	}
	var d dcb
	for a.Next() {
		d.decode(a)
	}
	if a.Err() != nil || !d.told || d.lossless != 8 || !maps.Equal(d.dscp, map[int]uint8{26: 3}) {
		t.Errorf("%+v, %v", d, a.Err())
	}
	if got := dscpText(d); got != "26 is priority 3" {
		t.Error(got)
	}
	d.lossless = 16
	if got := dscpText(d); got != "none leads to one of them" {
		t.Error(got)
	}
}

// The loopback interface has no data centre bridging, and an RDMA device of that name there is not: the kernel's answers are errors, not nothing.
func TestAskNothing(t *testing.T) {
	if d := askDCB("lo"); d.err == nil {
		t.Errorf("%+v", d.v)
	}
	if p := askPause("lo"); p.err == nil {
		t.Errorf("%+v", p.v)
	}
	if d := askDriver("no-such0"); d.err == nil || provider(d) != "" {
		t.Errorf("%+v", d.v)
	}
}

func TestProvider(t *testing.T) {
	for id, name := range map[uint32]string{0: "", 1: "mlx5", 6: "bnxt_re", 9: "irdma", 12: "hns", 14: "rxe", 17: "efa", 18: "siw", 21: "ionic", 22: "bng_re", 23: ""} {
		if got := provider(answer[uint32]{v: id}); got != name {
			t.Errorf("%d: %q, want %q", id, got, name)
		}
	}
	if provider(answer[uint32]{v: 1, err: unix.EPERM}) != "" {
		t.Error("a refused answer has a name")
	}
}
