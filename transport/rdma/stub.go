//go:build !rdma

package rdma

import (
	"context"
	"errors"
	"net/netip"

	"github.com/fastrpc/fastrpc/transport"
)

func init() { transport.Register("rdma", absent{}) }

// absent stands in for the driver in programs that were built without it.
type absent struct{}

var errAbsent = transport.Mark(transport.ErrPrecondition, transport.Mark(transport.ErrNotBuilt, errors.New("rdma: this program was built without RDMA: "+
	"'apt-get install libibverbs-dev librdmacm-dev', then build it with 'go build -tags rdma' and CGO_ENABLED=1")))

func (absent) Listen(context.Context, transport.Target) (transport.Port, error) {
	return nil, errAbsent
}

func (absent) Dial(context.Context, transport.Target, netip.AddrPort) (transport.Port, error) {
	return nil, errAbsent
}
