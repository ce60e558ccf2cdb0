package doctor

import (
	"fmt"
	"strings"

	"github.com/safchain/ethtool"
	"github.com/vishvananda/netlink"
)

// vlansOn names those of the interfaces that are VLANs on top of one.
func vlansOn(ifindex int, links []netlink.Link) []string {
	var names []string
	for _, l := range links {
		if l.Type() == "vlan" && l.Attrs().ParentIndex == ifindex {
			names = append(names, l.Attrs().Name)
		}
	}
	return names
}

// tagStripping is the kernel's name of the feature that ethtool calls rxvlan (net/ethtool/common.c, netdev_features_strings).
const tagStripping = "rx-vlan-hw-parse"

// checkVLANs: what strips the tag puts it where XDP does not see it, so that packets of a VLAN look like untagged ones.
func checkVLANs(name string, vlans []string) Finding {
	e, err := ethtool.NewEthtool()
	if err != nil {
		return judgeVLANs(name, vlans, false, err)
	}
	defer e.Close()
	features, err := e.Features(name)
	return judgeVLANs(name, vlans, features[tagStripping], err)
}

func judgeVLANs(name string, vlans []string, stripped bool, err error) Finding {
	f := Finding{Check: "vlan", Level: OK, Text: fmt.Sprintf("the tags of %s are left in the packets", strings.Join(vlans, ", "))}
	switch {
	case err != nil:
		f.Level = Note
		f.Text = fmt.Sprintf("the device does not tell whether it strips the tags of %s, which XDP would then not see: %v", strings.Join(vlans, ", "), err)
	case stripped:
		f.Level = Note
		f.Text = fmt.Sprintf("the tags of %s are stripped before XDP sees them, and answers to their packets would leave without", strings.Join(vlans, ", "))
		f.Fix = "ethtool -K " + name + " rxvlan off"
	}
	return f
}
