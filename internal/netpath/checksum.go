package netpath

// Checksum is the Internet checksum (RFC 1071) over b: the complement of the ones' complement sum of its 16-bit words.
func Checksum(b []byte) uint16 { return 0 }

// UDPChecksum is the checksum of a UDP segment (header and payload, its checksum field taken as zero) between two addresses as in Flow;
// never 0, which stands for none (RFC 768, RFC 8200 section 8.1).
func UDPChecksum(src, dst *[16]byte, segment []byte) uint16 { return 0 }
