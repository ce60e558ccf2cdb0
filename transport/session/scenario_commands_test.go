package session_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/session"
	"github.com/fastrpc/fastrpc/transport/sim"
	"github.com/fastrpc/fastrpc/transport/wire"
)

// commands are what a script may say. testdata/README.md explains them.
var commands map[string]func(s *scene, a *arguments)

func init() {
	commands = map[string]func(s *scene, a *arguments){
		"network":    (*scene).cmdNetwork,
		"server":     (*scene).cmdActor,
		"client":     (*scene).cmdActor,
		"dial":       (*scene).cmdDial,
		"call":       (*scene).cmdCall,
		"cancel":     (*scene).cmdCancel,
		"run":        (*scene).cmdRun,
		"tally":      (*scene).cmdTally,
		"fates":      (*scene).cmdFates,
		"state":      (*scene).cmdState,
		"lose":       (*scene).cmdLose,
		"partition":  func(s *scene, a *arguments) { s.cmdPartition(a, true) },
		"heal":       func(s *scene, a *arguments) { s.cmdPartition(a, false) },
		"crash":      (*scene).cmdCrash,
		"restart":    (*scene).cmdRestart,
		"pause":      (*scene).cmdPause,
		"jump-clock": func(s *scene, a *arguments) { s.named(a, 0).ahead += a.duration(1) },
		"forge":      (*scene).cmdForge,
		"end":        (*scene).cmdEnd,
	}
}

// named is the actor that the i-th argument names.
func (s *scene) named(a *arguments, i int) *actor { return s.actor(a, a.word(i)) }

func (s *scene) actor(a *arguments, name string) *actor {
	x := s.actors[name]
	if x == nil {
		a.Fatalf(a.t, "%s: there is no %q", a.Cmd, name)
	}
	return x
}

// way reads x->y.
func (s *scene) way(a *arguments, i int) (from, to *actor) {
	x, y, ok := strings.Cut(a.word(i), "->")
	if !ok {
		a.Fatalf(a.t, "%s: %q is not of the form x->y", a.Cmd, a.word(i))
	}
	return s.actor(a, x), s.actor(a, y)
}

// cmdNetwork sets what happens to packets, everywhere or on one way.
func (s *scene) cmdNetwork(a *arguments) {
	f := sim.Faults{Delay: 20 * time.Microsecond}
	var burstShare, burstLength float64
	a.set(map[string]any{
		"delay": &f.Delay, "jitter": &f.Jitter, "loss": &f.Loss, "duplicate": &f.Duplicate, "corrupt": &f.Corrupt, "corrupt-header": &f.CorruptHeader,
		"reorder": &f.Reorder, "reorder-delay": &f.ReorderDelay, "spike": &f.Spike, "spike-delay": &f.SpikeDelay,
		"burst-loss": &burstShare, "burst-length": &burstLength,
		"shape": func(v string) {
			f.JitterShape = map[string]sim.Shape{"uniform": sim.Uniform, "normal": sim.Normal, "pareto": sim.Pareto}[v]
		},
	})
	if burstShare > 0 {
		f.Burst = sim.BurstLoss(burstShare, burstLength)
	}
	if !a.is(0) {
		s.common = f
		clear(s.faults)
		s.net.SetAllFaults(f)
		for _, x := range s.actors {
			for _, y := range s.actors {
				s.net.SetFaults(x.addr, y.addr, f)
			}
		}
		return
	}
	from, to := s.way(a, 0)
	s.faults[[2]netip.AddrPort{from.addr, to.addr}] = f
	s.net.SetFaults(from.addr, to.addr, f)
}

// cmdActor starts a client or a server.
func (s *scene) cmdActor(a *arguments) {
	x := &actor{name: a.word(0), client: a.Cmd == "client"}
	a.set(map[string]any{
		"takes": &x.takes, "calls": &x.cfg.Calls, "heartbeat": &x.cfg.Heartbeat, "misses": &x.cfg.Misses, "keep-alive": &x.cfg.KeepAlive,
		"idle-timeout": &x.cfg.IdleTimeout, "half-open": &x.cfg.HalfOpen, "sessions": &x.cfg.Sessions,
	})
	x.link.Unreachable = a.HasArg("icmp")
	x.addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, 0, byte(1 + len(s.actors))}), 9000)
	s.actors[x.name] = x
	s.start(x)
}

