package bpf

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/google/gopacket"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestSteering sends packets over a veth pair while the rules change, and sees each arrive where the rules say: at the AF_XDP socket, whole,
// or at the kernel's socket. Neither receives anything else.
func TestSteering(t *testing.T) {
	for _, mode := range []Mode{Native, Generic} {
		t.Run(mode.String(), func(t *testing.T) {
			v := newVethPair(t, 1)
			kernel := kernelSocket(t)
			p := v.attach(t, Options{Mode: mode})
			var ours *xsk
			sent := 0
			expect := func(toUs bool, step string) {
				t.Helper()
				sent++
				text := fmt.Sprintf("packet %2d of the steering test: %s", sent, step)
				frame := with(udp4(t), func(p *udpPacket) { p.payload = gopacket.Payload(text) }).bytes(t)
				v.transmit(t, frame)
				if toUs {
					if got := ours.receive(t); !bytes.Equal(got, frame) {
						t.Fatalf("%s: the AF_XDP socket got % x, want % x", step, got, frame)
					}
					return
				}
				buf := make([]byte, 2048)
				n, err := kernel.Read(buf)
				if err != nil || string(buf[:n]) != text {
					t.Fatalf("%s: the kernel's socket got %q, %v", step, buf[:n], err)
				}
			}

			expect(false, "no socket yet")
			ours = boundXSK(t, v.index(), 0)
			must(t, p.SetSocket(0, ours.fd))
			expect(true, "a socket")
			must(t, p.DenyPort(ourPort))
			expect(false, "port denied")
			must(t, p.AllowPort(ourPort))
			expect(true, "port allowed")
			must(t, p.SetPrefixes(prefixes("198.18.1.0/24")))
			expect(false, "another prefix")
			must(t, p.SetPrefixes(prefixes("198.18.0.0/24")))
			expect(true, "its prefix")
			must(t, p.SetPrefixes(nil))
			expect(true, "any prefix")
			must(t, p.ClearSocket(0))
			expect(false, "socket cleared")
			must(t, p.SetSocket(0, ours.fd))
			expect(true, "socket set again")

			c := counters(t, p)
			if c.Redirected != 5 || c.NoSocket != 2 || c.NotOurPort != 1 || c.Denied != 1 {
				t.Errorf("counters %+v, want 5 redirected, 2 without a socket, 1 of a port denied and 1 of a prefix denied", c)
			}
			must(t, p.Close())
			v.clean(t)
			expect(false, "closed")
		})
	}
}

func TestAttach(t *testing.T) {
	for _, c := range []struct{ asked, want Mode }{{Auto, Native}, {Native, Native}, {Generic, Generic}} {
		t.Run(c.asked.String(), func(t *testing.T) {
			v := newVethPair(t, 1)
			p := v.attach(t, Options{Mode: c.asked})
			if p.Mode() != c.want || p.WhyGeneric() != nil {
				t.Errorf("granted %v (%v), want %v", p.Mode(), p.WhyGeneric(), c.want)
			}
			a, ok, err := Attached(v.index())
			if err != nil || !ok || a.Mode != c.want || a.Program != "fastrpc_steer" || a.LinkID == 0 {
				t.Errorf("attached is %+v, %v, %v", a, ok, err)
			}
			must(t, p.Close())
			v.clean(t)
			must(t, p.Close())
			if err := p.AllowPort(1); !errors.Is(err, os.ErrClosed) {
				t.Errorf("AllowPort after Close: %v", err)
			}
			if err := p.SetSocket(0, 0); !errors.Is(err, os.ErrClosed) {
				t.Errorf("SetSocket after Close: %v", err)
			}
			if err := p.SetPrefixes(nil); !errors.Is(err, os.ErrClosed) {
				t.Errorf("SetPrefixes after Close: %v", err)
			}
			if _, err := p.Counters(); !errors.Is(err, os.ErrClosed) {
				t.Errorf("Counters after Close: %v", err)
			}
		})
	}
}

