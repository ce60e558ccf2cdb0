package tap

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
)

// namePrefix begins the names of the Servers' sockets; the interface's index follows, and a number that nobody else has.
const namePrefix = "@fastrpc/tap/"

// answerTimeout is how long a Server may take for an answer: much more than it needs, but those who look do not wait for ever.
const answerTimeout = 5 * time.Second

// Name is that of a Server's socket.
type Name string

// Ifindex is the index of the interface that the Server belongs to.
func (n Name) Ifindex() int {
	index, _, _ := strings.Cut(strings.TrimPrefix(string(n), namePrefix), "/")
	i, _ := strconv.Atoi(index)
	return i
}

// Find lists the Servers of an interface of the calling thread's network namespace, or of all its interfaces for 0. Anybody can take
// such a name, so an answer proves nothing; Process.Uid tells whose process it is.
func Find(ifindex int) ([]Name, error) {
	f, err := os.Open("/proc/thread-self/net/unix")
	if err != nil {
		return nil, fmt.Errorf("tap: listing sockets (is /proc mounted?): %w", err)
	}
	defer f.Close()
	var names []Name
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		// Num: RefCount Protocol Flags Type St Inode Path (net/unix/af_unix.c, unix_seq_show)
		fields := strings.Fields(lines.Text())
		if len(fields) != 8 || !strings.HasPrefix(fields[7], namePrefix) {
			continue
		}
		if flags, err := strconv.ParseUint(fields[3], 16, 32); err != nil || flags&acceptsConnections == 0 {
			continue // an accepted connection, which has its listener's name
		}
		if n := Name(fields[7]); n.Ifindex() > 0 && (ifindex == 0 || n.Ifindex() == ifindex) {
			names = append(names, n)
		}
	}
	return names, lines.Err()
}

const acceptsConnections = 1 << 16 // __SO_ACCEPTCON (include/linux/net.h)

// Process is a connection to a process that has an interface open. It belongs to one goroutine.
type Process struct {
	Name    Name
	Pid     int    // 0: in a pid namespace that cannot be seen from here
	Uid     int    // whose process it is
	Program string // what it calls itself, after the first answer
	conn    conn
}

// Dial connects to a Server in the calling thread's network namespace.
func Dial(n Name) (p *Process, err error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("tap: socket: %w", err)
	}
	p = &Process{Name: n, conn: conn{fd}}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("tap: %s: %w", n, err), unix.Close(fd))
		}
	}()
	if err = p.conn.limit(answerTimeout, unix.SO_SNDTIMEO, unix.SO_RCVTIMEO); err != nil { // the first is connect's too
		return nil, err
	}
	if err = retry(func() error { return unix.Connect(fd, &unix.SockaddrUnix{Name: string(n)}) }); err != nil {
		return nil, err
	}
	who, err := p.conn.peer()
	if err != nil {
		return nil, err
	}
	p.Pid, p.Uid = int(who.Pid), int(who.Uid)
	return p, nil
}

// Close ends the connection.
func (p *Process) Close() error { return unix.Close(p.conn.fd) }

// String names the process for people.
func (p *Process) String() string {
	return fmt.Sprintf("%s (pid %d, user %d)", cmp.Or(p.Program, "process"), p.Pid, p.Uid)
}

// Printable keeps what others say from playing tricks on a terminal.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// Stats asks for statistics; the parts are those of Config.Stats.
func (p *Process) Stats() ([]json.RawMessage, error) {
	r, fds, err := p.ask(request{Version: version, Op: opStats})
	_ = closeAll(fds)
	if err != nil {
		return nil, err
	}
	const maxParts = 1 << 10
	if r.Parts > maxParts {
		return nil, fmt.Errorf("tap: %v: %d parts of statistics", p, r.Parts)
	}
	var parts []json.RawMessage
	for range r.Parts {
		var part json.RawMessage
		fds, err := p.conn.receive(&part)
		_ = closeAll(fds)
		if err != nil {
			return nil, fmt.Errorf("tap: %v: %w", p, err)
		}
		parts = append(parts, part)
	}
	return parts, nil
}

// ask sends a request and receives the answer.
func (p *Process) ask(q request) (r reply, fds []int, err error) {
	if err = p.conn.send(q); err == nil || err == unix.EPIPE { // it may have refused before it was asked
		fds, err = p.conn.receive(&r)
	}
	if r.Program != "" {
		p.Program = Printable(r.Program)
	}
	switch {
	case err == io.EOF:
		err = errors.New("it ended, or serves too many already")
	case err == nil && r.Error != "":
		err = errors.New(Printable(r.Error))
	case err == nil && r.Version != version:
		err = fmt.Errorf("it speaks version %d of the protocol, not %d; use its own release of 'fastrpc'", r.Version, version)
	}
	if err != nil {
		return r, nil, errors.Join(fmt.Errorf("tap: %v: %w", p, err), closeAll(fds))
	}
	return r, fds, nil
}
