package rdma

import (
	"fmt"
	"net/url"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/sock"
)

// settings are what stands behind the address's question mark.
type settings struct {
	qp     string // "ud", "rc"; empty: whichever the device has, UD first
	frames int
	gid    int // -1: the route's
	conns  int
	idle   time.Duration

	rendezvous int // bytes from which on a message is fetched; 0: none is
}

const (
	defaultFrames = 2048
	defaultConns  = 1024
	defaultFetch  = 128 << 10       // see rc_fetch.go
	defaultIdle   = 3 * time.Minute // three times as long as a server keeps a session that is silent
)

func parseSettings(q url.Values) (settings, error) {
	s := settings{frames: defaultFrames, gid: -1, conns: defaultConns, idle: defaultIdle, rendezvous: defaultFetch}
	err := sock.Settings(q, "qp, frames, gid, conns, idle and rendezvous", func(key, value string) (known bool, err error) {
		switch key {
		case "qp":
			if s.qp = value; value != "ud" && value != "rc" {
				err = fmt.Errorf("want ud (datagrams) or rc (connections): %w", unix.EINVAL)
			}
		case "frames":
			s.frames, err = sock.Number(value, 64, 65536)
		case "gid":
			s.gid, err = sock.Number(value, 0, 255)
		case "conns":
			s.conns, err = sock.Number(value, 1, maxConns)
		case "idle":
			var seconds int
			seconds, err = sock.Number(value, 1, 86400)
			s.idle = time.Duration(seconds) * time.Second
		case "rendezvous":
			s.rendezvous, err = sock.Number(value, 0, 1<<30)
		default:
			return false, nil
		}
		return true, err
	})
	return s, err
}

// maxConns is what fits the identifiers of work requests; see workID.
const maxConns = 1 << 15
