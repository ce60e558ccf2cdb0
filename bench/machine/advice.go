package machine

import (
	"fmt"
	"slices"

	"github.com/fastrpc/fastrpc/internal/doctor"
)

// Measured says what of the machine a run used.
type Measured struct {
	CPUs      []int  // of the client, the server, or both; none: not pinned
	Interface string // in the calling thread's network namespace; "": none that advice would be of use for
	Bypass    bool   // by AF_XDP
}

// maxAdvice is how many lines a reader may be asked to read.
const maxAdvice = 6

// weight orders the doctor's checks by what they cost a run, the worst first; checks that are not here do not matter to one, or are told
// elsewhere in the report. Those with xdp matter to AF_XDP alone.
var weight = []struct {
	check string
	xdp   bool
}{
	{"xdp-features", true}, {"driver", true}, {"governor", false}, {"c-states", false}, {"threads", false}, {"isolation", false}, {"numa", false}, {"pcie", false}, {"offloads", true},
	{"clock", false}, {"coalescing", false}, {"queues", true}, {"rss", true}, {"rss-udp", true}, {"irqbalance", false}, {"affinity", false},
	{"busy-poll", true}, {"rings", false}, {"bpf", true}, {"mitigations", false},
}

// Advice lists what would have made a run better, the most important first, with the command where there is one. It only looks, which takes
// milliseconds.
func Advice(m Measured) []string {
	var found []doctor.Finding
	if driver := NIC(m.Interface).Driver; driver == Unknown || driver == "none" || driver == "veth" { // no network card
		found = doctor.Machine(m.CPUs)
	} else {
		found = doctor.Examine(m.Interface, doctor.Options{NoProbe: true, CPUs: m.CPUs}).Findings
	}
	return advise(m, found, Describe().Cores)
}

// advise chooses from what the doctor found on a machine with so many CPUs.
func advise(m Measured, found []doctor.Finding, cores int) []string {
	var lines []string
	spare := len(m.CPUs) > 0 && cores > len(m.CPUs)
	if !spare {
		lines = append(lines, "what was measured had all CPUs of the machine, so that whatever else ran took time from it: use one with more")
	}
	for _, w := range weight {
		i := slices.IndexFunc(found, func(f doctor.Finding) bool { return f.Check == w.check && f.Level != doctor.OK })
		if i < 0 || w.xdp && !m.Bypass || w.check == "isolation" && !spare {
			continue
		}
		line := found[i].Text
		switch fix := found[i].Fix; len(fix) {
		case 0:
		case 1:
			line += ": " + fix[0]
		default:
			line += fmt.Sprintf(": %s (and %d more, see 'fastrpc doctor')", fix[0], len(fix)-1)
		}
		lines = append(lines, line)
	}
	return lines[:min(len(lines), maxAdvice)]
}
