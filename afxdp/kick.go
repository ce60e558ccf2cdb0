//go:build linux

package afxdp

import "golang.org/x/sys/unix"

// txBatch is how many descriptors one sendto takes in copy mode before Linux 6.17 (TX_BATCH_SIZE, net/xdp/xsk.c).
const txBatch = 32

// Kick has the kernel send what Transmit put into the TX ring. It is one system call a burst; none if the driver looks by itself
// (need_wakeup). In copy mode the packets have left when it returns nil; with zero-copy the driver was told.
//
// ErrRetry means that the rest of the ring waits: for completions to be taken, for the interface to come up, or because the kernel drops
// (EBUSY: that packet is completed and lost). Kick again later. ErrDeviceGone is final. The system calls of one Kick are bounded by the
// size of the ring; it neither sleeps nor allocates.
func (s *Socket) Kick() error {
	if !s.kickAlways && s.txFlags.Load()&unix.XDP_RING_NEED_WAKEUP == 0 {
		if s.fd < 0 {
			return ErrClosed
		}
		return nil
	}
	waiting := s.tx.Pending()
	if waiting == 0 && !s.zeroCopy && !s.kickAlways {
		return nil // a zero-copy driver may still need the call, to clean up what it sent
	}
	for turns := s.tx.Size()/txBatch + 1; ; turns-- {
		errno := sendto(s.fd)
		if errno == 0 && s.zeroCopy {
			if s.preferBusyPoll && waiting > 0 && s.tx.Pending() == waiting {
				return ringErrno(s.wakeByPoll())
			}
			return nil
		}
		left := s.tx.Pending()
		switch {
		case errno == 0 && left == 0:
			return nil
		case errno == 0:
			errno = unix.EAGAIN // stopped behind a bad descriptor or, in older kernels, at a full completion ring
		case errno != unix.EAGAIN && errno != unix.EBUSY && errno != unix.ENOBUFS:
			return ringErrno(errno)
		}
		if left == 0 || left == waiting || turns == 0 {
			return ringErrno(errno)
		}
		waiting = left // a batch went, so another may
	}
}

// wakeByPoll has a zero-copy driver look at the TX ring although the socket prefers busy polling. Then sendto runs the receive side's NAPI
// and wakes nobody (net/xdp/xsk.c, xsk_no_wakeup), which sends nothing where the transmit side has a NAPI of its own, as in virtio_net;
// xsk_poll makes no such difference.
func (s *Socket) wakeByPoll() unix.Errno {
	s.pollFD = unix.PollFd{Fd: int32(s.fd)}
	return pollNow(&s.pollFD)
}

// WakeFill tells the driver that the fill ring has chunks again, if it stopped for want of them (need_wakeup); otherwise it is one load. Call
// it after Fill. With busy polling it always makes the system call, which receives packets: call it in each turn that looks for some.
//
// Its errors are those of Kick.
func (s *Socket) WakeFill() error {
	if !s.wakeAlways && s.fillFlags.Load()&unix.XDP_RING_NEED_WAKEUP == 0 {
		if s.fd < 0 {
			return ErrClosed
		}
		return nil
	}
	return ringErrno(recvfrom(s.fd))
}
