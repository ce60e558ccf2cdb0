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
//
// # Shared by several processes
//
// [Pin] attaches the program for good, and keeps it and its maps in a BPF file system; [OpenPinned] takes part in it without any capability.
// Each process has queues and ports of its own: ports are kept by queue, and a queue's are written by whoever has its socket. A process that is
// killed leaves no socket, and so nothing that steers. [UseSocketMap] is the same with another's program, whose socket map is all that is
// known of it.
//
// # Beside other programs
//
// [Attach] has the interface alone, unless [Options.Dispatcher] is set: then the program runs beside those that xdp-loader, xdp-filter and
// everything else built on libxdp load, by versions 2 and 3 of libxdp's protocol (xdp-tools from 1.3 on). A dispatcher on the interface calls the
// programs in its ten slots in the order of their priorities, ours being 50, the default of others; of equal priorities, names decide. What a
// program before ours drops or redirects does not reach ours, and what ours takes reaches none behind it; what ours passes goes on. So a
// filter belongs before it (xdp-filter's priority is 10), and whoever counts all packets too ('xdp-loader load -P').
//
// The slots of a dispatcher are fixed when it is loaded. To enter and to leave means to build a new one, with the programs that are there and
// their settings, and to put it in the place of the old one at once: no packet misses anybody's program. Others may do the same at any time,
// and keep ours. Where no program is on the interface, ours starts a dispatcher that others can enter; the last to leave removes it.
//
//   - It takes Linux 5.10, a BPF file system (at /sys/fs/bpf, or where LIBXDP_BPFFS says, in the same mount namespace as other tools), and
//     CAP_SYS_ADMIN until Close: others' programs are looked up by their ids.
//   - A dispatcher of another version, bound to its device, or not pinned where libxdp does, and a program without one are refused with an
//     [AttachedError].
//   - A dispatcher that ours starts is of version 2, which all xdp-tools from 1.3 on show, but those from 1.6 on do not enter: let them load
//     the first program, whose dispatcher's version, 3, is kept.
//   - The mode is the dispatcher's. [Options.Mode] counts where ours is the first.
//   - All of its programs have to take packets of several buffers for the dispatcher to take them. Without [Options.MultiBuffer], ours is
//     refused on an interface whose MTU needs them, and the others run on.
//   - Pins, not the process, keep a program in its slot, so it outlives a kill. It takes nothing any more, because its sockets are gone, and
//     the next Attach with the option in this network namespace removes it, from whichever interface. Until then 'xdp-loader status' shows it,
//     as fastrpc_steer, and 'xdp-loader unload IFACE --id ID' removes it. When the namespace went too, 'xdp-loader clean' takes the pins away.
package bpf

// The object is the same on every little-endian machine, built with Debian 12's clang 14 and libbpf-dev; paths are mapped away and debug
// information other than BTF is stripped, so that the same compiler and headers give the same bytes anywhere. -mcpu=v3 is Linux 5.1.

//go:generate go tool bpf2go -cc clang -target bpfel -cflags "-O2 -g -mcpu=v3 -Wall -Werror -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu" steer steer.c
//go:generate go tool bpf2go -cc clang -target bpfel -cflags "-O2 -g -mcpu=v3 -Wall -Werror -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu" dispatcher dispatcher.c
//go:generate go tool bpf2go -cc clang -target bpfel -output-dir testdata -cflags "-O2 -g -mcpu=v3 -Wall -Werror -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu" counting testdata/counting.c
