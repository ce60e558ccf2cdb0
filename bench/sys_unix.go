package bench

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

func init() { Register(netStream{"unix", listenUnix, dialUnix}) }

// System unix is a Unix stream socket in the place of TCP: what the kernel can do at best between two processes of one machine that park for
// each message. The socket is a file, which two network namespaces see alike (net/unix/af_unix.c, unix_find_bsd; abstract names belong to one
// namespace). It stands in a folder of its own that nobody else may enter, and that goes with the listener.

// unixPrefix starts the folders' names; the server's process id follows, so that what a killed one left can be told.
const unixPrefix = "fastrpc-bench-unix-"

func listenUnix(*Endpoint) (net.Listener, Ready, error) {
	removeDeadSockets()
	dir, err := os.MkdirTemp("", unixPrefix+strconv.Itoa(os.Getpid())+"-")
	if err != nil {
		return nil, Ready{}, err
	}
	path := filepath.Join(dir, "socket")
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, Ready{}, errors.Join(err, os.Remove(dir))
	}
	return unixListener{l, dir}, Ready{Path: path}, nil
}

// unixListener takes its folder along.
type unixListener struct {
	net.Listener
	dir string
}

func (l unixListener) Close() error {
	return errors.Join(l.Listener.Close(), os.RemoveAll(l.dir)) // closed twice, it has nothing left to remove
}

// removeDeadSockets removes the folders of servers that were killed before they could.
func removeDeadSockets() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), unixPrefix+"*")) // the pattern is well-formed
	for _, dir := range dirs {
		number, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), unixPrefix), "-")
		if pid, err := strconv.Atoi(number); err == nil && errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			_ = os.RemoveAll(dir) // another user's is not ours to remove
		}
	}
}

func dialUnix(ctx context.Context, e *Endpoint) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", e.Path)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: a Unix socket joins processes of one machine only", err)
	}
	return conn, err
}
