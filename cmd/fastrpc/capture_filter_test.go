package main

import (
	"strings"
	"testing"

	"github.com/google/gopacket/layers"

	"github.com/fastrpc/fastrpc/internal/tap"
)

// Each filter on packets that differ in one thing each, in the order of the columns.
func TestFilter(t *testing.T) {
	ip4, ip6 := layers.EthernetTypeIPv4, layers.EthernetTypeIPv6
	packets := []tap.Packet{
		{Data: ether(ip4, ipv4(9000, 0, []byte("IPv4"))), Direction: tap.In},
		{Data: ether(ip6, ipv6(9000, 0, []byte("IPv6"))), Direction: tap.Out},
		{Data: vlan(ip4, ipv4(9001, 0, []byte("in a VLAN, and longer than the others"))), Direction: tap.In},
		{Data: ether(ip4, ipv4(9000, 0, nil))[:34], Direction: tap.In}, // no UDP header
		{Data: []byte{1, 2, 3}, Direction: tap.Out},
	}
	for i := range packets {
		packets[i].Length = len(packets[i].Data)
	}
	for filter, want := range map[string]string{
		"ip":                                    "x-xx-",
		"ip6":                                   "-x---",
		"udp":                                   "xxx--",
		"port 9000":                             "xx---",
		"udp port 9000":                         "xx---",
		"ip6 port 9000":                         "-x---",
		"dst port 9000":                         "xx---",
		"src port 9000":                         "-----",
		"src port 40000":                        "xxx--",
		"port 9000 or 9001":                     "xxx--",
		"portrange 9001-9100":                   "--x--",
		"dst portrange 1-9000":                  "xx---",
		"host 192.0.2.1":                        "x-xx-",
		"src host 192.0.2.2":                    "-----",
		"dst 192.0.2.2":                         "x-xx-",
		"ip host 192.0.2.1 and not port 9000":   "--xx-",
		"host 2001:db8::1 or 192.0.2.2":         "xxxx-",
		"net 192.0.2.0/24":                      "x-xx-",
		"src net 2001:db8::/32":                 "-x---",
		"ether host 02:00:00:00:00:99":          "-----",
		"ether src " + testMAC.String():         "xxxx-",
		"vlan":                                  "--x--",
		"vlan 7":                                "--x--",
		"vlan 8":                                "-----",
		"vlan and port 9001":                    "--x--",
		"inbound":                               "x-xx-",
		"outbound":                              "-x--x",
		"less 40":                               "---xx",
		"greater 66":                            "-xx--",
		"not udp":                               "---xx",
		"!udp":                                  "---xx",
		"udp && !(ip6||vlan)":                   "x----",
		"inbound or ip6 and port 9000":          "xx---", // from the left
		"inbound or ( ip6 and port 9000 )":      "xxxx-",
		"not inbound and ip6":                   "-x---", // not binds first
		"not ( inbound or ip6 )":                "----x",
		"  port\t9000\nand\nhost\t2001:db8::2 ": "-x---",
	} {
		f, err := parseFilter(filter)
		if err != nil {
			t.Errorf("%q: %v", filter, err)
			continue
		}
		var in filterInput
		got := ""
		for i := range packets {
			in.look(&packets[i])
			got += map[bool]string{true: "x", false: "-"}[f(&in)]
		}
		if got != want {
			t.Errorf("%q wants %s of the packets, not %s", filter, got, want)
		}
	}
}

// No filter wants everything.
func TestNoFilter(t *testing.T) {
	if f, err := parseFilter(" "); f != nil || err != nil {
		t.Errorf("a filter of nothing, %v", err)
	}
}

// What is no filter is refused, with what is wrong about it.
func TestFilterErrors(t *testing.T) {
	for filter, says := range map[string]string{
		"tcp":                       `"tcp"`,
		"9000":                      `"9000"`,
		"port":                      "ends",
		"port 9000 and":             "ends",
		"port 70000":                `"70000"`,
		"port 1-2":                  `"1-2"`,
		"portrange 2-1":             `"2-1"`,
		"portrange 5":               `"5"`,
		"host example.com":          "names are not looked up",
		"net 192.0.2.1/24":          "no network",
		"ether port 5":              `"ether port"`,
		"ether host 1.2.3.4":        "no MAC",
		"host port 5":               `"host port"`,
		"src src 5":                 `"src src"`,
		"udp udp":                   `"udp"`,
		"( udp":                     "not closed",
		"udp )":                     `")"`,
		"udp ip6":                   `"ip6"`,
		"port 9000 port 9001":       "'and' or 'or' is missing",
		"vlan 4096":                 `"4096"`,
		"less":                      "behind",
		"less x":                    `"x"`,
		"udp[8] == 1":               `"udp[8]"`,
		"not":                       "ends",
		strings.Repeat("not ", 1e5): "too deep",
		strings.Repeat("(", 1e5):    "too deep",
	} {
		if _, err := parseFilter(filter); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.30q: %v; want an error that says %s", filter, err, says)
		}
	}
}

// FuzzFilter parses anything, and what is a filter looks at anything.
func FuzzFilter(f *testing.F) {
	f.Add("not (udp port 9000 or 9001) and host ::1 || less 5", ether(layers.EthernetTypeIPv4, ipv4(9000, 0, nil)))
	f.Add("vlan 7 && ether src 02:00:00:00:00:01", vlan(layers.EthernetTypeIPv6, ipv6(9000, 0, nil)))
	f.Fuzz(func(t *testing.T, filter string, packet []byte) {
		if f, err := parseFilter(filter); err == nil && f != nil {
			var in filterInput
			in.look(&tap.Packet{Data: packet, Length: len(packet)})
			f(&in)
		}
	})
}
