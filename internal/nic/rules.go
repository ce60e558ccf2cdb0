package nic

// struct ethtool_rxnfc (linux/ethtool.h): u32 cmd, flow_type, u64 data, ...
const (
	rxnfcFlow  = 4
	rxnfcData  = 8
	rxnfcBytes = 192
)

// udpFlow is the flow type of UDP packets (UDP_V4_FLOW, UDP_V6_FLOW).
func udpFlow(ipv6 bool) uint32 {
	if ipv6 {
		return 6
	}
	return 2
}
