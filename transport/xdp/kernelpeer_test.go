package xdp_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/lab"
	"github.com/fastrpc/fastrpc/internal/lab/labtest"
	"github.com/fastrpc/fastrpc/internal/netpath"
	"github.com/fastrpc/fastrpc/transport"
)

func random(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

// readFrom receives one packet on a kernel socket.
func readFrom(t testing.TB, c *net.UDPConn) ([]byte, netip.AddrPort) {
	t.Helper()
	buf := make([]byte, 65536)
	must(t, c.SetReadDeadline(time.Now().Add(patience)))
	n, from, err := c.ReadFromUDPAddrPort(buf)
	must(t, err)
	return buf[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
}

// A kernel socket and a Link talk to each other, whoever begins.
func TestKernelPeer(t *testing.T) {
	for settings, mtu := range map[string]int{
		"mode=native": 1500, "mode=generic": 1500, "zerocopy=off&chunk=4096&busypoll=20&frames=64": 1500,
		"mode=native&frames=128": 9000, "mode=generic&frames=128": 9000, "chunk=2048": 4000, "chunk=4096": 3600, "mode=native&chunk=4096": 3200,
	} {
		cable := labtest.New(t, lab.Config{Queues: 1, MTU: mtu})
		for family, ip := range families(cable) {
			t.Run(fmt.Sprintf("%s/%s/MTU %d", settings, family, mtu), func(t *testing.T) {
				kernel := addrPort(ip.client, 9001)
				c := listenKernel(t, cable.Client(), kernel)

				t.Run("kernel begins", func(t *testing.T) {
					at := addrPort(ip.server, 9002)
					l := listen(t, cable.Server(), "xdp://"+at.String()+"?"+settings).Links()[0]
					for _, size := range []int{0, 1, 17, 64, 1400, netpath.MaxPayload(mtu, ip.server.Is6())} {
						sent := random(size)
						_, err := c.WriteToUDPAddrPort(sent, at)
						must(t, err)
						f, got := receive(t, l)
						if !bytes.Equal(got, sent) {
							t.Fatalf("%d bytes arrived otherwise, as %d", size, len(got))
						}
						if f.Path.Remote() != kernel || f.Path.Local() != at {
							t.Fatalf("received from %v at %v", f.Path.Remote(), f.Path.Local())
						}
						answer := random(size - size/3)
						send(t, l, f.Path, answer)
						back, from := readFrom(t, c)
						if !bytes.Equal(back, answer) || from != at {
							t.Fatalf("%d bytes came back from %v as %d", len(answer), from, len(back))
						}
					}
					if s := stats(l); s.ViaKernel != 0 || s.Malformed != 0 || s.Received != 6 || s.Sent != 6 {
						t.Errorf("%+v", s)
					}
				})
				t.Run("Link begins", func(t *testing.T) {
					p := dial(t, cable.Server(), kernel, "?"+settings)
					l := p.Links()[0]
					path := resolve(t, l, p.Local(), kernel)
					for _, size := range []int{0, 1, 64, int(path.MTU)} {
						sent := random(size)
						send(t, l, path, sent)
						got, from := readFrom(t, c)
						if !bytes.Equal(got, sent) || from != p.Local() {
							t.Fatalf("%d bytes from %v arrived as %d from %v", size, p.Local(), len(got), from)
						}
						_, err := c.WriteToUDPAddrPort(got, from)
						must(t, err)
						if _, back := receive(t, l); !bytes.Equal(back, sent) {
							t.Fatalf("%d bytes came back as %d", size, len(back))
						}
					}
				})
			})
		}
	}
}

// A tagged packet arrives, and the answer carries the tag. The peer is a packet socket, which needs no VLAN of the kernel's.
func TestVLANTag(t *testing.T) {
	cable := labtest.New(t, lab.Config{Queues: 1})
	const id = 5
	for family, ip := range families(cable) {
		t.Run(family, func(t *testing.T) {
			kernel, at := addrPort(ip.client, 9001), addrPort(ip.server, 9002)
			l := listen(t, cable.Server(), "xdp://"+at.String()).Links()[0]
			peer := openPacketSocket(t, cable.Client())
			header, err := netpath.MakeHeader(netpath.Flow{
				SrcMAC: [6]byte(cable.Client().MAC), DstMAC: [6]byte(cable.Server().MAC), VLAN: id,
				SrcIP: ip.client.As16(), DstIP: ip.server.As16(), SrcPort: kernel.Port(), DstPort: at.Port(),
			})
			must(t, err)
			packet := append(make([]byte, header.Len()), random(100)...)
			header.Put(packet, 0)
			must(t, unix.Sendto(peer, packet, 0, &unix.SockaddrLinklayer{Ifindex: cable.Client().Ifindex}))

			f, got := receive(t, l)
			if !bytes.Equal(got, packet[header.Len():]) || f.Path.Remote() != kernel || f.Path.Local() != at {
				t.Fatalf("%d bytes from %v at %v", len(got), f.Path.Remote(), f.Path.Local())
			}
			answer := random(50)
			send(t, l, f.Path, answer)
			for {
				back, tag := readPacket(t, peer)
				var p netpath.Parsed
				if netpath.Parse(back, &p) != nil || p.SrcPort != at.Port() {
					continue // the kernel's own traffic, or what we sent
				}
				if !bytes.Equal(back[p.Offset:p.Offset+p.Bytes], answer) || tag != id {
					t.Fatalf("%d bytes came back with tag %d", p.Bytes, tag)
				}
				break
			}
		})
	}
}

// openPacketSocket opens an AF_PACKET socket that tells the tags which the kernel has taken off.
func openPacketSocket(t testing.TB, h lab.Host) (fd int) {
	t.Helper()
	must(t, h.Do(func() (err error) {
		all := uint16(unix.ETH_P_ALL)<<8 | uint16(unix.ETH_P_ALL)>>8
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(all)); err != nil {
			return err
		}
		t.Cleanup(func() { unix.Close(fd) })
		limit := unix.NsecToTimeval(int64(patience))
		return errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1),
			unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit),
			unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: h.Ifindex, Protocol: all}),
		)
	}))
	return fd
}

