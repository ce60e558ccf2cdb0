package bpf

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/gopacket"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// traffic sends packets for ourPort and sees where they arrive.
type traffic struct {
	v      *vethPair
	xsk    *xsk
	kernel interface{ Read([]byte) (int, error) }
	sent   int
}

func newTraffic(t *testing.T, v *vethPair) *traffic {
	t.Helper()
	return &traffic{v: v, kernel: kernelSocket(t), xsk: boundXSK(t, v.index(), 0)}
}

// send sends one packet and waits until it is where it should be: at the AF_XDP socket, or at the kernel's.
func (tr *traffic) send(t *testing.T, toUs bool) {
	t.Helper()
	tr.sent++
	text := fmt.Sprintf("packet %2d of the dispatcher's test", tr.sent)
	frame := with(udp4(t), func(p *udpPacket) { p.payload = gopacket.Payload(text) }).bytes(t)
	tr.v.transmit(t, frame)
	if toUs {
		if got := tr.xsk.receive(t); !bytes.Equal(got, frame) {
			t.Fatalf("the AF_XDP socket got % x, want % x", got, frame)
		}
		return
	}
	buf := make([]byte, 2048)
	if n, err := tr.kernel.Read(buf); err != nil || string(buf[:n]) != text {
		t.Fatalf("the kernel's socket got %q, %v", buf[:n], err)
	}
}

// delta returns a function that tells how many packets a program of others counted since the last time.
func delta(t *testing.T, id ebpf.ProgramID) func() uint64 {
	last := seen(t, id)
	return func() uint64 {
		now := seen(t, id)
		d := now - last
		last = now
		return d
	}
}

// join attaches the steering program to the near end beside what is there, with ourPort open and, when there is one, the socket of queue 0.
func (s *shared) join(t *testing.T, tr *traffic, o Options) *Program {
	t.Helper()
	o.Dispatcher = true
	p := s.attach(t, o)
	if tr != nil {
		must(t, p.SetSocket(0, tr.xsk.fd))
	}
	return p
}

// TestDispatcherBesideOthers runs the steering program between programs that xdp-loader loads before and after it, and leaves them running.
func TestDispatcherBesideOthers(t *testing.T) {
	for _, mode := range []Mode{Native, Generic} {
		t.Run(mode.String(), func(t *testing.T) {
			s := newShared(t)
			flag := map[Mode]string{Native: "native", Generic: "skb"}[mode]
			tr := newTraffic(t, s.vethPair)
			s.load(t, "counting", "-m", flag)
			before := delta(t, s.expect(t, "counting")[0].id)

			p := s.join(t, tr, Options{})
			if p.Mode() != mode {
				t.Errorf("granted %v where the dispatcher is in %v mode", p.Mode(), mode)
			}
			s.expect(t, "counting fastrpc_steer")
			tr.send(t, true)
			if n := before(); n != 1 {
				t.Errorf("the program before ours saw %d packets, want 1", n)
			}

			s.load(t, "counting_too", "-m", flag, "-P", "60")
			behind := delta(t, s.expect(t, "counting fastrpc_steer counting_too")[2].id)
			tr.send(t, true)
			if a, b := before(), behind(); a != 1 || b != 0 {
				t.Errorf("of a packet of ours, the program before saw %d, and the one behind %d; want 1 and 0", a, b)
			}
			must(t, p.DenyPort(ourPort))
			tr.send(t, false)
			if a, b := before(), behind(); a != 1 || b != 1 {
				t.Errorf("of another packet, the program before saw %d, and the one behind %d; want 1 and 1", a, b)
			}
			c := counters(t, p)
			if c.Redirected != 2 || c.NotOurPort != 1 {
				t.Errorf("counters %+v, want 2 redirected and 1 for another port", c)
			}

			must(t, p.Close())
			s.expect(t, "counting counting_too")
			tr.send(t, false)
			if a, b := before(), behind(); a != 1 || b != 1 {
				t.Errorf("when we had left, the one program saw %d packets, and the other %d; want 1 and 1", a, b)
			}
			if strings.Contains(left(t), "fastrpc") || strings.Count(left(t), "dispatch-") != 1 {
				t.Errorf("left behind: %s", left(t))
			}
			xdpLoader(t, "unload", "near", "--all")
			s.clean(t)
			if left(t) != "" {
				t.Errorf("left behind: %s", left(t))
			}
		})
	}
}

// TestDispatcherFirst is there before others: xdp-loader joins it, and leaves it.
func TestDispatcherFirst(t *testing.T) {
	s := newShared(t)
	tr := newTraffic(t, s.vethPair)
	p := s.join(t, tr, Options{})
	if p.Mode() != Native || p.WhyGeneric() != nil {
		t.Errorf("granted %v: %v", p.Mode(), p.WhyGeneric())
	}
	s.expect(t, "fastrpc_steer")
	tr.send(t, true)
	s.load(t, "counting", "-P", "10")
	slots := s.expect(t, "counting fastrpc_steer")
	theirs := delta(t, slots[0].id)
	tr.send(t, true)
	if n := theirs(); n != 1 {
		t.Errorf("the other program saw %d packets, want 1", n)
	}
	xdpLoader(t, "unload", "near", "--id", fmt.Sprint(slots[0].id))
	s.expect(t, "fastrpc_steer")
	tr.send(t, true)
	must(t, p.Close())
	s.clean(t)
	if left(t) != "" {
		t.Errorf("left behind: %s", left(t))
	}
	tr.send(t, false)
}

