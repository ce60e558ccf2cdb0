package nic

import "github.com/mdlayher/netlink"

const queueXSK = 7 // NETDEV_A_QUEUE_XSK: there when the queue has an AF_XDP socket (net/core/netdev-genl.c, netdev_nl_queue_fill_one)

// SocketQueues lists the receive queues that have an AF_XDP socket, anybody's. Linux 6.15; before that, none has.
func (d *Device) SocketQueues() (queues []int, err error) {
	err = d.generic("netdev", "queues", netdevQueueGet, netlink.Dump, d.thisDevice(queueIfindex), func(a *netlink.AttributeDecoder) error {
		queue, kind, socket := -1, uint32(0), false
		for a.Next() {
			switch a.Type() {
			case queueID:
				queue = int(a.Uint32())
			case queueType:
				kind = a.Uint32()
			case queueXSK:
				socket = true
			}
		}
		if kind == queueReceive && queue >= 0 && socket {
			queues = append(queues, queue)
		}
		return nil
	})
	return queues, err
}
