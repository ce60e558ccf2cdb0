package doctor

import (
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// checkFirewall says what XDP means for packet filters. Rules of iptables-nft are nftables rules too.
func checkFirewall() Finding {
	rules, err := countRules()
	return judgeFirewall(rules, err)
}

func judgeFirewall(rules int, err error) Finding {
	f := Finding{Check: "firewall", Level: Note}
	f.Text = "XDP runs before nftables, iptables and conntrack: their rules do not see what goes to our ports"
	if err == nil && rules > 0 {
		f.Text += fmt.Sprintf(", and this namespace has %d such rules; let only known sources in, as below", rules)
		f.Fix = "fastrpc serve --listen 'xdp://IFACE:PORT?prefixes=192.0.2.0/24'"
	}
	return f
}

// countRules counts the nftables rules of this network namespace.
func countRules() (int, error) {
	req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETRULE, unix.NLM_F_DUMP)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_UNSPEC, Version: nl.NFNETLINK_V0})
	msgs, err := req.Execute(unix.NETLINK_NETFILTER, unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWRULE)
	return len(msgs), err
}