// TestNeverTakesOver finds another's program on the interface, however it was attached and whatever is asked for, and leaves it there.
func TestNeverTakesOver(t *testing.T) {
	for _, theirs := range []Mode{Native, Generic} {
		for _, byLink := range []bool{true, false} {
			for _, asked := range []Mode{Auto, Native, Generic} {
				t.Run(fmt.Sprintf("%v, bpf_link %v, asked for %v", theirs, byLink, asked), func(t *testing.T) {
					v := newVethPair(t, 1)
					prog := someoneElse(t)
					flags := link.XDPDriverMode
					if theirs == Generic {
						flags = link.XDPGenericMode
					}
					want := Attachment{Interface: "near", Program: "someone_else", Mode: theirs}
					if byLink {
						l, err := link.AttachXDP(link.XDPOptions{Program: prog, Interface: v.index(), Flags: flags})
						must(t, err)
						t.Cleanup(func() { l.Close() })
						want.LinkID = linkID(t, l)
					} else {
						must(t, netlink.LinkSetXdpFdWithFlags(v.near, prog.FD(), int(flags)))
					}
					want.ProgramID = programID(t, prog)

					_, err := Attach(v.index(), Options{Mode: asked})
					var taken *AttachedError
					if !errors.As(err, &taken) || taken.Attachment != want {
						t.Fatalf("Attach: %v, want an AttachedError of %+v", err, want)
					}
					if strings.Count(err.Error(), "already runs") != 1 {
						t.Errorf("%q says it more than once", err)
					}
					command := fmt.Sprintf("'bpftool link detach id %d'", want.LinkID)
					if !byLink {
						command = map[Mode]string{Native: "'ip link set dev near xdpdrv off'", Generic: "'ip link set dev near xdpgeneric off'"}[theirs]
					}
					for _, part := range []string{"near", `"someone_else"`, fmt.Sprintf("id %d", want.ProgramID), command} {
						if !strings.Contains(err.Error(), part) {
							t.Errorf("%q does not say %s", err, part)
						}
					}
					if a, _, err := Attached(v.index()); err != nil || a != want {
						t.Errorf("afterwards attached is %+v, %v", a, err)
					}
				})
			}
		}
	}
}

// TestMasterHasProgram attaches to a port of a bridge that runs a program: the kernel refuses (EEXIST), and the bridge is named.
func TestMasterHasProgram(t *testing.T) {
	v := newVethPair(t, 1)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "bridge"
	must(t, netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}))
	bridge := byName(t, "bridge")
	must(t, netlink.LinkSetMaster(v.near, bridge))
	l, err := link.AttachXDP(link.XDPOptions{Program: someoneElse(t), Interface: bridge.Attrs().Index, Flags: link.XDPGenericMode})
	must(t, err)
	defer l.Close()
	_, err = Attach(v.index(), Options{})
	var taken *AttachedError
	if !errors.As(err, &taken) || taken.Interface != "bridge" || taken.Program != "someone_else" {
		t.Fatalf("Attach: %v", err)
	}
}

// TestNativeRefused makes a veth pair refuse native mode: Auto takes generic and says why, Native fails with the same words.
func TestNativeRefused(t *testing.T) {
	refused := func(t *testing.T, ifindex int, errno error, words ...string) {
		t.Helper()
		if _, err := Attach(ifindex, Options{Mode: Native}); !errors.Is(err, errno) || !containsAll(err, words) {
			t.Fatalf("native: %v; want %v and %q", err, errno, words)
		}
		p, err := Attach(ifindex, Options{})
		must(t, err)
		defer p.Close()
		if p.Mode() != Generic || !errors.Is(p.WhyGeneric(), errno) || !containsAll(p.WhyGeneric(), words) {
			t.Errorf("auto: granted %v because %v; want generic because of %v and %q", p.Mode(), p.WhyGeneric(), errno, words)
		}
	}
	t.Run("MTU", func(t *testing.T) {
		v := newVethPair(t, 1)
		must(t, netlink.LinkSetMTU(v.near, 9000))
		must(t, netlink.LinkSetMTU(v.far, 9000))
		refused(t, v.index(), unix.ERANGE, "MTU, 9000", "ip link set dev near mtu")
	})
	t.Run("queues", func(t *testing.T) {
		v := newVethPair(t, 1)
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.NumRxQueues, attrs.NumTxQueues = "narrow", 1, 1
		must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "wide", PeerNumTxQueues: 4, PeerNumRxQueues: 4}))
		must(t, netlink.LinkSetUp(byName(t, "narrow")))
		must(t, netlink.LinkSetUp(byName(t, "wide")))
		refused(t, byName(t, "narrow").Attrs().Index, unix.ENOSPC, "queues")
		v.clean(t)
	})
	t.Run("driver", func(t *testing.T) {
		inNamespace(t)
		refused(t, 1, unix.EOPNOTSUPP, "no native XDP") // lo
	})
}

