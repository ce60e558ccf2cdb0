//go:build linux

package conform

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"
)

var pairFlag = flag.String("conform.pair", "", "two interfaces, cabled to each other, as in eth1,eth2; a veth pair of its own by default")

// TestConformance runs every row in every mode.
func TestConformance(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes interfaces, attaches XDP programs and opens AF_XDP sockets")
	}
	p := newPair(t, *pairFlag)
	s := summary{counts: map[string]*outcomes{}}
	for _, m := range modes {
		for _, busyPoll := range []bool{false, true} {
			how := "interrupt"
			if busyPoll {
				how = "busy-poll"
			}
			t.Run(m.name+"/"+how, func(t *testing.T) {
				p.enter(t)
				p.attach(t, m.attach)
				if busyPoll {
					p.deferInterrupts(t)
				}
				for _, r := range slices.Concat(rows, jumboRows) {
					t.Run(r.name, func(t *testing.T) {
						c := newTrial(t, p, m, busyPoll)
						t.Cleanup(func() { s.count(m.name+"/"+how, c) })
						p.enter(t)
						r.run(c)
					})
				}
			})
		}
	}
	fmt.Print(&s)
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
