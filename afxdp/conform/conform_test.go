//go:build linux

package conform

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

var pairFlag = flag.String("conform.pair", "", "two interfaces, cabled to each other, as in eth1,eth2; a veth pair of its own by default")

var requireFlag = flag.String("conform.require", "generic,native", "modes in which packets must move, as in native,zero-copy: a device that refuses one fails the test")

// TestConformance runs every row in every mode.
func TestConformance(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes interfaces, attaches XDP programs and opens AF_XDP sockets")
	}
	p := newPair(t, *pairFlag)
	s := summary{counts: map[string]*outcomes{}}
	for _, m := range modes {
		required := slices.Contains(strings.Split(*requireFlag, ","), m.name)
		for _, busyPoll := range []bool{false, true} {
			name := m.name + "/interrupt"
			if busyPoll {
				name = m.name + "/busy-poll"
			}
			t.Run(name, func(t *testing.T) {
				t.Cleanup(func() { demand(t, required) })
				p.enter(t)
				p.attach(t, m.attach)
				if busyPoll {
					p.deferInterrupts(t)
				}
				for i, r := range slices.Concat(rows, jumboRows) {
					t.Run(r.name, func(t *testing.T) {
						c := newTrial(t, p, m, busyPoll)
						t.Cleanup(func() { s.count(name, c) })
						t.Cleanup(func() { demand(t, required && i == 0) }) // the first is SEND_RECEIVE
						p.enter(t)
						r.run(c)
					})
				}
			})
		}
	}
	fmt.Print(&s)
}

// demand fails a test that was skipped and must not be.
func demand(t *testing.T, required bool) {
	if required && t.Skipped() {
		t.Error("-conform.require names this mode, and the device refuses it")
	}
}

// summary counts how the rows of each mode went.
type summary struct {
	modes  []string
	counts map[string]*outcomes
}

type outcomes struct{ passed, refused, unlisted, failed int }

func (s *summary) count(mode string, c *trial) {
	n := s.counts[mode]
	if n == nil {
		n = new(outcomes)
		s.modes = append(s.modes, mode)
		s.counts[mode] = n
	}
	switch {
	case c.Failed():
		n.failed++
	case c.unlisted:
		n.unlisted++
	case c.Skipped():
		n.refused++
	default:
		n.passed++
	}
}

func (s *summary) String() (text string) {
	for _, m := range s.modes {
		n := s.counts[m]
		text += fmt.Sprintf("conformance %-19s %2d passed, %2d refused by the device, %d not in the kernel's list, %d failed\n", m, n.passed, n.refused,
			n.unlisted, n.failed)
	}
	return text
}