func (s *scene) cmdDial(a *arguments) {
	client, server := s.way(a, 0)
	s.dial(a, client, server)
}

func (s *scene) dial(a *arguments, client, server *actor) *session.Conn {
	path, err := client.node.link.Resolve(a.t.Context(), client.addr, server.addr)
	if err != nil {
		a.Fatalf(a.t, "%v", err)
	}
	conn, serr := client.core.Dial(s.clock(client.node), path, wire.Insecure)
	if serr != nil {
		a.Fatalf(a.t, "%v", serr)
	}
	client.conns[server.name] = conn
	return conn
}

// cmdCall makes a call, or many. Without a session to the server it opens one.
func (s *scene) cmdCall(a *arguments) {
	client, server := s.way(a, 1)
	size, n := 20, 1
	var timeout time.Duration
	a.set(map[string]any{"size": &size, "timeout": &timeout, "n": &n})
	for i := range n {
		c := &scriptCall{name: a.word(0), client: client.name, size: size, quiet: n > 1}
		if n > 1 {
			c.name += strconv.Itoa(i + 1)
		}
		if s.calls[c.name] != nil {
			a.Fatalf(a.t, "there has been a call %s", c.name)
		}
		s.calls[c.name] = c
		conn := client.conns[server.name]
		if conn == nil {
			conn = s.dial(a, client, server)
		}
		k, err := conn.NewCall()
		if err != nil {
			c.ended, c.result = true, fmt.Sprintf("not begun, %s, %s: %v", codeName(err.Code), outcomeName(err.Outcome), err)
			s.say("%s: %s ended: %s", client.name, c.name, c.result)
			continue
		}
		k.Tag, c.call = c, k
		var deadline transport.Time
		if timeout > 0 {
			deadline = s.clock(client.node).Add(timeout)
		}
		if err := k.StartBytes(s.clock(client.node), 1, c.body(), deadline); err != nil {
			a.Fatalf(a.t, "%v", err)
		}
	}
}

func (s *scene) cmdCancel(a *arguments) {
	if c := s.calls[a.word(0)]; c != nil && !c.ended {
		c.call.Cancel(s.clock(s.actors[c.client].node))
	}
}

// cmdRun lets time pass: so much of it, or until all calls have ended.
func (s *scene) cmdRun(a *arguments) {
	if a.is(0) {
		s.run(a.duration(0), nil)
		return
	}
	if !s.run(time.Minute, func() bool {
		for _, c := range s.calls {
			if !c.ended {
				return false
			}
		}
		return true
	}) {
		s.say("some calls have not ended")
	}
}

// cmdTally says how the calls of one name ended, and how many of each; with kinds, where that would be saying too much, only how.
func (s *scene) cmdTally(a *arguments) {
	counts, n, runs := map[string]int{}, 0, 0
	for name, c := range s.calls {
		rest, ok := strings.CutPrefix(name, a.word(0))
		if _, err := strconv.Atoi(rest); !ok || err != nil {
			continue
		}
		n++
		runs += c.executions
		if !c.ended {
			c.result = "under way"
		}
		counts[c.result]++
	}
	kinds := a.HasArg("kinds")
	for _, result := range slices.Sorted(maps.Keys(counts)) {
		if kinds {
			fmt.Fprintf(&s.out, "some ended: %s\n", result)
		} else {
			fmt.Fprintf(&s.out, "%d of %d ended: %s\n", counts[result], n, result)
		}
	}
	if !kinds {
		fmt.Fprintf(&s.out, "%d were run, none twice\n", runs)
	}
}

// cmdFates lists what has happened to packets, beside arriving.
func (s *scene) cmdFates(*arguments) {
	c := s.net.Counters()
	for _, x := range []struct {
		name string
		n    uint64
	}{{"lost", c.Lost}, {"partitioned", c.Partitioned}, {"duplicated", c.Duplicated}, {"reordered", c.Reordered}, {"corrupted", c.Corrupted},
		{"delayed by a standstill", c.Spiked}, {"dropped by a full receiver", c.Overrun}, {"sent to nobody", c.NoListener}} {
		if x.n > 0 {
			fmt.Fprintf(&s.out, "packets were %s\n", x.name)
		}
	}
}

