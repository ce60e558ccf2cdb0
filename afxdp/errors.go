//go:build linux

package afxdp

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// What Open, Kick and WakeFill answer, for errors.Is. Each returned error also wraps the kernel's errno where there is one.
var (
	// ErrRetry: nothing is lost, the rest stays in the ring. Complete what can be completed and kick again later, not in an endless loop:
	// the device may be down (then errors.Is(err, unix.ENETDOWN) holds too) until someone brings it up.
	ErrRetry = errors.New("try again later")
	// ErrDeviceGone: the device was removed or the socket lost its queue; it is dead, close it.
	ErrDeviceGone = errors.New("the device is gone")
	// ErrClosed: the socket was closed.
	ErrClosed = errors.New("the socket is closed")

	// ErrNoDevice: there is no interface of this index in the calling thread's network namespace.
	ErrNoDevice = errors.New("no such interface")
	// ErrNoQueue: the interface has no such queue.
	ErrNoQueue = errors.New("no such queue")
	// ErrQueueBusy: another socket, of this process or another, is bound to the queue.
	ErrQueueBusy = errors.New("the queue is taken")
	// ErrNoZeroCopy: ZeroCopy was demanded and is not to be had.
	ErrNoZeroCopy = errors.New("no zero-copy")
	// ErrPermission: a capability is missing.
	ErrPermission = errors.New("missing capability")
	// ErrMemoryLock: the UMEM does not fit under RLIMIT_MEMLOCK.
	ErrMemoryLock = errors.New("locked memory exhausted")
)

// ringError is an answer of Kick or WakeFill. The values are made once, below: an error on the packet's way, and errors.Is on
// it, must not allocate.
type ringError struct {
	wraps []error // the kind and the errno
	text  string
}

func (e *ringError) Error() string   { return e.text }
func (e *ringError) Unwrap() []error { return e.wraps }

func newRingError(kind error, errno unix.Errno, hint string) *ringError {
	return &ringError{[]error{kind, errno}, fmt.Sprintf("afxdp: %s: %v (%v)", hint, kind, errno)}
}

var (
	errGone     = newRingError(ErrDeviceGone, unix.ENXIO, "close the socket")
	errAgain    = newRingError(ErrRetry, unix.EAGAIN, "the device or the completion ring is full")
	errBusy     = newRingError(ErrRetry, unix.EBUSY, "the device dropped a packet")
	errNoBuffer = newRingError(ErrRetry, unix.ENOBUFS, "the kernel is short of packet buffers")
	errNoMemory = newRingError(ErrRetry, unix.ENOMEM, "the kernel is short of memory")
	errDown     = newRingError(ErrRetry, unix.ENETDOWN, "the interface is down")
	errIntr     = newRingError(ErrRetry, unix.EINTR, "interrupted")
)

// ringErrno translates what sendto and recvfrom answer on an AF_XDP socket (net/xdp/xsk.c, __xsk_sendmsg, __xsk_recvmsg, __xsk_generic_xmit).
func ringErrno(errno unix.Errno) error {
	switch errno {
	case 0:
		return nil
	case unix.EAGAIN:
		return errAgain
	case unix.EBUSY:
		return errBusy
	case unix.ENOBUFS:
		return errNoBuffer
	case unix.ENOMEM:
		return errNoMemory
	case unix.ENETDOWN:
		return errDown
	case unix.EINTR:
		return errIntr
	case unix.ENXIO:
		return errGone
	}
	return fmt.Errorf("afxdp: %w", errno)
}

// setupError explains a failed step of Open to a person.
func setupError(c *SocketConfig, umemBytes uint64, step string, err error) error {
	device := deviceName(c.Ifindex)
	kind, hint := error(nil), ""
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		kind, hint = ErrPermission, "AF_XDP sockets need CAP_NET_RAW, and CAP_NET_ADMIN for busy polling; run as root, or grant them and "+
			"what the XDP program needs with 'setcap cap_net_raw,cap_net_admin,cap_bpf,cap_perfmon,cap_ipc_lock=ep PROGRAM'"
	case errors.Is(err, unix.EAFNOSUPPORT):
		hint = "this kernel has no AF_XDP sockets; it needs CONFIG_XDP_SOCKETS"
	case step == "XDP_UMEM_REG" && (errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ENOMEM)):
		kind, hint = ErrMemoryLock, fmt.Sprintf("the UMEM locks %d KiB; raise RLIMIT_MEMLOCK ('ulimit -l', LimitMEMLOCK= in a unit), "+
			"grant CAP_IPC_LOCK, or take fewer chunks", umemBytes/1024)
	case step == "bind" && errors.Is(err, unix.EBUSY):
		kind, hint = ErrQueueBusy, fmt.Sprintf("queue %d of %s is bound by another socket; see 'fastrpc doctor %[2]s'", c.Queue, device)
	case step == "bind" && errors.Is(err, unix.ENODEV):
		kind, hint = ErrNoDevice, device+" does not exist in this network namespace; see 'ip link'"
	case step == "bind" && errors.Is(err, unix.EINVAL) && c.MultiBuffer:
		kind, hint = ErrNoQueue, fmt.Sprintf("queue %d of %s is out of range (see 'ethtool -l %[2]s'), or this kernel has no multi-buffer (Linux 6.6)",
			c.Queue, device)
	case step == "bind" && errors.Is(err, unix.EINVAL):
		kind, hint = ErrNoQueue, fmt.Sprintf("queue %d of %s is out of range; see 'ethtool -l %[2]s'", c.Queue, device)
	case step == "XDP_UMEM_REG" && errors.Is(err, unix.EINVAL):
		hint = "this kernel does not take such a UMEM: unaligned chunks need Linux 5.4, TxMetadata and TxSoftwareSum 6.8"
	case step == "bind" && c.Shared != nil && errors.Is(err, unix.EOPNOTSUPP):
		kind, hint = ErrNoZeroCopy, "the UMEM is used in zero-copy mode by the socket to share with, and "+device+" cannot; open that one with Copy"
	case step == "bind" && c.Mode == ZeroCopy && errors.Is(err, unix.EOPNOTSUPP):
		kind, hint = ErrNoZeroCopy, "the driver of "+device+" has no zero-copy AF_XDP; use PreferZeroCopy or Copy"
	}
	switch {
	case kind != nil:
		return fmt.Errorf("afxdp: %s: %w: %s (%w)", step, kind, hint, err)
	case hint != "":
		return fmt.Errorf("afxdp: %s: %s: %w", step, hint, err)
	}
	return fmt.Errorf("afxdp: %s on queue %d of %s: %w", step, c.Queue, device, err)
}

// deviceName is the interface's name, or words for its number.
func deviceName(ifindex int) string {
	if ifi, err := net.InterfaceByIndex(ifindex); err == nil {
		return ifi.Name
	}
	return fmt.Sprintf("interface %d", ifindex)
}
