package nic

import "github.com/mdlayher/netlink"

const queueXSK = 7 // NETDEV_A_QUEUE_XSK: there when the queue has an AF_XDP socket (net/core/netdev-genl.c, netdev_nl_queue_fill_one)

// SocketQueues lists the receive queues that have an AF_XDP socket, anybody's. Linux 6.15; before that, none has.
func (d *Device) SocketQueues() (queues []int, err error) {
	err = d.receiveQueues(func(queue int, _ uint32, socket bool) {
		if socket {
			queues = append(queues, queue)
		}
	})
	return queues, err
}

// receiveQueues tells of each receive queue that is up which NAPI instance serves it, 0 where the driver does not say, and whether it has an AF_XDP
// socket.
func (d *Device) receiveQueues(each func(queue int, napi uint32, socket bool)) error {
	return d.generic("netdev", "queues", netdevQueueGet, netlink.Dump, d.thisDevice(queueIfindex), func(a *netlink.AttributeDecoder) error {
		queue, kind, napi, socket := -1, uint32(0), uint32(0), false
		for a.Next() {
			switch a.Type() {
			case queueID:
				queue = int(a.Uint32())
			case queueType:
				kind = a.Uint32()
			case queueNAPI:
				napi = a.Uint32()
			case queueXSK:
				socket = true
			}
		}
		if kind == queueReceive && queue >= 0 {
			each(queue, napi, socket)
		}
		return nil
	})
}
