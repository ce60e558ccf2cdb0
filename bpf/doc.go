// Package bpf steers packets to AF_XDP sockets: an XDP program in C, and what attaches and feeds it.
//
// The program takes UDP packets whose destination port was allowed ([Program.AllowPort]) and whose source is inside the allowed prefixes
// ([Program.SetPrefixes]; any source until then) to the socket of the queue that they came in on ([Program.SetSocket]). Everything else
// goes on to the kernel: other protocols, fragments, multicast and broadcast, packets with two VLAN tags or with IPv6 extension headers,
// packets that cannot be parsed or whose lengths disagree, and packets for a queue without a socket. The program never drops a packet, and
// [Counters] says what became of each.
//
// What it looks at, and what not:
//
//   - At most one VLAN tag, 802.1Q or 802.1ad, of any VLAN. Most devices strip the tag before XDP; then the program never sees it.
//   - Ports, not destination addresses: a packet to an allowed port is taken whichever unicast address it is for, transit traffic of a
//     router or a bridge port included. It is for interfaces that do not forward.
//   - Lengths, not checksums: neither the IPv4 header's nor UDP's is verified.
//
// XDP runs before nftables, conntrack, routing and tcpdump: what is redirected passes no firewall of the kernel.
//
// It needs Linux 5.9 or later (bpf_link for XDP) on a little-endian machine, and CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON: without the last,
// the verifier forbids the pointer arithmetic that IPv4 options and length checks need, and would put speculation barriers into the
// packet's way. With CAP_SYS_ADMIN errors can also name other people's programs; the kernel tells their names to nobody else.
//
// Packets that stand in several buffers, as drivers need them for an MTU beyond a page, are taken on demand ([Options.MultiBuffer]): the
// headers must be in the first buffer, where drivers put them.
package bpf

// The object is the same on every little-endian machine, built with Debian 12's clang 14 and libbpf-dev; paths are mapped away and debug
// information other than BTF is stripped, so that the same compiler and headers give the same bytes anywhere. -mcpu=v3 is Linux 5.1.

//go:generate go tool bpf2go -cc clang -target bpfel -cflags "-O2 -g -mcpu=v3 -Wall -Werror -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu" steer steer.c
//go:generate go tool bpf2go -cc clang -target bpfel -cflags "-O2 -g -mcpu=v3 -Wall -Werror -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu" dispatcher dispatcher.c
//go:generate go tool bpf2go -cc clang -target bpfel -output-dir testdata -cflags "-O2 -g -mcpu=v3 -Wall -Werror -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu" counting testdata/counting.c
