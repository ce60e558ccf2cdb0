package nic

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Rule sends the UDP packets to a port to a queue of the device, or to an RSS context, before RSS itself is asked: an n-tuple rule, as
// 'ethtool -N eth0 flow-type udp4 dst-port 9000 action 2' installs it.
type Rule struct {
	Port    uint16 // destination port
	IPv6    bool
	Queue   int    // the queue; 0 with a context, whose table says which
	Context uint32 // of AddContext; 0: none
}

func (r Rule) String() string {
	flow, to := "udp4", fmt.Sprintf("action %d", r.Queue)
	if r.IPv6 {
		flow = "udp6"
	}
	if r.Context != 0 {
		to = fmt.Sprintf("context %d", r.Context)
	}
	return fmt.Sprintf("flow-type %s dst-port %d %s", flow, r.Port, to)
}

// struct ethtool_rxnfc (linux/ethtool.h): u32 cmd, flow_type, u64 data, then a rule (struct ethtool_rx_flow_spec), u32 rule_cnt or rss_context,
// u32 rule_locs[]. The rule: u32 flow_type, the packet's fields to compare (52 bytes and 20 of extensions), the masks of the same form, u64
// ring_cookie, u32 location. Of the fields, struct ethtool_tcpip4_spec and _tcpip6_spec have their ports behind the addresses.
const (
	rxnfcFlow      = 4
	rxnfcData      = 8
	rxnfcRule      = 16
	rxnfcCount     = 184
	rxnfcLocations = 188
	rxnfcBytes     = 192

	ruleFields   = 4
	ruleMasks    = 76
	ruleCookie   = 152
	ruleLocation = 160
	ruleBytes    = 168

	fieldsDestPort4 = 10
	fieldsDestPort6 = 34

	flowUDP4 = 2          // UDP_V4_FLOW
	flowUDP6 = 6          // UDP_V6_FLOW
	flowRSS  = 0x20000000 // FLOW_RSS: the context is in rss_context

	anyLocation  = 0xffffffff // RX_CLS_LOC_ANY: the driver chooses
	canChoose    = 1 << 31    // RX_CLS_LOC_SPECIAL, of rxnfcData: the driver can choose
	maxLocations = 1 << 20    // bounds what a driver may claim
)

// udpFlow is the flow type of UDP packets.
func udpFlow(ipv6 bool) uint32 {
	if ipv6 {
		return flowUDP6
	}
	return flowUDP4
}

// encode puts the rule into a request.
func (r Rule) encode(request []byte, location uint32) {
	flow, port := udpFlow(r.IPv6), fieldsDestPort4
	if r.IPv6 {
		port = fieldsDestPort6
	}
	if r.Context != 0 {
		flow |= flowRSS
		binary.NativeEndian.PutUint32(request[rxnfcCount:], r.Context)
	}
	rule := request[rxnfcRule:]
	binary.NativeEndian.PutUint32(rule, flow)
	binary.BigEndian.PutUint16(rule[ruleFields+port:], r.Port)
	binary.BigEndian.PutUint16(rule[ruleMasks+port:], 0xffff)
	binary.NativeEndian.PutUint64(rule[ruleCookie:], uint64(r.Queue))
	binary.NativeEndian.PutUint32(rule[ruleLocation:], location)
}

// decodeRule is the inverse; false for a rule that compares anything else, or does anything else, than a Rule can.
func decodeRule(request []byte) (r Rule, ok bool) {
	rule := request[rxnfcRule : rxnfcRule+ruleBytes]
	flow := binary.NativeEndian.Uint32(rule)
	r.IPv6 = flow&^uint32(flowRSS) == flowUDP6
	port := fieldsDestPort4
	if r.IPv6 {
		port = fieldsDestPort6
	}
	r.Port = binary.BigEndian.Uint16(rule[ruleFields+port:])
	r.Queue = int(binary.NativeEndian.Uint64(rule[ruleCookie:]))
	if flow&flowRSS != 0 {
		r.Context = binary.NativeEndian.Uint32(request[rxnfcCount:])
	}
	// Fields without a mask are not compared and may be anything, so only the masks tell: encoding gives the same ones, or the rule is another.
	again := make([]byte, rxnfcBytes)
	r.encode(again, 0)
	again = again[rxnfcRule:]
	same := flow == binary.NativeEndian.Uint32(again) && [ruleCookie - ruleMasks]byte(rule[ruleMasks:]) == [ruleCookie - ruleMasks]byte(again[ruleMasks:])
	return r, same
}

