package xdp

import (
	"errors"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// ethernet is what the kernel tells of an Ethernet interface of that kind (rtnetlink(7), RTM_NEWLINK).
func ethernet(t *testing.T, name, kind string) netlink.Link {
	t.Helper()
	header := nl.NewIfInfomsg(unix.AF_UNSPEC)
	header.Type, header.Index, header.Flags = unix.ARPHRD_ETHER, 1<<30, unix.IFF_UP
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.ZeroTerminated(kind))
	message := header.Serialize()
	for _, a := range []*nl.RtAttr{
		nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)),
		nl.NewRtAttr(unix.IFLA_ADDRESS, []byte{2, 0, 0, 0, 0, 1}),
		info,
	} {
		message = append(message, a.Serialize()...)
	}
	l, err := netlink.LinkDeserialize(nil, message)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// A socket that is bound to a bond would receive nothing, so that it is refused; auto:// then takes another transport.
func TestBondIsRefused(t *testing.T) {
	_, err := toIface(ethernet(t, "bond7", "bond"))
	if !errors.Is(err, ErrNoInterface) || !strings.Contains(err.Error(), "bond7 is a bond") || !strings.Contains(err.Error(), "udp://") {
		t.Errorf("a bond: %v", err)
	}
	if i, err := toIface(ethernet(t, "veth7", "veth")); err != nil || i.name != "veth7" {
		t.Errorf("a veth: %+v, %v", i, err)
	}
}
