package doctor

import (
	"errors"
	"net"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/fastrpc/fastrpc/afxdp"
	"github.com/fastrpc/fastrpc/internal/nic"
)

var errNotThere = errors.New("not there")

func TestInterface(t *testing.T) {
	up := netlink.LinkAttrs{Name: "eth7", Flags: net.FlagUp, OperState: netlink.OperUp}
	with := func(change func(*netlink.LinkAttrs)) netlink.LinkAttrs {
		a := up
		change(&a)
		return a
	}
	want(t, checkInterface(&netlink.Veth{LinkAttrs: up}), OK, "eth7")
	want(t, checkInterface(&netlink.Bond{LinkAttrs: up}), Wrong, "bond", "udp://")
	want(t, checkInterface(&netlink.Vlan{LinkAttrs: up}), Note, "the one below")
	want(t, checkInterface(&netlink.Device{LinkAttrs: with(func(a *netlink.LinkAttrs) { a.Flags = 0 })}), Wrong, "ip link set dev eth7 up")
	want(t, checkInterface(&netlink.Device{LinkAttrs: with(func(a *netlink.LinkAttrs) { a.OperState = netlink.OperDown })}), Note, "carrier")
	want(t, checkInterface(&netlink.Device{LinkAttrs: with(func(a *netlink.LinkAttrs) { a.MasterIndex = 9 })}), Note, "interface 9")
}

func TestDriver(t *testing.T) {
	m := onMachine()
	m.device.driver = got(nic.Driver{Name: "ice", Version: "6.12.38", Firmware: "4.40 0x8001c967 1.3534.0", Bus: "0000:3b:00.0"}, nil)
	want(t, m.checkDriver(), OK, "ice, 6.12.38, 4.40 0x8001c967 1.3534.0, 0000:3b:00.0")
	m.device.driver.err = errNotThere
	want(t, m.checkDriver(), Note, "not there")
}

func TestPCI(t *testing.T) {
	const dir = "sys/class/net/eth7/device/"
	slot := func(width, speed string) *machine {
		return onMachine(dir+"current_link_width", width, dir+"max_link_width", "16", dir+"current_link_speed", speed, dir+"max_link_speed", "16.0 GT/s PCIe")
	}
	want(t, slot("16", "16.0 GT/s PCIe").checkPCI(), OK, "x16 at 16")
	want(t, slot("8", "16.0 GT/s PCIe").checkPCI(), Note, "x8", "x16", "slot")
	want(t, slot("16", "8.0 GT/s PCIe").checkPCI(), Note, "at 8 GT/s")
	silent(t, slot("0", "Unknown").checkPCI()) // a virtual function
	silent(t, onMachine().checkPCI())
}

func TestMTU(t *testing.T) {
	device := func(mtu int, f afxdp.DeviceFeatures, err error) *machine {
		m := onMachine()
		m.device.mtu, m.device.xdp = mtu, got(f, err)
		return m
	}
	native := afxdp.DeviceFeatures{XDP: afxdp.XDPBasic | afxdp.XDPRedirect}
	several := afxdp.DeviceFeatures{XDP: native.XDP | afxdp.XDPReceiveMultiBuf}
	i40e := afxdp.DeviceFeatures{XDP: several.XDP | afxdp.XDPZeroCopy, ZeroCopyMaxSegs: 8}
	ice := device(3498, several, nil)
	ice.device.driver.v.Name = "ice"
	want(t, ice.checkMTU(4096, "6.12.38"), Note, "ice takes 3046", "ip link set dev eth7 mtu 3046")
	ice.device.mtu = 3046
	want(t, ice.checkMTU(4096, "6.12.38"), OK, "ice takes 3046")
	ice.device.mtu = 9000
	want(t, ice.checkMTU(4096, "6.12.38"), OK, "several buffers")
	want(t, ice.checkMTU(4096, "6.1.0"), Note, "mtu 3046")
	oneOnly := afxdp.DeviceFeatures{XDP: i40e.XDP, ZeroCopyMaxSegs: 1}
	want(t, device(1500, native, nil).checkMTU(4096, "6.12.38"), OK, "1500", "3498")
	want(t, device(3498, native, nil).checkMTU(4096, "6.12.38"), OK)
	want(t, device(9000, native, nil).checkMTU(65536, "6.12.38"), OK) // a large page
	want(t, device(9000, native, nil).checkMTU(4096, "6.12.38"), Note, "rx-sg", "ip link set dev eth7 mtu 3498")
	want(t, device(9000, several, nil).checkMTU(4096, "6.1.0-28-amd64"), Note, "6.6", "ip link set dev eth7 mtu 3498")
	want(t, device(9000, several, nil).checkMTU(4096, "6.12.38"), OK, "several buffers")
	want(t, device(9000, i40e, nil).checkMTU(4096, "6.12.38"), OK, "several buffers")
	want(t, device(9000, oneOnly, nil).checkMTU(4096, "6.12.38"), Note, "zero-copy", "mtu 3498")
}

