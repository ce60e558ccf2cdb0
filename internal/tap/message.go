package tap

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

// The two sides speak JSON, one message a packet of a SOCK_SEQPACKET socket.
//
//	request {op: capture}  →  reply with two descriptors; the capture lasts as long as the connection
//	request {op: stats}    →  reply with the number of parts, then a message for each; may be asked again

const (
	version    = 1 // of the messages and of the memory's layout
	maxMessage = 64 << 10
)

type request struct {
	Version int    `json:"version"`
	Op      string `json:"op"`
	Snap    int    `json:"snap,omitempty"`  // bytes of a frame to keep
	Bytes   int    `json:"bytes,omitempty"` // of a queue's ring, at least
}

// The operations.
const (
	opCapture = "capture"
	opStats   = "stats"
)

type reply struct {
	Version int    `json:"version"`
	Error   string `json:"error,omitempty"`
	Program string `json:"program,omitempty"`

	Queues    []Queue `json:"queues,omitempty"`    // capture
	RingBytes int     `json:"ringBytes,omitempty"` // capture: of a queue's data
	Parts     int     `json:"parts,omitempty"`     // stats
}

// conn is a connection. Its calls block, in the kernel and not in Go's netpoller: a program that has nothing there saves it a system call each
// time that a goroutine waits.
type conn struct{ fd int }

// send sends one message.
func (c conn) send(message any, fds ...int) error {
	b, err := json.Marshal(message)
	if err != nil {
		return err
	}
	if len(b) > maxMessage {
		return fmt.Errorf("a message of %d bytes", len(b))
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	return retry(func() error { return unix.Sendmsg(c.fd, b, oob, nil, unix.MSG_NOSIGNAL) })
}

// receive receives one message; io.EOF when there are no more.
func (c conn) receive(message any) (fds []int, err error) {
	b := make([]byte, maxMessage)
	oob := make([]byte, unix.CmsgSpace(2*4))
	var n, oobn, flags int
	for range 2 { // one that closes without having read all is an error first (net/unix/af_unix.c, unix_release_sock), and what it sent comes next
		err = retry(func() error {
			n, oobn, flags, _, err = unix.Recvmsg(c.fd, b, oob, unix.MSG_CMSG_CLOEXEC)
			return err
		})
		if err != unix.ECONNRESET {
			break
		}
	}
	if err == nil && n == 0 || err == unix.ECONNRESET {
		err = io.EOF
	}
	if err == unix.EAGAIN {
		err = errors.New("no answer in time")
	}
	if err != nil {
		return nil, err
	}
	fds, err = rights(oob[:oobn])
	if err == nil && flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		err = errors.New("a message that is too long")
	}
	if err == nil {
		err = json.Unmarshal(b[:n], message)
	}
	if err != nil {
		return nil, errors.Join(err, closeAll(fds))
	}
	return fds, nil
}

// rights are the descriptors that came with a message.
func rights(oob []byte) (fds []int, err error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	for i := range messages {
		if messages[i].Header.Level != unix.SOL_SOCKET || messages[i].Header.Type != unix.SCM_RIGHTS {
			continue
		}
		more, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return nil, errors.Join(err, closeAll(fds))
		}
		fds = append(fds, more...)
	}
	return fds, nil
}

// limit makes sends, and receives if asked for, fail that take longer.
func (c conn) limit(d time.Duration, options ...int) error {
	t := unix.NsecToTimeval(int64(d))
	for _, o := range options {
		if err := unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, o, &t); err != nil {
			return err
		}
	}
	return nil
}

// gone tells whether the other side has closed, without waiting.
func (c conn) gone() bool {
	var b [1]byte
	n, _, err := unix.Recvfrom(c.fd, b[:], unix.MSG_DONTWAIT|unix.MSG_PEEK)
	return err == nil && n == 0 || err != nil && err != unix.EAGAIN && err != unix.EINTR
}

// hangUp ends what others wait for on the connection, which stays open.
func (c conn) hangUp() { _ = unix.Shutdown(c.fd, unix.SHUT_RDWR) }

// peer says who is on the other side.
func (c conn) peer() (*unix.Ucred, error) {
	return unix.GetsockoptUcred(c.fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
}

func retry(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}
