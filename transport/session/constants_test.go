package session

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// told is what docs/protocol.md has to say of each constant, by the name that it has there and here.
func told() map[string]string {
	cfg := Config{}.withDefaults()
	most := Config{Window: math.MaxInt}.withDefaults()
	e := &Endpoint{cfg: cfg, caps: transport.Caps{Frames: 4096, FrameBytes: 2048}}
	e.limitHolds()
	c := &Conn{e: e}
	c.agree(&wire.Handshake{AckDelay: math.MaxUint32, IdleSeconds: 3})
	var steps []string
	for _, n := range packetSteps {
		steps = append(steps, count(n))
	}
	return map[string]string{
		"Sessions":            count(cfg.Sessions),
		"Calls":               count(cfg.Calls),
		"CallsPerSession":     count(cfg.CallsPerSession),
		"MaxMessage":          mebibytes(int64(cfg.MaxMessage)),
		"MaxMetadata":         count(int(cfg.MaxMetadata)>>10) + " KiB",
		"Reassembly":          mebibytes(cfg.Reassembly),
		"HalfOpen":            count(cfg.HalfOpen),
		"ResetsPerSecond":     count(cfg.ResetsPerSecond),
		"StreamWindow":        count(cfg.StreamWindow) + " messages",
		"Credit":              ratio(float64(e.credit.limit)/float64(e.caps.Frames*e.caps.FrameBytes)) + " of the link's frames",
		"Congestion":          map[Congestion]string{Swift: "Swift", Fixed: "Fixed"}[cfg.Congestion],
		"Window":              count(cfg.Window) + " packets, at most " + count(most.Window),
		"TargetDelay":         lasting(defaultTargetDelay) + " and Caps.BurstDelay",
		"MinPTO":              lasting(cfg.MinPTO),
		"AckDelay":            lasting(cfg.AckDelay),
		"LazyAckDelay":        lasting(cfg.LazyAckDelay),
		"Heartbeat":           lasting(cfg.Heartbeat),
		"KeepAlive":           lasting(cfg.KeepAlive) + ", at most " + ratio(float64(c.keepAlive)/float64(3*time.Second)) + " of the server's IdleTimeout",
		"Misses":              count(cfg.Misses),
		"IdleTimeout":         lasting(cfg.IdleTimeout),
		"HelloTimeout":        lasting(cfg.HelloTimeout),
		"Phi.Threshold":       number(cfg.Phi.Threshold),
		"Phi.Window":          count(cfg.Phi.Window) + " intervals",
		"Phi.MinSamples":      count(cfg.Phi.MinSamples) + " intervals",
		"Phi.MinStdDev":       lasting(cfg.Phi.MinStdDev),
		"Phi.AcceptablePause": lasting(cfg.Phi.AcceptablePause),
		"Phi.FirstEstimate":   ratio(float64(cfg.Phi.FirstEstimate)/float64(cfg.Heartbeat)) + " Heartbeat",
		"largest ack delay":   lasting(c.peerAckDelay),

		"helloTimeoutMax":    lasting(helloTimeoutMax),
		"halfOpenLifetime":   lasting(halfOpenLifetime),
		"startGrace":         lasting(startGrace),
		"tokenLifetime":      lasting(tokenLifetime * time.Second),
		"minPacketBytes":     count(minPacketBytes) + " bytes",
		"minPart":            count(minPart) + " bytes",
		"maxReason":          count(maxReason) + " bytes",
		"ackBits":            count(ackBits) + " packets",
		"ackEvery":           count(ackEvery) + " packets",
		"lazyAckEvery":       count(lazyAckEvery) + " packets",
		"packetItems":        count(packetItems) + " frames",
		"maxControls":        count(maxControls) + " frames",
		"owdPeriod":          lasting(owdPeriod),
		"maxStreamWindow":    count(maxStreamWindow) + " messages",
		"longTurn":           count(longTurn) + " packets",
		"oldestTurn":         count(oldestTurn) + " turns",
		"grantStep":          count(grantStep) + " packets",
		"grantAhead":         ratio(grantAhead) + " Window",
		"freeShare":          count(freeShare),
		"grantsAtOnce":       count(grantsAtOnce) + " sessions",
		"stallTimeout":       lasting(stallTimeout),
		"silentTimeout":      lasting(silentTimeout),
		"sweepInterval":      lasting(sweepInterval),
		"spareSweeps":        count(spareSweeps) + " sweeps",
		"maxStreamMessages":  "2³² − 1 − 2 maxStreamWindow",
		"maxSpans":           count(maxSpans) + " stretches",
		"gatherFrames":       count(gatherFrames) + " packets",
		"leastPiece":         count(leastPiece) + " packets",
		"maxFetches":         count(maxFetches),
		"maxFetchFaults":     count(maxFetchFaults),
		"outReserve":         count(outReserve) + " frames",
		"spareFrames":        count(spareFrames) + " frames",
		"packetThreshold":    count(packetThreshold) + " packets",
		"packetThresholdMax": count(packetThresholdMax) + " packets",
		"timeThreshold":      fmt.Sprintf("%d/8 of the RTT", timeThreshold),
		"timeThresholdMax":   fmt.Sprintf("%d/8 of the RTT", timeThresholdMax),
		"timeGranularity":    lasting(timeGranularity),
		"initialRTT":         lasting(initialRTT),
		"leastPeriod":        lasting(leastPeriod),
		"ptoBackoffMax":      count(ptoBackoffMax) + " doublings",
		"sentRingMax":        count(sentRingMax) + " packets",
		"smallExtra":         count(smallExtra) + " packets",
		"reliableProbe":      lasting(reliableProbe),
		"longBurst":          count(longBurst) + " packets",
		"spareBuffers":       count(spareBuffers),
		"spareBufferLeast":   count(spareBufferLeast>>10) + " KiB",
		"fewSessions":        count(fewSessions),
		"swiftInitial":       number(swiftInitial) + " packets",
		"swiftIncrease":      ratio(swiftIncrease) + " packet",
		"swiftMaxCut":        ratio(swiftMaxCut),
		"swiftDip":           ratio(swiftDip),
		"swiftFloor":         number(swiftFloor) + " packet",
		"swiftPatience":      count(swiftPatience),
		"swiftMin":           ratio(swiftMin) + " packet",
		"swiftMaxGap":        lasting(swiftMaxGap),
		"scaleMinWindow":     ratio(scaleMinWindow) + " packet",
		"scaleMaxWindow":     number(scaleMaxWindow) + " packets",
		"scaleRange":         number(scaleRange) + " TargetDelay",
		"lossShare":          ratio(lossShare),
		"lossMemory":         count(lossMemory) + " packets",
		"lossDelay":          count(lossDelay),
		"delayCap":           count(delayCap),
		"markGain":           ratio(markGain),
		"minHeartbeatWait":   lasting(minHeartbeatWait),
		"quietMisses":        count(quietMisses),
		"phiMax":             count(phiMax),
		"phiWindowMax":       count(phiWindowMax) + " intervals",
		"sampleMax":          fmt.Sprintf("%.1f s", (sampleMax * time.Microsecond).Seconds()),
		"holeLosses":         count(holeLosses) + " packets",
		"packetSteps":        strings.Join(steps, " · ") + " bytes",
		"tickBits":           fmt.Sprintf("%.1f µs", (1<<tickBits*time.Nanosecond).Seconds()*1e6),
	}
}

