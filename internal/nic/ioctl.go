package nic

import (
	"encoding/binary"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ioctler carries SIOCETHTOOL with a structure of linux/ethtool.h. The structures are byte slices, which the garbage collector keeps where they
// are: one on the stack, passed on as a number, may have moved when the kernel writes its answer.
type ioctler interface {
	name(ifindex int) (string, error)
	ethtool(ifindex int, request []byte) error // request begins with the command; the answer replaces it
	close() error
}

// ioctlSocket is a socket whose namespace the requests concern.
type ioctlSocket int

func openIoctl() (ioctler, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	return ioctlSocket(fd), nil
}

// ifreq is struct ifreq with one of the members of its union.
type ifreq struct {
	name [unix.IFNAMSIZ]byte
	data struct {
		index int32
		_     [20]byte
	}
}

type ifreqPointer struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [24 - unsafe.Sizeof(uintptr(0))]byte
}

func (s ioctlSocket) name(ifindex int) (string, error) {
	var r ifreq
	r.data.index = int32(ifindex)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(s), unix.SIOCGIFNAME, uintptr(unsafe.Pointer(&r))); errno != 0 {
		return "", os.NewSyscallError("SIOCGIFNAME", errno)
	}
	return unix.ByteSliceToString(r.name[:]), nil
}

func (s ioctlSocket) ethtool(ifindex int, request []byte) error {
	name, err := s.name(ifindex)
	if err != nil {
		return err
	}
	r := ifreqPointer{data: unsafe.Pointer(unsafe.SliceData(request))}
	copy(r.name[:unix.IFNAMSIZ-1], name)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(s), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&r)))
	runtime.KeepAlive(request)
	if errno != 0 {
		return errno
	}
	return nil
}

func (s ioctlSocket) close() error { return unix.Close(int(s)) }

// request is a structure of linux/ethtool.h; all of them begin with the command.
func request(cmd uint32, size int) []byte {
	r := make([]byte, size)
	binary.NativeEndian.PutUint32(r, cmd)
	return r
}

// ask sends a request, which the answer replaces.
func (d *Device) ask(what string, request []byte) error {
	err := d.ioctl.ethtool(d.index, request)
	if err == nil {
		return nil
	}
	name, nameErr := d.Name()
	if nameErr != nil {
		return nameErr
	}
	return failed(what, name, err)
}

// words asks for a structure of 32-bit words, of which the first is the command.
func (d *Device) words(what string, cmd uint32, n int) ([]uint32, error) {
	r := request(cmd, 4*n)
	if err := d.ask(what, r); err != nil {
		return nil, err
	}
	w := make([]uint32, n)
	for i := range w {
		w[i] = binary.NativeEndian.Uint32(r[4*i:])
	}
	return w, nil
}
