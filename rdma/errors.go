package rdma

import (
	"errors"
	"fmt"
	"syscall"
)

// Errors, for errors.Is.
var (
	ErrNoDevice    = errors.New("no RDMA device")
	ErrNoPort      = errors.New("no active port")
	ErrNoGID       = errors.New("no usable GID")
	ErrUnsupported = errors.New("the device does not support it")
	ErrMemlock     = errors.New("RLIMIT_MEMLOCK is too small")
	ErrLimit       = errors.New("above the device's limits")
	ErrTooLong     = errors.New("the message is too long")
	ErrFull        = errors.New("the queue is full")
	ErrClosed      = errors.New("rdma: closed")
)

// VerbError is a verb that failed.
type VerbError struct {
	Verb  string        // as in its manual page: "ibv_reg_mr"
	Errno syscall.Errno // 0: the package refused it
	What  string        // of which object, and what to do
	Kind  error         // one of the errors above, or nil
}

func (e *VerbError) Error() string {
	text := "rdma: " + e.Verb
	if e.Errno != 0 {
		text += ": " + e.Errno.Error()
	}
	if e.Kind != nil {
		text += ": " + e.Kind.Error()
	}
	if e.What != "" {
		text += ": " + e.What
	}
	return text
}

// Unwrap gives the errno and the kind.
func (e *VerbError) Unwrap() []error {
	var errs []error
	if e.Errno != 0 {
		errs = append(errs, e.Errno)
	}
	if e.Kind != nil {
		errs = append(errs, e.Kind)
	}
	return errs
}

// failed makes the error of a verb; errno may be of either sign, for verbs disagree.
func failed(verb string, errno int, format string, args ...any) error {
	var kind error
	if syscall.Errno(max(errno, -errno)) == syscall.ENODEV {
		kind = ErrNoDevice
	}
	return failedAs(kind, verb, errno, format, args...)
}

// failedAs makes one of a kind.
func failedAs(kind error, verb string, errno int, format string, args ...any) error {
	return &VerbError{Verb: verb, Errno: syscall.Errno(max(errno, -errno)), Kind: kind, What: fmt.Sprintf(format, args...)}
}