// untold are constants that are nobody's business but the code's: marks, what a format or another document fixes, first sizes of what grows,
// and the shape of the timing wheel. The defaults of Config are told under its fields' names.
var untold = strings.Fields(`noFrame never ecnCapable congestionExperienced tokenBytes sentRingMin callChunk wheelLevels wheelSlots wheelBits unary cacheLine hotLines engineBits indexBits Engines`)

// TestConstantsTold holds docs/protocol.md to the code: each constant stands in its tables once, with the value that it has.
func TestConstantsTold(t *testing.T) {
	want, have := told(), tables(t)
	for name, value := range want {
		if got, ok := have[name]; !ok {
			t.Errorf("docs/protocol.md does not tell of %s, which is %s", name, value)
		} else if got != value {
			t.Errorf("docs/protocol.md says that %s is %q; it is %q", name, got, value)
		}
	}
	for name := range have {
		if _, ok := want[name]; !ok {
			t.Errorf("docs/protocol.md tells of %s, which this test does not know", name)
		}
	}
	for _, name := range declared(t) {
		if _, ok := want[name]; !ok {
			t.Errorf("%s is new: tell its value and its reason in docs/protocol.md, and add it to this test", name)
		}
	}
}

// tables reads the names and values under "Every constant".
func tables(t *testing.T) map[string]string {
	text, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text2, ok := strings.Cut(string(text), "\n## Every constant\n")
	if !ok {
		t.Fatal("docs/protocol.md has no section Every constant")
	}
	text2, _, _ = strings.Cut(text2, "\n## ")
	rows := map[string]string{}
	for line := range strings.Lines(text2) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 || strings.Contains(line, "---") {
			continue
		}
		name, value := strings.TrimSpace(cells[1]), strings.TrimSpace(cells[2])
		if name == "name" {
			continue
		}
		if _, twice := rows[name]; twice {
			t.Errorf("docs/protocol.md tells of %s twice", name)
		}
		if strings.TrimSpace(cells[3]) == "" {
			t.Errorf("docs/protocol.md gives no reason for %s", name)
		}
		rows[name] = value
	}
	return rows
}

