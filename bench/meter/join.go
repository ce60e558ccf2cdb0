package meter

import "github.com/fastrpc/fastrpc/bench/result"

// Join puts together what two sides counted: packets of the client's interface, retransmissions of both, and drops by side and cause. Sides
// that share a network namespace share what the kernel counts there, which then stands once, without a side.
func Join(client, server *Counts) result.Network {
	n := result.Network{Sent: client.Kernel.Sent, Received: client.Kernel.Received, Drops: map[string]uint64{}}
	resent := client.Own.Retransmissions + server.Own.Retransmissions
	add := func(side string, drops map[string]uint64) {
		for cause, k := range drops {
			n.Drops[side+cause] += k
		}
	}
	add("client: ", client.Own.Drops)
	add("server: ", server.Own.Drops)
	if client.Namespace == server.Namespace {
		resent += max(retransmissions(client), retransmissions(server))
		for _, c := range []*Counts{client, server} {
			for cause, k := range c.Kernel.Drops {
				n.Drops[cause] = max(n.Drops[cause], k)
			}
		}
	} else {
		resent += retransmissions(client) + retransmissions(server)
		add("client: ", client.Kernel.Drops)
		add("server: ", server.Kernel.Drops)
	}
	n.Retransmissions = &resent
	return n
}

// retransmissions are the kernel's.
func retransmissions(c *Counts) uint64 {
	if c.Kernel.Retransmissions == nil {
		return 0
	}
	return *c.Kernel.Retransmissions
}