func TestRings(t *testing.T) {
	rings := func(rx, most int, zeroCopy bool) *machine {
		m := onMachine()
		m.device.rings = got(nic.Rings{RX: rx, RXMax: most, TX: rx, TXMax: most}, nil)
		if zeroCopy {
			m.device.xdp.v.XDP = afxdp.XDPZeroCopy
		}
		return m
	}
	want(t, rings(1024, 4096, true).checkRings(), OK, "1024 of 4096")
	want(t, rings(256, 4096, false).checkRings(), Note, "burst", "ethtool -G eth7 rx 1024")
	want(t, rings(256, 256, false).checkRings(), OK) // there is no more
	want(t, rings(256, 512, false).checkRings(), Note, "ethtool -G eth7 rx 512")
	want(t, rings(4096, 4096, true).checkRings(), Note, "cannot fill", "ethtool -G eth7 rx 2048")
	want(t, rings(4096, 4096, false).checkRings(), OK)
	m := onMachine()
	m.device.rings.err = errNotThere
	silent(t, m.checkRings())
}

func TestCoalescing(t *testing.T) {
	waits := func(c nic.Coalesce, err error) *machine {
		m := onMachine()
		m.device.coalesce = got(c, err)
		return m
	}
	want(t, waits(nic.Coalesce{}, nil).checkCoalescing(), OK, "0 µs")
	want(t, waits(nic.Coalesce{RXMicros: 50, TXMicros: 50}, nil).checkCoalescing(), Note, "50 µs", "ethtool -C eth7 rx-usecs 0 tx-usecs 0")
	want(t, waits(nic.Coalesce{RXAdaptive: true, TXAdaptive: true}, nil).checkCoalescing(), Note, "ethtool -C eth7 adaptive-rx off adaptive-tx off rx-usecs 0")
	silent(t, waits(nic.Coalesce{}, errNotThere).checkCoalescing())
}

func TestOffloads(t *testing.T) {
	switches := func(names ...string) *machine {
		m := onMachine()
		m.device.switches.v = map[string]nic.Feature{"rx-lro": {Available: true}, "rx-gro": {Available: true, On: true}}
		for _, n := range names {
			m.device.switches.v[n] = nic.Feature{Available: true, On: true}
		}
		return m
	}
	want(t, switches().checkOffloads(), OK)
	want(t, switches("rx-lro").checkOffloads(), Note, "ethtool -K eth7 lro off")
	want(t, switches("rx-lro", "rx-gro-hw").checkOffloads(), Note, "ethtool -K eth7 lro off rx-gro-hw off")
	m := onMachine()
	m.device.switches.err = errNotThere
	want(t, m.checkOffloads(), Note, "not there")
}

func TestVLANs(t *testing.T) {
	links := []netlink.Link{
		&netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: "eth7.1", ParentIndex: 7}},
		&netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: "eth8.1", ParentIndex: 8}},
		&netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Name: "other", ParentIndex: 7}},
		&netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: "eth7.2", ParentIndex: 7}},
	}
	m := onMachine()
	silent(t, m.checkVLANs())
	m.device.vlans = vlansOn(7, links)
	m.device.switches.v = map[string]nic.Feature{tagStripping: {On: true}}
	want(t, m.checkVLANs(), Note, "eth7.1, eth7.2", "ethtool -K eth7 rxvlan off")
	m.device.switches.v[tagStripping] = nic.Feature{}
	want(t, m.checkVLANs(), OK, "eth7.1")
	m.device.switches.err = errNotThere
	want(t, m.checkVLANs(), Note, "eth7.1", "not there")
}