func readPacket(t testing.TB, fd int) (packet []byte, tag uint16) {
	t.Helper()
	packet = make([]byte, 4096)
	control := make([]byte, 256)
	n, controlBytes, _, _, err := unix.Recvmsg(fd, packet, control, 0)
	must(t, err)
	messages, err := unix.ParseSocketControlMessage(control[:controlBytes])
	must(t, err)
	for _, m := range messages {
		if m.Header.Level == unix.SOL_PACKET && m.Header.Type == unix.PACKET_AUXDATA {
			tag = binary.NativeEndian.Uint16(m.Data[16:]) // struct tpacket_auxdata, tp_vlan_tci
		}
	}
	return packet[:n], tag
}

// A datagram in fragments is put together by the kernel, arrives through its socket, and so does the answer.
func TestFragments(t *testing.T) {
	cable := labtest.New(t, lab.Config{Queues: 1})
	for family, ip := range families(cable) {
		t.Run(family, func(t *testing.T) {
			kernel, at := addrPort(ip.client, 9001), addrPort(ip.server, 9002)
			c := listenKernel(t, cable.Client(), kernel)
			l := listen(t, cable.Server(), "xdp://"+at.String()).Links()[0]

			large := random(1800) // more than the cable's MTU, less than a frame
			_, err := c.WriteToUDPAddrPort(large, at)
			must(t, err)
			f, got := receive(t, l)
			if !bytes.Equal(got, large) || f.Path.Remote() != kernel || f.Path.Local() != at {
				t.Fatalf("%d bytes from %v at %v", len(got), f.Path.Remote(), f.Path.Local())
			}
			sendECN(t, l, f.Path, large[:int(f.Path.MTU)], 2)
			if back, from := readFrom(t, c); !bytes.Equal(back, large[:int(f.Path.MTU)]) || from != at {
				t.Fatalf("%d bytes came back from %v", len(back), from)
			}
			if s := stats(l); s.ViaKernel != 1 || s.SentViaKernel != 1 || s.Steering.Fragment != 2 || s.Received != 0 {
				t.Errorf("%+v", s)
			}

			_, err = c.WriteToUDPAddrPort(random(5000), at) // more than a frame
			must(t, err)
			small := random(10)
			_, err = c.WriteToUDPAddrPort(random(1801), at)
			must(t, err)
			receive(t, l)
			_, err = c.WriteToUDPAddrPort(small, at)
			must(t, err)
			if _, got := receive(t, l); !bytes.Equal(got, small) {
				t.Errorf("after a datagram that is too long came %d bytes", len(got))
			}
			if s := stats(l); s.TooLong != 1 || s.ViaKernel != 2 {
				t.Errorf("%+v", s)
			}
			if c := l.Counts(); c.Borrowed != 0 {
				t.Errorf("%+v", c)
			}
		})
	}
}

