//go:build linux

package afxdp

import "fmt"

// Stats counts packets that went wrong, since Open.
type Stats struct {
	RxDropped      uint64 // too large for a chunk, or no chunk was there (copy mode)
	RxRingFull     uint64 // received, and lost because the RX ring was full
	RxInvalid      uint64 // bad addresses in the fill ring
	FillRingEmpty  uint64 // times that the kernel found no chunk to receive into
	TxInvalid      uint64 // bad descriptors in the TX ring, skipped
	TxRingEmpty    uint64 // times that the kernel found nothing to send; harmless
	RingViolations uint64 // impossible indices that were found in the rings and ignored; never, unless memory is corrupted
}

// Stats reads the kernel's counters (XDP_STATISTICS). It makes a system call; callable from any goroutine until Close.
func (s *Socket) Stats() (Stats, error) {
	if s.fd < 0 {
		return Stats{}, ErrClosed
	}
	k, err := statistics(s.fd)
	if err != nil {
		return Stats{}, fmt.Errorf("afxdp: XDP_STATISTICS: %w", err)
	}
	return Stats{
		RxDropped:      k.Rx_dropped,
		RxRingFull:     k.Rx_ring_full,
		RxInvalid:      k.Rx_invalid_descs,
		FillRingEmpty:  k.Rx_fill_ring_empty_descs,
		TxInvalid:      k.Tx_invalid_descs,
		TxRingEmpty:    k.Tx_ring_empty_descs,
		RingViolations: uint64(s.fill.Violations()) + uint64(s.completion.Violations()) + uint64(s.rx.Violations()) + uint64(s.tx.Violations()),
	}, nil
}
