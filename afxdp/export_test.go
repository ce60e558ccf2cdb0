//go:build linux

package afxdp

// Received returns how many descriptors wait in the RX ring, for tests that need all of them there before they look.
func (s *Socket) Received() uint32 { return s.rx.Acquire(1 << 31) }