// PlacedRule is a rule of the device. The lower location goes first where several match.
type PlacedRule struct {
	Location uint32
	Rule
	Foreign bool // it is of another form, which Rule does not tell; such rules are none of ours
}

// Rules lists all rules of the device, whoever made them.
func (d *Device) Rules() ([]PlacedRule, error) {
	rules, _, _, err := d.rules()
	return rules, err
}

// rules also tells how many locations there are, 0 where the driver does not say, and whether the driver chooses them.
func (d *Device) rules() (rules []PlacedRule, locations int, chooses bool, err error) {
	const what = "n-tuple rules"
	count := request(unix.ETHTOOL_GRXCLSRLCNT, rxnfcBytes)
	if err := d.ask(what, count); err != nil {
		return nil, 0, false, err
	}
	chooses = binary.NativeEndian.Uint64(count[rxnfcData:])&canChoose != 0
	n := binary.NativeEndian.Uint32(count[rxnfcCount:])
	if n > maxLocations {
		return nil, 0, false, fmt.Errorf("nic: interface %d claims %d rules", d.index, n)
	}
	list := request(unix.ETHTOOL_GRXCLSRLALL, int(rxnfcBytes+4*n))
	binary.NativeEndian.PutUint32(list[rxnfcCount:], n)
	if err := d.ask(what, list); err != nil {
		return nil, 0, false, err
	}
	locations = int(min(binary.NativeEndian.Uint64(list[rxnfcData:])&^canChoose, maxLocations))
	for i := range min(n, binary.NativeEndian.Uint32(list[rxnfcCount:])) {
		one := request(unix.ETHTOOL_GRXCLSRULE, rxnfcBytes)
		at := binary.NativeEndian.Uint32(list[rxnfcLocations+4*i:])
		binary.NativeEndian.PutUint32(one[rxnfcRule+ruleLocation:], at)
		if err := d.ask(what, one); errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) {
			continue // deleted meanwhile
		} else if err != nil {
			return nil, 0, false, err
		}
		r, ok := decodeRule(one)
		if !ok {
			r = Rule{}
		}
		rules = append(rules, PlacedRule{Location: at, Rule: r, Foreign: !ok})
	}
	return rules, locations, chooses, nil
}

// AddRule installs a rule, at the last free location where the driver leaves the choice to us: rules that people make get the first ones. A rule
// that is there already is not installed a second time; added is then false.
func (d *Device) AddRule(r Rule) (added bool, err error) {
	rules, locations, chooses, err := d.rules()
	if err != nil {
		return false, err
	}
	taken := map[uint32]bool{}
	for _, have := range rules {
		if !have.Foreign && have.Rule == r {
			return false, nil
		}
		taken[have.Location] = true
	}
	location := uint32(anyLocation)
	if !chooses {
		location = uint32(locations)
		for location > 0 && taken[location-1] {
			location--
		}
		if location == 0 {
			return false, fmt.Errorf("nic: rule %q of interface %d: %w: all %d locations are taken; see 'ethtool -n'", r, d.index, unix.ENOSPC, locations)
		}
		location--
	}
	insert := request(unix.ETHTOOL_SRXCLSRLINS, rxnfcBytes)
	r.encode(insert, location)
	if err := d.ask(fmt.Sprintf("rule %q", r), insert); err != nil {
		return false, err
	}
	return true, nil
}

// DeleteRule removes a rule wherever it is; it is no error when there is none.
func (d *Device) DeleteRule(r Rule) error {
	rules, _, _, err := d.rules()
	if err != nil {
		return err
	}
	for _, have := range rules {
		if have.Foreign || have.Rule != r {
			continue
		}
		remove := request(unix.ETHTOOL_SRXCLSRLDEL, rxnfcBytes)
		binary.NativeEndian.PutUint32(remove[rxnfcRule+ruleLocation:], have.Location)
		if err := d.ask(fmt.Sprintf("deleting rule %q", r), remove); err != nil {
			return err
		}
	}
	return nil
}
