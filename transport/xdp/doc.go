// Package xdp is the transport.Link over AF_XDP: packets go between the queues of a network interface and the process's own memory
// without passing the kernel's stack. Importing it registers the scheme "xdp".
//
//	xdp://eth0:9000                  listen on UDP port 9000 of every address of eth0
//	xdp://192.0.2.7:9000             listen on that address of this host, or dial it on another
//	xdp://eth0:9000?queues=0-3       settings, see below
//
// An interface is opened once in a process (for each network namespace) and shared by every Listen and Dial: one steering program,
// attached as a bpf_link so that the kernel removes it when the process dies; one packet memory (UMEM) registered with the kernel; one
// AF_XDP socket and one Link for each queue. A Port adds its UDP port to the program's map and holds a reference to every Link.
//
// The packets are ordinary UDP over IPv4 or IPv6, with one VLAN tag where the route passes a VLAN interface, so the peer may as well use a
// kernel socket. XDP comes before netfilter: packets to our ports pass neither nftables nor conntrack; the prefixes setting is the
// allow-list that stands in for them. A kernel UDP socket is held on each port as well: it keeps the port ours, and what the program
// leaves to the kernel (fragments, queues without a socket, local senders) arrives there and is delivered by the first Link.
//
// # Settings
//
//	mode=auto|native|generic   where the program runs: in the driver, or after it on every interface; auto (default) tries native first
//	zerocopy=auto|on|off       whether the driver works in our memory directly; auto (default) asks for it and takes copying
//	queues=0 | 0,2 | 0-3       the receive queues to serve; default: all
//	frames=4096                packet buffers for each queue, half of them to receive; a power of two, 64 to 65536; default: 4096, or as
//	                           many as have room in 2 GiB where there are very many queues and large packets
//	chunk=2048|4096            bytes of a packet buffer; default: 2048, or 4096 where the interface's MTU needs it
//	prefixes=10.0.0.0/8,...    sources that are accepted, this host's own addresses not excepted; default: any
//	busypoll=µs|thread         who polls the driver, with its interrupts off: our system calls, each for so long (SO_BUSY_POLL), or a thread of
//	                           the kernel's that takes a CPU for each queue (Linux 6.19); default: 0, nobody
//
// Whose XDP program gives packets to the sockets:
//
//	program=own                ours, and nobody else's beside it (default)
//	program=dispatcher         ours beside others, by libxdp's protocol; see package bpf
//	program=pinned | /DIR      ours, shared with other processes: what 'fastrpc setup' pinned in its folder, or in DIR
//	xskmap=/PATH               another's, which takes packets by its own rules; our sockets go into its XSKMAP, which is pinned at PATH
//	plugin=/PATH               another's, whose XSKMAP the Kubernetes device plugin behind this Unix socket hands over
//
// Processes that share a program have queues and ports of their own, so that each should name its queues. The prefixes are those of setup.
//
// The first opener of an interface decides; a later one in the same process that names a setting must name the same value.
//
// # What the card is asked for
//
// With queues that are not all of the interface's, n-tuple rules send the packets to our ports to our queues, where the card has such rules
// ('ethtool -n' shows them). Their source ports are chosen so that the card's own hash brings the answers back to our queues: a guess, by its key
// and indirection table; whoever dials looks where the answers really come. With busypoll, interrupts of a polled queue are deferred
// (napi_defer_hard_irqs, gro_flush_timeout) once the kernel has told which NAPI instance serves it, and Stats.Polling says, measured, whether
// polling works. All of it is given back by Close, and after a kill by the next opener, who finds it written down under /run/fastrpc/nic.
// What the card refuses is no error: Stats.WhyRefused tells, and what lands on other queues comes through the kernel's socket.
//
// # Requirements
//
// Linux 5.11 or later (shared UMEM over queues: 5.10; detaching as a bpf_link: 5.9; preferred busy polling: 5.11), and the capabilities
// CAP_NET_RAW (the socket), CAP_NET_ADMIN, CAP_BPF and CAP_PERFMON (the program, its arithmetic on packet pointers, and its attachment) and,
// where RLIMIT_MEMLOCK is lower than the packet buffers, CAP_IPC_LOCK; root has them all. Where the program is shared, CAP_NET_RAW is enough,
// and Linux 5.19 is needed. Once a Port is open, its packets need none; [NeededWhenOpen] tells what else does.
package xdp