// TestQueues has two of them: each has its own socket, and one beyond Options.Queues has none.
func TestQueues(t *testing.T) {
	v := newVethPair(t, 2)
	on := func(p *Program, queue uint32) (uint32, string) {
		before := counters(t, p)
		packet := udp4(t).bytes(t)
		action, err := p.objs.FastrpcSteer.Run(&ebpf.RunOptions{Data: packet, Context: xdpMD{DataEnd: uint32(len(packet)),
			IngressIfindex: uint32(v.index()), RxQueueIndex: queue}})
		must(t, err)
		return action, moved(t, before, counters(t, p))
	}
	p := v.attach(t, Options{})
	if p.Queues() != 2 {
		t.Fatalf("%d queues by default, want the interface's 2", p.Queues())
	}
	must(t, p.SetSocket(1, boundXSK(t, v.index(), 1).fd))
	for queue, want := range []string{"NoSocket", "Redirected"} {
		if action, got := on(p, uint32(queue)); got != want || (action == xdpRedirect) != (want == "Redirected") {
			t.Errorf("queue %d: action %d, %s; want %s", queue, action, got, want)
		}
	}
	for _, queue := range []int{-1, 2} {
		if err := p.SetSocket(queue, 0); err == nil || !strings.Contains(err.Error(), "queues 0 to 1") {
			t.Errorf("SetSocket(%d): %v", queue, err)
		}
		if err := p.ClearSocket(queue); err == nil {
			t.Errorf("ClearSocket(%d) succeeded", queue)
		}
	}
	if err := p.SetSocket(0, v.send); err == nil || !strings.Contains(err.Error(), "AF_XDP") {
		t.Errorf("a socket of another family was taken: %v", err)
	}
	must(t, p.Close())

	p = v.attach(t, Options{Queues: 1})
	must(t, p.SetSocket(0, boundXSK(t, v.index(), 0).fd))
	if action, got := on(p, 1); action != xdpPass || got != "NotOurPort" {
		t.Errorf("queue 1 of a program for one: action %d, %s", action, got)
	}
}

func TestAttachRefusesArguments(t *testing.T) {
	v := newVethPair(t, 1)
	if _, err := Attach(4711, Options{}); err == nil || !strings.Contains(err.Error(), "no interface 4711") {
		t.Errorf("an interface that is not there: %v", err)
	}
	if _, err := Attach(v.index(), Options{Queues: -1}); err == nil {
		t.Error("-1 queues were taken")
	}
	if _, err := Attach(v.index(), Options{Mode: Generic + 1}); err == nil {
		t.Error("an unknown mode was taken")
	}
	if _, _, err := Attached(4711); err == nil {
		t.Error("Attached found an interface that is not there")
	}
	v.clean(t)
}

// xdpMD is the kernel's struct xdp_md.
type xdpMD struct{ Data, DataEnd, DataMeta, IngressIfindex, RxQueueIndex, EgressIfindex uint32 }

func linkID(t *testing.T, l link.Link) uint32 {
	t.Helper()
	info, err := l.Info()
	must(t, err)
	return uint32(info.ID)
}

func programID(t *testing.T, p *ebpf.Program) uint32 {
	t.Helper()
	info, err := p.Info()
	must(t, err)
	id, ok := info.ID()
	if !ok {
		t.Fatal("the kernel gives the program no id")
	}
	return uint32(id)
}

func containsAll(err error, words []string) bool {
	return err != nil && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(err.Error(), w) })
}