// TestDispatcherTwoOfOurs has two steering programs on one interface: each takes its own packets and leaves the other's alone.
func TestDispatcherTwoOfOurs(t *testing.T) {
	s := newShared(t)
	tr := newTraffic(t, s.vethPair)
	p := s.join(t, tr, Options{})
	q := s.join(t, nil, Options{})
	must(t, q.DenyPort(ourPort))
	s.expect(t, "fastrpc_steer fastrpc_steer")
	tr.send(t, true)
	must(t, p.Close())
	tr.send(t, false)
	if c := counters(t, q); c.NotOurPort != 1 {
		t.Errorf("the other's counters: %+v; want one packet for another port", c)
	}
	s.expect(t, "fastrpc_steer")
}

// TestDispatcherAtOnce enters and leaves while xdp-loader does. Whoever is second builds upon what the first one made, and no program is lost.
func TestDispatcherAtOnce(t *testing.T) {
	s := newShared(t)
	s.load(t, "counting", "-P", "1") // stays
	stays := s.expect(t, "counting")[0].id
	loaded := 0
	while := func(ours func()) {
		t.Helper()
		theirs := exec.Command("xdp-loader", "load", "-n", "counting_too", "near", s.object)
		must(t, theirs.Start())
		ours()
		// libxdp fails when a dispatcher that it has seen is replaced before it has the lock: that is no failure of ours.
		if theirs.Wait() == nil {
			loaded++
		}
	}
	for range 4 {
		var p *Program
		while(func() { p = s.join(t, nil, Options{}) })
		if _, names := s.status(t); names != "counting"+strings.Repeat(" counting_too", loaded)+" fastrpc_steer" {
			t.Fatalf("with ours and %d of theirs, near runs %q", loaded, names)
		}
		while(func() { must(t, p.Close()) })
		if slots, names := s.status(t); names != "counting"+strings.Repeat(" counting_too", loaded) || slots[0].id != stays {
			t.Fatalf("without ours and with %d of theirs, near runs %q", loaded, names)
		}
	}
	t.Logf("xdp-loader could load %d of 8", loaded)
	xdpLoader(t, "unload", "near", "--all")
	s.clean(t)
	if strings.Contains(left(t), "fastrpc") {
		t.Errorf("left behind: %s", left(t))
	}
}

// TestDispatcherChangedMeanwhile has xdp-loader change the interface's program between our look at it and our swap: we begin again.
func TestDispatcherChangedMeanwhile(t *testing.T) {
	s := newShared(t)
	p := s.join(t, nil, Options{})
	looks := 0
	_, _, err := p.member.change(s.index(), Auto, func(members []member) []member { // without the lock, so that xdp-loader gets it
		if looks++; looks == 1 {
			s.load(t, "counting")
		}
		return members
	}, nil)
	if err != nil || looks != 2 {
		t.Errorf("looked %d times, %v; want 2", looks, err)
	}
	s.expect(t, "counting fastrpc_steer")
	if strings.Count(left(t), "dispatch-") != 1 {
		t.Errorf("left behind: %s", left(t))
	}
}

// TestDispatcherNewest enters a dispatcher of version 3, which stays one.
func TestDispatcherNewest(t *testing.T) {
	s := newShared(t)
	tr := newTraffic(t, s.vethPair)
	theirs := loadedDispatcher(t, configOf(dispatcherNewest, nil))
	must(t, netlink.LinkSetXdpFdWithFlags(s.near, theirs.FD(), unix.XDP_FLAGS_DRV_MODE))
	p := s.join(t, tr, Options{})
	tr.send(t, true)
	if c := s.running(t); c.Version != dispatcherNewest || c.Programs != 1 || c.RunPrios[0] != defaultPriority || c.DeviceBound != 0 {
		t.Errorf("near runs a dispatcher with %+v", c)
	}
	must(t, p.Close())
	s.clean(t)
	if left(t) != "" {
		t.Errorf("left behind: %s", left(t))
	}
}

