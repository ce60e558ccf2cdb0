package doctor

import (
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// checkFirewall says what XDP means for packet filters. Rules of iptables-nft are nftables rules too.
func (m *machine) checkFirewall() Finding {
	rules, err := countRules()
	return m.judgeFirewall(rules, err)
}

func (m *machine) judgeFirewall(rules int, err error) Finding {
	const bypass = "XDP runs before nftables, iptables, conntrack and rp_filter, which do not see what goes to our ports"
	switch {
	case err != nil:
		return note("firewall", bypass)
	case rules == 0:
		return ok("firewall", bypass+"; this namespace has no rules")
	}
	return note("firewall", bypass+"; this namespace has %d rules: let only known sources in", rules).
		mend(fmt.Sprintf("fastrpc serve --listen 'xdp://%s:9000?prefixes=192.0.2.0/24' --insecure", m.device.name))
}

// countRules counts the nftables rules of this network namespace.
func countRules() (int, error) {
	req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETRULE, unix.NLM_F_DUMP)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_UNSPEC, Version: nl.NFNETLINK_V0})
	msgs, err := req.Execute(unix.NETLINK_NETFILTER, unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWRULE)
	return len(msgs), err
}
