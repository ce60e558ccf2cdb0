package meter

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/bench/result"
)

// kernel reads what the kernel counts in a network namespace. Its files are bound to that of the thread that opened them, as its socket is.
type kernel struct {
	snmp, netstat, snmp6, softnet file
	link                          *netlink.Handle
	name                          string
	cpus                          []int
	namespace                     string
}

// kernelCounts is what it counted so far.
type kernelCounts struct {
	sent, received uint64
	retransmitted  uint64
	known          bool // retransmitted
	drops          map[string]uint64
}

// mib are those counters of protocols that count packets which were lost here, by the names of nstat: the protocol's, then its own
// (net/ipv4/proc.c and net/ipv6/proc.c, Linux 6.18). UdpInErrors, which sums up others that are here, is left out.
var mib = []string{
	"IpInHdrErrors", "IpInAddrErrors", "IpInDiscards", "IpOutDiscards", "IpOutNoRoutes", "IpReasmFails", "IpFragFails",
	"Ip6InHdrErrors", "Ip6InAddrErrors", "Ip6InDiscards", "Ip6OutDiscards", "Ip6OutNoRoutes", "Ip6ReasmFails", "Ip6FragFails",
	"UdpNoPorts", "UdpRcvbufErrors", "UdpSndbufErrors", "UdpInCsumErrors", "UdpMemErrors",
	"Udp6NoPorts", "Udp6RcvbufErrors", "Udp6SndbufErrors", "Udp6InCsumErrors", "Udp6MemErrors",
	"TcpInErrs", "TcpExtListenDrops", "TcpExtTCPBacklogDrop", "TcpExtTCPRcvQDrop", "TcpExtTCPOFODrop", "TcpExtTCPMinTTLDrop",
	"TcpExtRcvPruned", "TcpExtOfoPruned", "TcpExtPFMemallocDrop", "TcpExtTCPZeroWindowDrop", "TcpExtTCPReqQFullDrop",
}

func (k *kernel) open(proc, name string, cpus []int) {
	net := filepath.Join(proc, "thread-self", "net")
	k.snmp.open(net, "snmp")
	k.netstat.open(net, "netstat")
	k.snmp6.open(net, "snmp6") // not there without IPv6
	k.softnet.open(net, "softnet_stat")
	k.name, k.cpus = name, cpus
	boot, _ := os.ReadFile(filepath.Join(proc, "sys/kernel/random/boot_id"))
	inode, _ := os.Readlink(filepath.Join(proc, "thread-self/ns/net"))
	k.namespace = strings.TrimSpace(string(boot)) + " " + inode
	if name != "" {
		k.link, _ = netlink.NewHandle(unix.NETLINK_ROUTE)
	}
}

func (k *kernel) close() {
	for _, f := range []*file{&k.snmp, &k.netstat, &k.snmp6, &k.softnet} {
		f.close()
	}
	if k.link != nil {
		k.link.Close()
	}
}

func (k *kernel) read() kernelCounts {
	c := kernelCounts{drops: map[string]uint64{}}
	values := map[string]uint64{}
	twoLines(values, k.snmp.read())
	twoLines(values, k.netstat.read())
	namePerLine(values, k.snmp6.read())
	c.retransmitted, c.known = values["TcpRetransSegs"]
	for _, name := range mib {
		c.drops[name] = values[name]
	}
	k.softnetDrops(c.drops)
	k.interfaceCounts(&c)
	return c
}

// twoLines reads "Tcp: RtoMin RetransSegs" and below it "Tcp: 200 7" as nstat names it: TcpRetransSegs is 7.
func twoLines(values map[string]uint64, text []byte) {
	var names [][]byte
	for line := range bytes.Lines(text) {
		fields := bytes.Fields(line)
		if names == nil {
			names = fields
			continue
		}
		for i := 1; i < min(len(names), len(fields)); i++ {
			n, err := strconv.ParseUint(string(fields[i]), 10, 64)
			if err == nil { // TcpMaxConn is -1
				values[string(bytes.TrimSuffix(names[0], []byte(":")))+string(names[i])] = n
			}
		}
		names = nil
	}
}

// namePerLine reads "Udp6InErrors   7".
func namePerLine(values map[string]uint64, text []byte) {
	for line := range bytes.Lines(text) {
		if fields := bytes.Fields(line); len(fields) == 2 {
			values[string(fields[0])], _ = strconv.ParseUint(string(fields[1]), 10, 64)
		}
	}
}

// softnetDrops counts what found the backlog of a CPU full (net/core/net-procfs.c, softnet_seq_show): hexadecimal; a line for each CPU that is
// online, the drops in the second column, the CPU in the thirteenth (Linux 5.10; before, lines are taken to be in order).
func (k *kernel) softnetDrops(drops map[string]uint64) {
	row := 0
	for line := range bytes.Lines(k.softnet.read()) {
		fields := bytes.Fields(line)
		cpu := row
		row++
		if len(fields) > 12 {
			if n, err := strconv.ParseUint(string(fields[12]), 16, 32); err == nil {
				cpu = int(n)
			}
		}
		if len(fields) < 2 || !slices.Contains(k.cpus, cpu) {
			continue
		}
		n, _ := strconv.ParseUint(string(fields[1]), 16, 64)
		drops[fmt.Sprintf("softnet backlog of CPU %d", cpu)] = n
	}
}

// interfaceCounts has the interface's, as 'ip -s -s link' shows them. Errors sum their kinds up.
func (k *kernel) interfaceCounts(c *kernelCounts) {
	if k.link == nil {
		return
	}
	l, err := k.link.LinkByName(k.name)
	if err != nil || l.Attrs().Statistics == nil {
		return
	}
	s := l.Attrs().Statistics
	c.sent, c.received = s.TxPackets, s.RxPackets
	for name, n := range map[string]uint64{"rx_errors": s.RxErrors, "rx_dropped": s.RxDropped, "rx_missed_errors": s.RxMissedErrors, "tx_errors": s.TxErrors,
		"tx_dropped": s.TxDropped} {
		c.drops["interface "+name] = n
	}
}

// since is what was counted from before on; causes that did not occur are left out.
func (c *kernelCounts) since(before *kernelCounts, packets bool) (n result.Network) {
	if packets {
		n.Sent, n.Received = grown(before.sent, c.sent), grown(before.received, c.received)
	}
	if c.known {
		r := grown(before.retransmitted, c.retransmitted)
		n.Retransmissions = &r
	}
	n.Drops = maps.Clone(c.drops)
	maps.DeleteFunc(n.Drops, func(cause string, after uint64) bool {
		n.Drops[cause] = grown(before.drops[cause], after)
		return n.Drops[cause] == 0
	})
	return n
}
