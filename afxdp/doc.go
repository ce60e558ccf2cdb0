// Package afxdp opens AF_XDP sockets and moves packets through their rings without copies, locks or allocation. It knows no protocol: what
// stands in a frame, and which packets an XDP program sends to a socket, is the caller's.
//
// # Memory and rings
//
// Packets stand in a [Umem], memory cut into chunks of equal size; a chunk is named by its address, its offset in the UMEM. A [Socket] is
// bound to one queue of a network device and has four rings, all single-producer/single-consumer:
//
//	              user space                          kernel
//
//	Fill      ── addresses of empty chunks ──► fill ring        the driver or the copy path takes a chunk for each packet
//	Receive   ◄─ descriptors {addr,len} ────── RX ring          a chunk with a packet in it
//	Transmit  ── descriptors {addr,len} ─────► TX ring          a chunk with a packet to send; Kick has the kernel look
//	Complete  ◄─ addresses of sent chunks ──── completion ring  the packet is out, or dropped
//
// A chunk has one owner at a time, and moves like this:
//
//	FrameStack ─Fill─► fill ring ─► kernel ─► RX ring ─Receive─► caller ─► FrameStack, or Transmit at once
//	FrameStack ─────► caller ─Transmit─► TX ring ─► kernel ─► completion ring ─Complete─► caller ─► FrameStack
//
// From Fill until Receive, and from Transmit until Complete, the kernel owns the chunk: it must be neither read nor written in the first
// case, not written in the second, and not handed over a second time in either. The kernel checks addresses against the UMEM's bounds
// and nothing else. A [FrameStack] keeps the chunks that nobody uses and finds those given back twice.
//
// # Using it without RPC
//
// The package stands alone: of this module it needs package ringbuf only, and any XDP program will do. A program that processes packets
//
//   - makes a [Umem] and, for each partition of it, a [FrameStack];
//   - opens a socket for every queue of the device, because packets that come in on a queue without one go to the kernel;
//   - loads an XDP program that redirects the packets it wants to an XSKMAP, with github.com/cilium/ebpf or as package bpf does for UDP
//     ports, puts each socket's FD into the map, and attaches the program when all sockets are there;
//   - turns in a loop: Complete, Receive, Transmit, Fill, then one Kick and one WakeFill; it waits with poll(2) when a turn found nothing;
//   - detaches the program, closes the sockets, then the Umem.
//
// examples/pong does all of it in some 200 lines, and answers pings.
//
// # Modes
//
//   - Copy and zero-copy: [SocketConfig].Mode asks, [Socket.ZeroCopy] tells what was granted. [Features] tells what a driver can do, before.
//   - Chunks are aligned, of 2048 or 4096 bytes, or of any size in between ([UmemConfig].Unaligned: addresses then have two parts, see
//     [Umem.At]); on huge pages if some are reserved ([Umem.HugePages]); with headroom for headers that the caller puts in front.
//   - Packets larger than a chunk ([SocketConfig].MultiBuffer) are several descriptors, all but the last with XDP_PKT_CONTD in their options.
//     Receive and Transmit move whole packets. [Socket.MaxSegments] is the limit. The XDP program must be loaded with BPF_F_XDP_HAS_FRAGS.
//   - Several sockets share a UMEM, over queues and devices ([SocketConfig].Shared). Give each a partition of the chunks, with a FrameStack of
//     its own: a chunk filled on a socket comes back on that socket, so partitions never mix and need no lock. Two sockets on one queue
//     share its fill and completion rings, too.
//   - A socket that only receives has no TX ring, one that only transmits no RX ring.
//   - A packet can ask the device for its checksum and for the time of sending ([Umem.SetTxRequest]); where the device cannot, [PutChecksum]
//     computes it. [CheckChecksum] judges received ones, and knows those that kernel sockets leave half done on virtual devices.
//   - Busy polling: [BusyPoll], by the socket's own system calls, or with [Epoll], which suspends interrupts as long as there is work.
//
// # Concurrency and blocking
//
// A socket's ring methods (Fill, Receive, Transmit, Complete, Kick, WakeFill) belong to one goroutine at a time and never block. All take
// bursts: a burst costs one atomic store a ring, and one system call at most, made without telling Go's scheduler because it is short.
// Wait for packets with poll(2) on FD; keep it out of Go's netpoller, which adds microseconds. Network input causes no panic.
//
// # What it needs
//
//   - Linux 5.11: need_wakeup is from 5.4, a UMEM shared over queues from 5.10, the recvfrom of WakeFill from 5.11. Features need 6.3,
//     multi-buffer 6.6, transmit metadata 6.8. On 6.17 and later a kick in copy mode takes the whole TX ring, before that 32 descriptors a
//     system call, which Kick repeats.
//   - CAP_NET_RAW to open a socket; CAP_NET_ADMIN for busy polling, and for the XDP program that feeds the socket CAP_NET_ADMIN, CAP_BPF
//     and CAP_PERFMON (its arithmetic on packet pointers). CAP_IPC_LOCK, or an RLIMIT_MEMLOCK that covers the UMEM.
//   - a device with native XDP for speed; with the generic hook any device works. Zero-copy is up to the driver: veth has none.
//
// System calls: socket, setsockopt, getsockopt, mmap, munmap, bind and close at set-up and end (generic netlink, too, where zero-copy is
// demanded, or granted with multi-buffer or metadata; and, while a queue stays busy, reading /proc/thread-self/net/protocols); sendto (Kick)
// and recvfrom (WakeFill) on the way, and ppoll (Kick) in zero-copy mode where busy polling is preferred and reaches receiving alone. Epoll
// makes those of epoll(7).
package afxdp
