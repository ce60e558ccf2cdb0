// Package rdma is the Link over RDMA network cards, whose sends and receives the card carries out from and into registered memory, without the
// kernel. It is built with the tag rdma (cgo, libibverbs, librdmacm); without the tag the scheme answers with an error that says how to build it.
//
// There are two: [UD] has one queue pair of unreliable datagrams for all peers, and [RC] a reliable connection with each, whose queue pairs share
// their receives where the device can. Both ends use the same.
//
// Addresses: rdma://HOST:PORT. To dial, HOST is the peer's IP address. To listen, it is an IP address of this machine that an RDMA
// device has (over InfiniBand by IPoIB), or the name of a device, such as mlx5_0, or of its network interface, whose best address is taken then;
// it may be left out where there is one device. PORT is one of rdma_cm's port spaces, of datagrams or of connections; it takes no UDP or TCP port away.
// 'fastrpc doctor --rdma' tells what there is and what is missing. Settings:
//
//	qp=ud|rc  datagrams or connections (default: datagrams, or connections where the device has no datagrams)
//	frames=N  packet buffers, half of them to send and half to receive (default 2048, 64 to 65536)
//	gid=N     index in the port's GID table of the address to send from (default: the one that the route has)
//	conns=N   connections at once, of qp=rc (default 1024, 1 to 32768)
//	idle=N    seconds after which a connection that nothing came on is closed (default 180, 1 to 86400)
//
//	rendezvous=N  bytes from which on a message of qp=rc is read, out of its sender's memory, and not sent (default 131072; 0: none is)
//
// For messages that are read a Link pins 36 MiB of memory, when there is the first one. Where that cannot be had, or the device has no
// memory windows of type 2B, they are sent as all others: RCStats.Unpooled says why.
//
// A datagram carries both ends' port numbers in its immediate data, the sender's in the upper half, so that both are known to a receiver. Those of
// a connection are rdma_cm's: what dials holds one port, from which it opens all its connections.
package rdma
