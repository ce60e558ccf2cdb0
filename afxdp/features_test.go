//go:build linux

package afxdp_test

import (
	"errors"
	"testing"

	"github.com/fastrpc/fastrpc/afxdp"
)

// TestFeatures asks about a device with native XDP, one without, and none.
func TestFeatures(t *testing.T) {
	a, b := newPair(t, 1)
	var veth, none afxdp.DeviceFeatures
	var err, noneErr, goneErr error
	const loopback = 1
	a.do(t, func() { veth, err = afxdp.Features(a.ifindex) })
	b.do(t, func() {
		none, noneErr = afxdp.Features(loopback)
		_, goneErr = afxdp.Features(99999)
	})
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	must(t, errors.Join(err, noneErr))
	if !veth.XDP.Has(afxdp.XDPBasic|afxdp.XDPRedirect) || veth.XDP.Has(afxdp.XDPZeroCopy) || veth.ZeroCopyMaxSegs != 0 {
		t.Errorf("veth: %+v; want native XDP without zero-copy", veth)
	}
	if none.XDP.Has(afxdp.XDPBasic) {
		t.Errorf("lo: %+v; it has no native XDP", none)
	}
	if !errors.Is(goneErr, afxdp.ErrNoDevice) {
		t.Errorf("interface 99999: got %v, want ErrNoDevice", goneErr)
	}
}

func TestFeatureNames(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{(afxdp.XDPBasic | afxdp.XDPRedirect | afxdp.XDPZeroCopy).String(), "basic redirect xsk-zerocopy"},
		{(afxdp.XDPReceiveMultiBuf | 1<<40).String(), "rx-sg bit 40"},
		{afxdp.XDPFeatures(0).String(), "none"},
		{(afxdp.RxTimestamp | afxdp.RxVLANTag).String(), "timestamp vlan-tag"},
		{(afxdp.TxChecksum | afxdp.TxLaunchTime).String(), "tx-checksum tx-launch-time-fifo"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
	if afxdp.XDPBasic.Has(afxdp.XDPBasic | afxdp.XDPRedirect) {
		t.Error("Has is satisfied with a part")
	}
}
