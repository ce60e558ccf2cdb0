package rdma

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/transport"
)

// settings are what stands behind the address's question mark.
type settings struct {
	frames int
	gid    int // -1: the route's
}

const defaultFrames = 2048

func parseSettings(q url.Values) (settings, error) {
	s := settings{frames: defaultFrames, gid: -1}
	for _, k := range slices.Sorted(maps.Keys(q)) { // so that of several mistakes always the same is named
		var err error
		switch k {
		case "frames":
			s.frames, err = number(q.Get(k), 64, 65536)
		case "gid":
			s.gid, err = number(q.Get(k), 0, 255)
		default:
			return s, invalid("setting %q is unknown; there are frames and gid: %w", k, unix.EINVAL)
		}
		if err != nil {
			return s, invalid("setting %s=%s: %w", k, q.Get(k), err)
		}
	}
	return s, nil
}

func number(v string, least, most int) (int, error) {
	n, err := strconv.Atoi(v)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("want a number from %d to %d: %w", least, most, unix.EINVAL)
	}
	return n, nil
}

func invalid(format string, args ...any) error {
	return transport.Mark(transport.ErrInvalid, fmt.Errorf(format, args...))
}