// declared lists the fields of Config, and the package's constants that are neither of an enumeration nor a default of Config.
func declared(t *testing.T) (names []string) {
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Config]()) {
		switch f.Name {
		case "Engine", "Seed", "Incarnation": // who one is, no tunables
		case "Reclaim": // nor is it
		case "Phi":
			for _, f := range reflect.VisibleFields(f.Type) {
				names = append(names, "Phi."+f.Name)
			}
		default:
			names = append(names, f.Name)
		}
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.CONST {
				names = append(names, constants(g)...)
			}
		}
	}
	return names
}

// constants lists what a declaration has to tell. What has a type of its own, or no value of its own, is of an enumeration.
func constants(g *ast.GenDecl) (names []string) {
	for _, s := range g.Specs {
		v := s.(*ast.ValueSpec)
		if v.Type != nil || len(v.Values) == 0 {
			continue
		}
	next:
		for _, n := range v.Names {
			for _, u := range untold {
				if n.Name == u {
					continue next
				}
			}
			if !strings.HasPrefix(n.Name, "default") {
				names = append(names, n.Name)
			}
		}
	}
	return names
}

// count writes a number as people do: 4,096.
func count(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func mebibytes(n int64) string { return count(int(n>>20)) + " MiB" }

func number(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }

// ratio writes a number as a fraction of small numbers, where it is one.
func ratio(x float64) string {
	for den := 1; den <= 100; den++ {
		if num := math.Round(x * float64(den)); math.Abs(num/float64(den)-x) < 1e-9 {
			if den == 1 {
				return number(num)
			}
			return fmt.Sprintf("%.0f/%d", num, den)
		}
	}
	return number(x)
}

// lasting writes a duration with its unit apart: 200 µs.
func lasting(d time.Duration) string {
	switch {
	case d%time.Second == 0:
		return count(int(d/time.Second)) + " s"
	case d%time.Millisecond == 0:
		return count(int(d/time.Millisecond)) + " ms"
	}
	return count(int(d/time.Microsecond)) + " µs"
}
