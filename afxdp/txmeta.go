//go:build linux

package afxdp

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// TxMetadataBytes is what UmemConfig.TxMetadata reserves in front of each packet that is sent, whether it has a TxRequest or not: a
// descriptor that starts closer to its chunk's start is invalid (net/xdp/xsk_queue.h, xp_aligned_validate_desc). Received packets start
// behind XDP_PACKET_HEADROOM, so they can be sent on as they are.
const TxMetadataBytes = 24

// TxRequest is what the device, or in copy mode the kernel, is to do with one packet. What a socket can do stands in Socket.TxMetadata.
type TxRequest struct {
	// Checksum asks for the Internet checksum over all bytes from ChecksumStart on, stored ChecksumOffset bytes behind ChecksumStart, where
	// the sum of the pseudo-header must stand already (PutPseudoChecksum). Both are within the packet's first descriptor.
	Checksum       bool
	ChecksumStart  uint16 // bytes from the packet's start: where its UDP or TCP header is
	ChecksumOffset uint16 // 6 for UDP, 16 for TCP

	// Timestamp asks for the time of sending, to be read with Umem.TxTimestamp after completion. In copy mode it is the time of completion.
	Timestamp bool

	// LaunchNanos, if not 0, is when to send, in the time of the device's clock. The driver says TxLaunchTime where it heeds it (Linux 6.14).
	LaunchNanos uint64
}

// Why SetTxRequest refuses; each is a mistake of the program.
var (
	errNoTxMetadata  = errors.New("afxdp: the UMEM was made without TxMetadata")
	errTxRequestRoom = errors.New("afxdp: the packet has less than TxMetadataBytes in front of it, or lies outside the UMEM")
	errChecksumRange = errors.New("afxdp: the checksum's place is not within the packet's first descriptor")
)

// The layout of struct xsk_tx_metadata, which ends where the packet starts (include/uapi/linux/if_xdp.h). Request and completion share their
// memory.
const (
	txFlags          = 0
	txChecksumStart  = 8
	txChecksumOffset = 10
	txTimestamp      = 8
	txLaunchTime     = 16
)

// SetTxRequest writes the request in front of the packet and notes it in the options of d, which must be the packet's first descriptor, before
// Transmit. On an error nothing is written: the kernel would not get past such a descriptor.
func (u *Umem) SetTxRequest(d *unix.XDPDesc, r TxRequest) error {
	if !u.cfg.TxMetadata {
		return errNoTxMetadata
	}
	if r.Checksum && uint32(r.ChecksumStart)+uint32(r.ChecksumOffset)+2 > d.Len {
		return errChecksumRange
	}
	meta := u.txMetadata(d.Addr)
	if meta == nil {
		return errTxRequestRoom
	}
	var flags uint64
	clear(meta)
	if r.Checksum {
		flags |= unix.XDP_TXMD_FLAGS_CHECKSUM
		binary.NativeEndian.PutUint16(meta[txChecksumStart:], r.ChecksumStart)
		binary.NativeEndian.PutUint16(meta[txChecksumOffset:], r.ChecksumOffset)
	}
	if r.Timestamp {
		flags |= unix.XDP_TXMD_FLAGS_TIMESTAMP
	}
	if r.LaunchNanos != 0 {
		flags |= unix.XDP_TXMD_FLAGS_LAUNCH_TIME
		binary.NativeEndian.PutUint64(meta[txLaunchTime:], r.LaunchNanos)
	}
	binary.NativeEndian.PutUint64(meta[txFlags:], flags)
	d.Options |= unix.XDP_TX_METADATA
	return nil
}

// TxTimestamp returns when the packet that started at addr was sent, if its TxRequest asked for it and the socket has
// TxTimestamp, once Complete has returned it: nanoseconds of the device's clock, in copy mode of CLOCK_TAI.
func (u *Umem) TxTimestamp(addr uint64) uint64 {
	meta := u.txMetadata(addr)
	if meta == nil {
		return 0
	}
	return binary.NativeEndian.Uint64(meta[txTimestamp:])
}

// txMetadata returns the bytes in front of a packet that starts at addr.
func (u *Umem) txMetadata(addr uint64) []byte {
	to := u.place(addr)
	if to > u.size || to-u.Base(addr) < TxMetadataBytes {
		return nil
	}
	return u.mem[to-TxMetadataBytes : to : to]
}