func TestChecksums(t *testing.T) {
	m := onMachine()
	m.device.driver.v.Name = "veth"
	want(t, m.checkChecksums(), Note, "unfinished", "ethtool -K PEER tx off")
	pair := func(namespace int) []netlink.Link {
		return []netlink.Link{
			&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth7", Index: 7, ParentIndex: 8, NetNsID: namespace}},
			&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth8", Index: 8, ParentIndex: 7, NetNsID: namespace}},
		}
	}
	if links := pair(0); peerOf(links[0], links) != "" { // the index is that of another namespace
		t.Errorf("the peer is %q", peerOf(links[0], links))
	}
	links := pair(-1)
	m.device.peer = peerOf(links[0], links)
	want(t, m.checkChecksums(), Note, "ethtool -K eth8 tx off")
	m.device.driver.v.Name = "virtio_net"
	silent(t, m.checkChecksums())
	m.device.switches.v = map[string]nic.Feature{"rx-checksum": {On: true}}
	want(t, m.checkChecksums(), OK, "unfinished")
	m.device.driver.v.Name = "ice"
	silent(t, m.checkChecksums())
}

func TestQueues(t *testing.T) {
	m := onMachine()
	m.device.queues = 2
	m.device.channels = got(channels{nic.Channels{Combined: 2}, nic.Channels{Combined: 64}}, nil)
	want(t, m.checkQueues(), OK, "2 to receive, of 64")
	m.device.queues = 8
	want(t, m.checkQueues(), Note, "4 CPUs", "ethtool -L eth7 combined 4")
	m.device.channels = got(channels{nic.Channels{RX: 8, TX: 8}, nic.Channels{RX: 8, TX: 8}}, nil) // stmmac and veth have no pairs
	want(t, m.polling(3).checkQueues(), Note, "1 CPU ", "ethtool -L eth7 rx 1")
}

func TestRSS(t *testing.T) {
	key := []byte{0xa3, 0x1c, 0x7d, 0x02, 0x55, 0x90, 0x11, 0xee}
	spread := func(table []uint32, key []byte) *machine {
		m := onMachine()
		m.device.queues = 4
		m.device.rss = got(nic.RSS{Key: key, Table: table, Hash: nic.HashToeplitz}, nil)
		return m
	}
	all := slices.Repeat([]uint32{0, 1, 2, 3}, 32)
	want(t, spread(all, key).checkRSS(), OK, "toeplitz", "128 entries")
	want(t, spread(slices.Repeat([]uint32{0, 2}, 64), key).checkRSS(), Note, "queues 1,3", "ethtool -X eth7 equal 4")
	want(t, spread(all, make([]byte, 40)).checkRSS(), Note, "zero", "ethtool -X eth7 hkey 6d:5a:56:da:", ":01:fa")
	want(t, spread(all, slices.Repeat([]byte{0x6d, 0x5a}, 20)).checkRSS(), OK, "symmetric")
	m := spread(all, key)
	m.device.rss.err = errNotThere
	want(t, m.checkRSS(), OK, "trying")
	m.device.queues = 1
	silent(t, m.checkRSS())
}

func TestHashFields(t *testing.T) {
	hashed := func(udp4, udp6 nic.HashFields) *machine {
		m := onMachine()
		m.device.queues, m.device.udp4.v, m.device.udp6.v = 4, udp4, udp6
		return m
	}
	const addresses = nic.HashIPSource | nic.HashIPDest
	want(t, hashed(addresses|nic.HashPorts, addresses|nic.HashPorts).checkHash(), OK)
	want(t, hashed(addresses, addresses|nic.HashPorts).checkHash(), Note, "ethtool -N eth7 rx-flow-hash udp4 sdfn")
	f := hashed(addresses, addresses).checkHash()
	want(t, f, Note, "udp4", "ethtool -N eth7 rx-flow-hash udp6 sdfn")
	if len(f.Fix) != 2 {
		t.Errorf("%q", f.Fix)
	}
	m := hashed(addresses, addresses)
	m.device.queues = 1
	silent(t, m.checkHash())
}

func TestSteering(t *testing.T) {
	rules := func(f nic.Feature) *machine {
		m := onMachine()
		m.device.queues = 4
		m.device.switches.v = map[string]nic.Feature{nic.FeatureNTuple: f}
		return m
	}
	want(t, rules(nic.Feature{Available: true, On: true}).checkSteering(), OK)
	want(t, rules(nic.Feature{Fixed: true}).checkSteering(), OK, "RSS alone")
	want(t, rules(nic.Feature{Available: true}).checkSteering(), Note, "ethtool -K eth7 ntuple on")
}
