package xdp

import (
	"errors"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/lab"
	"github.com/fastrpc/fastrpc/internal/lab/labtest"
	"github.com/fastrpc/fastrpc/internal/nic"
)

// fakeCard is what a network card was asked for. Its rules are refused where refuse says so.
type fakeCard struct {
	rules    map[nic.Rule]bool
	contexts [][]int
	settings map[uint32]nic.NAPISettings
	refuse   func(nic.Rule) error
	plain    bool // it has no contexts
	closed   int
}

func newFakeCard() *fakeCard {
	return &fakeCard{rules: map[nic.Rule]bool{}, settings: map[uint32]nic.NAPISettings{}, refuse: func(nic.Rule) error { return nil }}
}

func (c *fakeCard) AddRule(r nic.Rule) error {
	if err := c.refuse(r); err != nil {
		return err
	}
	c.rules[r] = true
	return nil
}

func (c *fakeCard) DeleteRule(r nic.Rule) error {
	if !c.rules[r] {
		return unix.ENOENT
	}
	delete(c.rules, r)
	return nil
}

func (c *fakeCard) AddContext(queues []int) (uint32, error) {
	if c.plain {
		return 0, errors.ErrUnsupported
	}
	c.contexts = append(c.contexts, queues)
	return uint32(len(c.contexts)), nil
}

func (c *fakeCard) SetNAPI(id uint32, want nic.NAPISettings) error {
	c.settings[id] = want
	return nil
}

func (c *fakeCard) Close() error {
	c.closed++
	clear(c.rules)
	return nil
}

func (c *fakeCard) check(t *testing.T, want ...nic.Rule) {
	t.Helper()
	if len(c.rules) != len(want) || !slices.ContainsFunc(want, func(r nic.Rule) bool { return c.rules[r] }) && len(want) > 0 {
		t.Errorf("rules are %v, want %v", slices.Collect(maps.Keys(c.rules)), want)
	}
	for _, r := range want {
		if !c.rules[r] {
			t.Errorf("rule %q is missing", r)
		}
	}
}

// With all queues ours, RSS finds them: no rule.
func TestRulesAllQueues(t *testing.T) {
	c, s := newFakeCard(), card{}
	s.begin(c, []uint32{0, 1}, 2)
	s.add(9000)
	c.check(t)
	must(t, s.remove(9000))
	must(t, s.giveBack())
}

// With one queue of several, a rule for each version of IP sends each port there, as long as it is held.
func TestRulesOneQueue(t *testing.T) {
	c, s := newFakeCard(), card{}
	s.begin(c, []uint32{3}, 4)
	rules := func(port uint16) []nic.Rule {
		return []nic.Rule{{Port: port, Queue: 3}, {Port: port, IPv6: true, Queue: 3}}
	}
	s.add(9000)
	s.add(9001)
	c.check(t, slices.Concat(rules(9000), rules(9001))...)
	must(t, s.remove(9000))
	c.check(t, rules(9001)...)
	if n, refused, why := s.report(); n != 2 || refused != 0 || why != "" {
		t.Errorf("%d rules, %d refused, %v", n, refused, why)
	}
	must(t, s.giveBack())
	must(t, s.giveBack())
	c.check(t)
	s.add(9002) // too late
	c.check(t)
	if c.closed != 1 {
		t.Errorf("given back %d times", c.closed)
	}
}

// Several queues of more are an RSS context; where the card has none, each port has one of them.
func TestRulesSomeQueues(t *testing.T) {
	c, s := newFakeCard(), card{}
	s.begin(c, []uint32{2, 5}, 8)
	s.add(9000)
	c.check(t, nic.Rule{Port: 9000, Context: 1}, nic.Rule{Port: 9000, IPv6: true, Context: 1})
	if !slices.Equal(c.contexts[0], []int{2, 5}) {
		t.Errorf("the context is over queues %v", c.contexts[0])
	}

	c, s = newFakeCard(), card{}
	c.plain = true
	s.begin(c, []uint32{2, 5}, 8)
	s.add(9000)
	s.add(9001)
	c.check(t, nic.Rule{Port: 9000, Queue: 2}, nic.Rule{Port: 9000, IPv6: true, Queue: 2}, nic.Rule{Port: 9001, Queue: 5}, nic.Rule{Port: 9001, IPv6: true, Queue: 5})
	if _, refused, why := s.report(); refused != 1 || !strings.Contains(why, errors.ErrUnsupported.Error()) {
		t.Errorf("%d refused, %v", refused, why)
	}
}

// What the card refuses is counted and explained, and only what it took is taken away.
func TestRulesRefused(t *testing.T) {
	c, s := newFakeCard(), card{}
	c.refuse = func(r nic.Rule) error {
		if r.IPv6 {
			return unix.ENOSPC
		}
		return nil
	}
	s.begin(c, []uint32{0}, 2)
	s.add(9000)
	c.check(t, nic.Rule{Port: 9000})
	if n, refused, why := s.report(); n != 1 || refused != 1 || why != unix.ENOSPC.Error() {
		t.Errorf("%d rules, %d refused, %v", n, refused, why)
	}
	must(t, s.remove(9000))
	c.check(t)
}

