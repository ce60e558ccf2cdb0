//go:build rdma

package doctor

import "github.com/fastrpc/fastrpc/rdma"

const rdmaBuilt = true

// askVerbs opens the device through libibverbs, as rdma:// does.
func askVerbs(device string, port int) answer[verbs] {
	c, err := rdma.Open(device)
	if err != nil {
		return answer[verbs]{err: err}
	}
	defer c.Close()
	p, err := c.Port(port)
	l := c.Limits()
	return got(verbs{mtu: p.MTU, onDemand: l.OnDemand, atomics: l.Atomics, qps: l.MaxQPs, srqs: l.MaxSRQs}, err)
}
