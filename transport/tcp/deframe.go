package tcp

import (
	"encoding/binary"
	"fmt"
	"syscall"
)

// lengthBytes of length, little-endian as all of the protocol's numbers, stand in front of each packet. Text, a TLS handshake or an HTTP/2
// preface read as a length beyond all bounds.
const lengthBytes = 4

// errLength is why a connection was closed whose peer does not speak this.
var errLength = fmt.Errorf("a packet of a length that none can have: %w", syscall.EPROTO)

// deframe finds the packet at the front of b. size is how many bytes of b it takes with its length, 0 while they are not all there.
func deframe(b []byte) (packet []byte, size int, err error) {
	if len(b) < lengthBytes {
		return nil, 0, nil
	}
	n := binary.LittleEndian.Uint32(b)
	if n == 0 || n > frameBytes {
		return nil, 0, errLength
	}
	size = lengthBytes + int(n)
	if len(b) < size {
		return nil, 0, nil
	}
	return b[lengthBytes:size], size, nil
}
