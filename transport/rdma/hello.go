package rdma

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// hello is what both sides tell each other when they meet: a mark, the version, and the most bytes that a packet may have.
func hello(mtu int) []byte {
	return binary.BigEndian.AppendUint16([]byte{'f', 'r', 1}, uint16(mtu))
}

// parseHello reads the MTU; the private data of a lookup has a fixed length, so that bytes may follow.
func parseHello(b []byte) (mtu uint16, err error) {
	if len(b) < 5 || b[0] != 'f' || b[1] != 'r' {
		return 0, errors.New("what listens there is not fastrpc")
	}
	if b[2] != 1 {
		return 0, fmt.Errorf("the other side speaks version %d of the lookup, this one version 1", b[2])
	}
	if mtu = binary.BigEndian.Uint16(b[3:]); mtu < 256 {
		return 0, fmt.Errorf("the other side says that its MTU is %d", mtu)
	}
	return mtu, nil
}