// cmdState says what each actor has.
func (s *scene) cmdState(*arguments) {
	for _, n := range s.nodes {
		if n.dead {
			fmt.Fprintf(&s.out, "%s: dead\n", n.name)
			continue
		}
		fmt.Fprintf(&s.out, "%s: sessions %d", n.name, n.core.Sessions())
		if s.actors[n.name].client {
			fmt.Fprintf(&s.out, ", calls %d\n", n.core.Outstanding())
		} else {
			fmt.Fprintf(&s.out, ", requests %d\n", n.core.Answering())
		}
	}
}

// cmdLose makes the network lose the next packets that carry a frame of some type.
func (s *scene) cmdLose(a *arguments) {
	from, to := s.way(a, 0)
	n := 1
	a.set(map[string]any{"n": &n})
	for t := wire.Request; t.Known(); t++ {
		if strings.EqualFold(t.String(), a.word(1)) {
			from.loses = append(from.loses, loss{to.name, t, n})
			return
		}
	}
	a.Fatalf(a.t, "lose: no frame %q", a.word(1))
}

// cmdPartition cuts ways, or heals them: those named, each x->y or x--y, or, to heal, all.
func (s *scene) cmdPartition(a *arguments, on bool) {
	if !on && len(a.CmdArgs) == 0 {
		for _, x := range s.actors {
			for _, y := range s.actors {
				s.net.Partition(x.addr, y.addr, false)
			}
		}
	}
	for i := range a.CmdArgs {
		if x, y, both := strings.Cut(a.word(i), "--"); both {
			s.net.Split([]netip.AddrPort{s.actor(a, x).addr}, []netip.AddrPort{s.actor(a, y).addr}, on)
			continue
		}
		from, to := s.way(a, i)
		s.net.Partition(from.addr, to.addr, on)
	}
}

// cmdCrash kills an actor. Nobody is told; a client's calls under way are never heard of again.
func (s *scene) cmdCrash(a *arguments) {
	x := s.named(a, 0)
	s.kill(x.node)
	for _, c := range s.calls {
		if c.client == x.name && !c.ended {
			c.ended, c.result = true, "was forgotten in a crash"
		}
	}
}

func (s *scene) cmdRestart(a *arguments) {
	x := s.named(a, 0)
	ahead := x.ahead
	s.start(x)
	x.ahead = ahead
}

func (s *scene) cmdPause(a *arguments) {
	s.named(a, 0).pausedUntil = s.net.Now().Add(a.duration(1))
}

// cmdForge sends a server a Hello from an address where nobody is.
func (s *scene) cmdForge(a *arguments) {
	if a.word(0) != "hello" {
		a.Fatalf(a.t, "only a hello can be forged")
	}
	x, n := s.named(a, 1), 1
	a.set(map[string]any{"n": &n})
	b := make([]byte, 512)
	for i := range n {
		h := wire.Handshake{Kind: wire.Hello, Calls: 4, Source: uint64(i + 1), Incarnation: 1, Echo: 7, MaxMessage: 1 << 20, MaxPacket: 1500}
		s.net.Inject(netip.AddrPortFrom(netip.MustParseAddr("198.18.9.9"), uint16(1000+i)), x.addr, b[:h.Put(b)])
	}
}

// cmdEnd closes all sessions and sees that everything comes home.
func (s *scene) cmdEnd(a *arguments) {
	s.ended, s.nothing = true, true
	for _, x := range s.actors {
		if x.dead || !x.client {
			continue
		}
		for _, conn := range x.conns {
			conn.Close(s.clock(x.node), session.OK, "the end")
		}
	}
	s.run(2*time.Minute, nil) // longer than a server keeps a silent session
	for _, n := range s.nodes {
		if !n.dead {
			n.home(s.t, n.name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.calls)) {
		if c := s.calls[name]; !c.ended {
			s.t.Errorf("%s never ended", name)
		}
	}
	s.out.WriteString("all calls ended, and nothing is left behind\n")
}