// Clients on the server's own host come over lo, through the kernel's socket.
func TestLocalSender(t *testing.T) {
	cable := labtest.New(t, lab.Config{Queues: 1})
	for family, ip := range families(cable) {
		t.Run(family, func(t *testing.T) {
			at := addrPort(ip.server, 9002)
			for _, target := range []string{"xdp://" + at.String(), "xdp://" + cable.Server().Interface + ":9002"} {
				p, err := tryListen(t, cable.Server(), target)
				must(t, err)
				l := p.Links()[0]
				c := listenKernel(t, cable.Server(), addrPort(ip.server, 0))
				for range 3 {
					sent := random(64)
					_, err = c.WriteToUDPAddrPort(sent, at)
					must(t, err)
					f, got := receive(t, l)
					if !bytes.Equal(got, sent) {
						t.Fatalf("%d bytes came", len(got))
					}
					send(t, l, f.Path, sent)
					if back, from := readFrom(t, c); !bytes.Equal(back, sent) || from != at {
						t.Fatalf("%d bytes came back from %v", len(back), from)
					}
				}
				if s := stats(l); s.ViaKernel != 3 || s.SentViaKernel != 3 {
					t.Errorf("%+v", s)
				}
				closePort(t, p)
			}
		})
	}
}

// Polling, without a Wait that would see it, finds what the kernel's socket has.
func TestKernelSocketIsPolled(t *testing.T) {
	cable := labtest.New(t, lab.Config{Queues: 1})
	at := addrPort(cable.Server().IPv4, 9002)
	l := listen(t, cable.Server(), "xdp://"+at.String()).Links()[0]
	c := listenKernel(t, cable.Server(), addrPort(cable.Server().IPv4, 0))
	_, err := c.WriteToUDPAddrPort(random(64), at)
	must(t, err)
	var fs [4]transport.Frame
	for until := transport.Now().Add(patience); transport.Now() < until; {
		n, err := l.Recv(fs[:])
		must(t, err)
		if l.Free(fs[:n]); n > 0 {
			return
		}
	}
	t.Fatal("the packet was not seen")
}

// A refused port is an event, on a Link that only polls as well.
func TestUnreachable(t *testing.T) {
	cable := labtest.New(t, lab.Config{Queues: 1})
	for family, ip := range families(cable) {
		t.Run(family, func(t *testing.T) {
			remote := addrPort(ip.server, 9999) // nobody is there
			p := dial(t, cable.Client(), remote, "")
			l := p.Links()[0]
			send(t, l, resolve(t, l, p.Local(), remote), random(64))
			e := event(t, l, transport.Unreachable)
			if e.Path.Remote() != remote || e.Path.Local() != p.Local() || e.Err == nil {
				t.Errorf("event of %v at %v: %v", e.Path.Remote(), e.Path.Local(), e.Err)
			}
		})
	}
}

// ECN bits arrive from and at kernel sockets' packets the same on both ways.
func TestECNViaKernel(t *testing.T) {
	cable := labtest.New(t, lab.Config{Queues: 1})
	for family, ip := range families(cable) {
		t.Run(family, func(t *testing.T) {
			at := addrPort(ip.server, 9002)
			server := listen(t, cable.Server(), "xdp://"+at.String()).Links()[0]
			p := dial(t, cable.Client(), at, "")
			client := p.Links()[0]
			path := resolve(t, client, p.Local(), at)
			for ecn := range uint8(4) {
				sendECN(t, client, path, []byte{1}, ecn)
				if f, _ := receive(t, server); f.ECN != ecn {
					t.Errorf("ECN %d arrived as %d", ecn, f.ECN)
				}
			}
		})
	}
}
