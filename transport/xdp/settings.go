package xdp

import (
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/fastrpc/fastrpc/bpf"
)

const (
	defaultFrames = 4096  // a queue: 8 MiB with 2 KiB chunks; 2048 received packets may wait for the poller
	minFrames     = 64    // below it a burst would not find its frames
	maxFrames     = 65536 // bounds a queue's memory to 256 MiB, or 640 where packets have several chunks
	maxBusyPoll   = 10000 // µs; SO_BUSY_POLL beyond that would stall every system call
	maxQueues     = 256   // as many as an engine's number in a session ID can tell apart
)

// Values of the settings mode, zerocopy and busypoll.
const (
	auto    = "auto"
	native  = "native"
	generic = "generic"
	on      = "on"
	off     = "off"
	thread  = "thread"
)

// settings is a target's query, checked; the zero values of queues, chunk and prefixes stand for the default.
type settings struct {
	mode     string
	zeroCopy string
	queues   []uint32
	frames   int
	chunk    int
	prefixes []netip.Prefix
	busyPoll int // µs

	pollThread bool // a kernel thread polls
	program    string
	xskmap     string
	plugin     string

	// Not from the query, but of the interface's MTU: whether packets may stand in several chunks, and in how many, a power of two.
	multiBuffer bool
	span        int

	given map[string]string // what the query names, in a form that compares
}

// settingNames has a parser for every setting; each returns the value in canonical form.
var settingNames = map[string]func(*settings, string) (string, error){
	"mode":     func(s *settings, v string) (string, error) { s.mode = v; return v, oneOf(v, auto, native, generic) },
	"zerocopy": func(s *settings, v string) (string, error) { s.zeroCopy = v; return v, oneOf(v, auto, on, off) },
	"queues": func(s *settings, v string) (_ string, err error) {
		s.queues, err = parseQueues(v)
		return fmt.Sprint(s.queues), err
	},
	"frames": func(s *settings, v string) (_ string, err error) {
		s.frames, err = parseInt(v, minFrames, maxFrames)
		if err == nil && s.frames&(s.frames-1) != 0 {
			err = fmt.Errorf("%d is not a power of two", s.frames)
		}
		return v, err
	},
	"chunk": func(s *settings, v string) (_ string, err error) {
		s.chunk, _ = strconv.Atoi(v)
		return v, oneOf(v, "2048", "4096")
	},
	"prefixes": func(s *settings, v string) (_ string, err error) {
		s.prefixes, err = parsePrefixes(v)
		return fmt.Sprint(s.prefixes), err
	},
	"busypoll": func(s *settings, v string) (_ string, err error) {
		if v == thread {
			s.pollThread = true
			return v, nil
		}
		if s.busyPoll, err = parseInt(v, 0, maxBusyPoll); err != nil {
			err = fmt.Errorf("%w, or %s", err, thread)
		}
		return strconv.Itoa(s.busyPoll), err
	},
	"program": func(s *settings, v string) (_ string, err error) {
		s.program = v
		if filepath.IsAbs(v) { // where 'fastrpc setup --dir' pinned it
			return v, nil
		}
		return v, oneOf(v, own, dispatcher, pinned)
	},
	"xskmap": func(s *settings, v string) (string, error) { s.xskmap = v; return v, absolute(v) },
	"plugin": func(s *settings, v string) (string, error) { s.plugin = v; return v, absolute(v) },
}

func parseSettings(query url.Values) (settings, error) {
	s := settings{mode: auto, zeroCopy: auto, frames: defaultFrames, program: own, given: map[string]string{}}
	for name, values := range query {
		parse, known := settingNames[name]
		if !known {
			return s, fmt.Errorf("%w: %q is unknown; the settings of xdp:// are %s",
				ErrSettings, name, strings.Join(slices.Sorted(maps.Keys(settingNames)), ", "))
		}
		if len(values) != 1 {
			return s, fmt.Errorf("%w: %s is given %d times", ErrSettings, name, len(values))
		}
		canonical, err := parse(&s, values[0])
		if err != nil {
			return s, fmt.Errorf("%w: %s=%s: %w", ErrSettings, name, values[0], err)
		}
		s.given[name] = canonical
	}
	return s, s.checkSteering()
}

// conflict compares what a later opener names with what the interface was opened with.
func (s *settings) conflict(later *settings) error {
	value := func(s *settings, name string) string {
		switch name {
		case "mode":
			return s.mode
		case "zerocopy":
			return s.zeroCopy
		case "queues":
			return fmt.Sprint(s.queues)
		case "frames":
			return strconv.Itoa(s.frames)
		case "chunk":
			return strconv.Itoa(s.chunk)
		case "prefixes":
			return fmt.Sprint(s.prefixes)
		case "program":
			return s.program
		case "xskmap":
			return s.xskmap
		case "plugin":
			return s.plugin
		default:
			if s.pollThread {
				return thread
			}
			return strconv.Itoa(s.busyPoll)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(later.given)) {
		if have, want := value(s, name), value(later, name); have != want {
			return fmt.Errorf("%w: this process has the interface open with %s=%s, so %s=%s cannot be had; name the same value or none",
				ErrSettings, name, have, name, want)
		}
	}
	return nil
}

func oneOf(v string, allowed ...string) error {
	if !slices.Contains(allowed, v) {
		return fmt.Errorf("want one of %s", strings.Join(allowed, ", "))
	}
	return nil
}

func absolute(path string) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("want a path from /")
	}
	return nil
}

func parseInt(v string, low, high int) (int, error) {
	n, err := strconv.Atoi(v)
	if err != nil || n < low || n > high {
		return 0, fmt.Errorf("want a number from %d to %d", low, high)
	}
	return n, nil
}

// parseQueues reads queue numbers and ranges, such as "0-3,6".
func parseQueues(v string) ([]uint32, error) {
	var queues []uint32
	for part := range strings.SplitSeq(v, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		low, err := strconv.ParseUint(first, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("want queue numbers such as 0,2 or 0-3")
		}
		high, err := strconv.ParseUint(last, 10, 16)
		if err != nil || high < low {
			return nil, fmt.Errorf("want queue numbers such as 0,2 or 0-3")
		}
		if high-low >= maxQueues {
			return nil, fmt.Errorf("more than %d queues", maxQueues)
		}
		for q := low; q <= high; q++ {
			queues = append(queues, uint32(q))
		}
	}
	slices.Sort(queues)
	queues = slices.Compact(queues)
	if len(queues) > maxQueues {
		return nil, fmt.Errorf("more than %d queues", maxQueues)
	}
	return queues, nil
}

func parsePrefixes(v string) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	for part := range strings.SplitSeq(v, ",") {
		p, err := netip.ParsePrefix(strings.TrimSpace(part))
		if err != nil {
			addr, addrErr := netip.ParseAddr(strings.TrimSpace(part))
			if addrErr != nil {
				return nil, fmt.Errorf("want prefixes such as 192.0.2.0/24,2001:db8::/32: %w", err)
			}
			p = netip.PrefixFrom(addr, addr.BitLen())
		}
		prefixes = append(prefixes, p.Masked())
	}
	slices.SortFunc(prefixes, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	prefixes = slices.Compact(prefixes)
	if len(prefixes) > bpf.MaxPrefixes {
		return nil, fmt.Errorf("more than %d prefixes", bpf.MaxPrefixes)
	}
	return prefixes, nil
}