var (
	ours   = netip.MustParseAddr("192.0.2.1")
	theirs = netip.MustParseAddrPort("192.0.2.2:9000")
)

// hashed makes a steering that knows a card's key and table.
func hashed(queues int) *card {
	rss := nic.RSS{Hash: nic.HashToeplitz, Key: make([]byte, 40), Table: make([]uint32, 128)}
	random := rand.New(rand.NewPCG(1, 2))
	for i := range rss.Key {
		rss.Key[i] = byte(random.Uint32())
	}
	for i := range rss.Table {
		rss.Table[i] = uint32(i % queues)
	}
	all := nic.HashIPSource | nic.HashIPDest | nic.HashPorts
	return &card{rss: &rss, fields: map[bool]nic.HashFields{false: all, true: all}}
}

// Answers are expected where the card's hash sends them, which is their sender before their receiver.
func TestArrival(t *testing.T) {
	s := hashed(8)
	seen := map[int]bool{}
	for port := range uint16(100) {
		local := netip.AddrPortFrom(ours, 40000+port)
		queue, ok := s.arrival(local, theirs)
		want, _ := s.rss.Queue(s.fields[false], theirs, local)
		if !ok || queue != want {
			t.Errorf("port %d: queue %d, %v; want %d", local.Port(), queue, ok, want)
		}
		seen[queue] = true
	}
	if len(seen) != 8 {
		t.Errorf("100 ports reach %d of 8 queues", len(seen))
	}
	if _, ok := (&card{}).arrival(netip.AddrPortFrom(ours, 1), theirs); ok {
		t.Error("a card that does not tell its key is guessed at")
	}
}

// A rule goes before the hash; in a context, the hash chooses among its queues.
func TestArrivalByRule(t *testing.T) {
	local := netip.AddrPortFrom(ours, 40000)
	s := hashed(8)
	s.begin(newFakeCard(), []uint32{6}, 8)
	s.add(40000)
	if queue, ok := s.arrival(local, theirs); !ok || queue != 6 {
		t.Errorf("queue %d, %v; the rule says 6", queue, ok)
	}
	s = hashed(8)
	s.begin(newFakeCard(), []uint32{6, 7}, 8)
	for port := range uint16(20) {
		local := netip.AddrPortFrom(ours, 40000+port)
		plain, _ := s.arrival(local, theirs)
		s.add(local.Port())
		if queue, ok := s.arrival(local, theirs); !ok || queue != 6+plain%2 {
			t.Errorf("queue %d, %v, which is %d without the context", queue, ok, plain)
		}
	}
}

// A client that has one queue of eight gets a source port whose answers come there, but for one time in 5,000, when sourceTries are over; without
// a card that tells, any port.
func TestSourcePort(t *testing.T) {
	l := labtest.New(t, lab.Config{Queues: 1})
	must(t, l.Client().Do(func() error {
		ifi, err := interfaceNamed(l.Client().Interface)
		must(t, err)
		to := &dialled{l.Client().IPv4, netip.AddrPortFrom(l.Server().IPv4, 9000)}
		suit := 0
		for range 20 {
			d := &device{settings: settings{queues: []uint32{3}}}
			d.card.rss, d.card.fields = hashed(8).rss, hashed(8).fields
			h, err := d.openSuitable(ifi, netip.IPv6Unspecified(), 0, to)
			must(t, err)
			p := &port{dev: d, local: netip.AddrPortFrom(netip.IPv6Unspecified(), h.port), source: to.source}
			if queue, ok := d.card.arrival(p.Local(), to.remote); ok && queue == 3 {
				suit++
			}
			must(t, h.close())
		}
		if suit < 17 { // without a search two or three of them
			t.Errorf("the answers to %d of 20 ports come in on the client's queue", suit)
		}
		d := &device{settings: settings{queues: []uint32{3}}}
		h, err := d.openSuitable(ifi, netip.IPv6Unspecified(), 0, to)
		must(t, err)
		return h.close()
	}))
}

// The Link where answers are expected goes first, and where nobody knows, each port has its turn.
func TestExpect(t *testing.T) {
	links := []*Link{{queue: 2}, {queue: 4}, {queue: 5}}
	make := func(s *card, number uint16) *port {
		d := &device{settings: settings{queues: []uint32{2, 4, 5}}, links: links}
		d.card.rss, d.card.fields = s.rss, s.fields
		p := &port{dev: d, local: netip.AddrPortFrom(netip.IPv6Unspecified(), number), source: ours}
		for _, l := range links {
			p.links = append(p.links, l)
		}
		p.expect(theirs)
		if len(p.links) != len(links) {
			t.Fatalf("%d links", len(p.links))
		}
		return p
	}
	known, unknown := hashed(6), &card{}
	for number := range uint16(50) {
		p := make(known, number)
		queue, _ := known.arrival(p.Local(), theirs)
		if first := p.links[0].(*Link).queue; first != queue && slices.Contains([]int{2, 4, 5}, queue) {
			t.Errorf("port %d: queue %d goes first, answers come on %d", number, first, queue)
		}
		if first := make(unknown, number).links[0]; first != links[number%3] {
			t.Errorf("port %d: queue %d goes first", number, first.(*Link).queue)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