// TestDispatcherFrags: a dispatcher takes packets of several buffers when all of its programs do, and keeps what it knows of them.
func TestDispatcherFrags(t *testing.T) {
	s := newShared(t)
	flags := func(step string, dispatcher uint8, programs ...uint32) {
		t.Helper()
		c := s.running(t)
		if int(c.Programs) != len(programs) || c.Frags != dispatcher {
			t.Errorf("%s: %d programs, frags %d; want %d and %d", step, c.Programs, c.Frags, len(programs), dispatcher)
		}
		for i, want := range programs {
			if c.ProgramFlags[i] != want {
				t.Errorf("%s: program %d has the flags %#x, want %#x", step, i, c.ProgramFlags[i], want)
			}
		}
	}
	const frags = unix.BPF_F_XDP_HAS_FRAGS
	p := s.join(t, nil, Options{MultiBuffer: true})
	flags("ours", 1, frags)
	s.load(t, "counting", "-P", "60")
	flags("and one of others without", 0, frags, 0)
	q := s.join(t, nil, Options{MultiBuffer: true})
	flags("and another of ours", 0, frags, frags, 0)
	xdpLoader(t, "unload", "near", "--id", fmt.Sprint(s.expect(t, "fastrpc_steer fastrpc_steer counting")[2].id))
	flags("theirs gone", 1, frags, frags)
	r := s.join(t, nil, Options{})
	flags("one of ours without", 0, frags, frags, 0)
	must(t, r.Close())
	flags("gone again", 1, frags, frags)
	must(t, p.Close())
	must(t, q.Close())

	// On an MTU that takes several buffers, programs that cannot are refused, and the dispatcher that was there stays.
	must(t, netlink.LinkSetMTU(s.near, 9000))
	must(t, netlink.LinkSetMTU(s.far, 9000))
	p = s.join(t, nil, Options{MultiBuffer: true, Mode: Native})
	id := s.expect(t, "fastrpc_steer")[0].id
	if _, err := Attach(s.index(), Options{Dispatcher: true}); !errors.Is(err, unix.ERANGE) || !containsAll(err, []string{"MTU, 9000"}) {
		t.Errorf("without multi-buffer: %v", err)
	}
	if out, err := exec.Command("xdp-loader", "load", "-n", "counting", "near", s.object).CombinedOutput(); err == nil {
		t.Errorf("xdp-loader was not refused: %s", out)
	}
	if now := s.expect(t, "fastrpc_steer"); now[0].id != id || strings.Count(left(t), "fastrpc") != 1 || strings.Count(left(t), "dispatch-") != 1 {
		t.Errorf("afterwards near runs %v, and there are %s", now, left(t))
	}
	must(t, p.Close())
	if left(t) != "" {
		t.Errorf("left behind: %s", left(t))
	}
}

// TestDispatcherChainCalls keeps what others asked for: the actions at which the next program is called, and the priorities.
func TestDispatcherChainCalls(t *testing.T) {
	s := newShared(t)
	s.load(t, "counting", "-P", "7", "-A", "XDP_DROP,XDP_TX")
	p := s.join(t, nil, Options{})
	c := s.running(t)
	const drop, pass, tx, empty = 1 << 1, 1 << 2, 1 << 3, 1 << 31
	if c.RunPrios[0] != 7 || c.ChainCallActions[0] != drop|tx|empty || c.RunPrios[1] != 50 || c.ChainCallActions[1] != pass|empty {
		t.Errorf("priorities %v, actions %#x", c.RunPrios[:2], c.ChainCallActions[:2])
	}
	must(t, p.Close())
	if c := s.running(t); c.RunPrios[0] != 7 || c.ChainCallActions[0] != drop|tx|empty {
		t.Errorf("when we had left: priority %v, actions %#x", c.RunPrios[0], c.ChainCallActions[0])
	}
}

// TestDispatcherSlotMayChangePackets has a program in a slot that moves the packet's start, which the kernel allows where the slot's own function
// says so, from Linux 6.13 on.
func TestDispatcherSlotMayChangePackets(t *testing.T) {
	needFreplace(t)
	target := loadedDispatcher(t, configOf(dispatcherVersion, make([]member, dispatcherSlots)))
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(countingObject))
	must(t, err)
	for slot := range dispatcherSlots {
		changing := spec.Programs["changing"]
		changing.Type, changing.AttachType = ebpf.Extension, ebpf.AttachNone
		changing.AttachTarget, changing.AttachTo = target, fmt.Sprintf("prog%d", slot)
		p, err := ebpf.NewProgram(changing)
		if err != nil {
			t.Fatalf("slot %d: %v", slot, err)
		}
		p.Close()
	}
}

// TestDispatcherOrder orders programs as libxdp does: by priority, then by name, and those that are there already first.
func TestDispatcherOrder(t *testing.T) {
	for _, c := range []struct{ there, want string }{
		{"", "m50"},
		{"a50", "a50 m50"},
		{"z50", "m50 z50"},
		{"m50", "m50 m50"},
		{"z10 a50 n50 a60", "z10 a50 m50 n50 a60"},
		{"a51", "m50 a51"},
	} {
		var members []member
		for _, word := range strings.Fields(c.there) {
			m := member{name: word[:1], id: 1}
			fmt.Sscan(word[1:], &m.priority)
			members = append(members, m)
		}
		var got []string
		for i, m := range insert(members, member{name: "m", priority: 50}) {
			got = append(got, fmt.Sprintf("%s%d", m.name, m.priority))
			if c.there == "m50" && i == 0 && m.id == 0 {
				t.Error("a new program comes before its equal")
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("into %q: %q, want %q", c.there, got, c.want)
		}
	}
}
