// The peer asavie is github.com/asavie/xdp. Its flood is what its examples sendudp and dumpframes do, with its default options and Poll; its round trip
// spins on the rings, as all do here. Its program sends every packet of the queue to the socket.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/asavie/xdp"
	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/bench"
	"github.com/fastrpc/fastrpc/bench/peers/internal/peer"
	"github.com/fastrpc/fastrpc/bench/result"
	"github.com/fastrpc/fastrpc/internal/netpath"
)

type asavie struct{}

func main() { peer.Main(asavie{}) }

func (asavie) Name() string { return "asavie" }
func (asavie) Bypass() bool { return true }

func (asavie) Has(workload string) bool { return workload == bench.Flood || workload == bench.Latency }

const header = netpath.EthernetBytes + netpath.IPv4Bytes + netpath.UDPBytes

// asavieSocket is a socket and its program.
type asavieSocket struct {
	*xdp.Socket
	prog     *xdp.Program
	ifi      *net.Interface
	flood    bool
	payload  int
	question int
}

func openAsavie(e *bench.Endpoint) (s *asavieSocket, err error) {
	if e.Workload == bench.Flood && e.Size > peer.MostBytes {
		return nil, fmt.Errorf("asavie: packets of %d bytes; the library has no multi-buffer", e.Size)
	}
	s = &asavieSocket{flood: e.Workload == bench.Flood, payload: peer.PacketPayload(e)}
	s.question = bench.QuestionBytes(s.payload)
	if s.ifi, err = net.InterfaceByName(e.Interface); err != nil {
		return nil, err
	}
	if s.prog, err = xdp.NewProgram(1); err != nil {
		return nil, err
	}
	if err = s.prog.Attach(s.ifi.Index); err != nil {
		return nil, err
	}
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) { // the kernel frees a queue some time after its socket was closed
		s.Socket, err = xdp.NewSocket(s.ifi.Index, 0, nil)
		if err == nil || !strings.Contains(err.Error(), unix.EBUSY.Error()) || time.Since(begin) > 2*time.Second {
			break
		}
	}
	if err == nil {
		err = s.prog.Register(0, s.FD())
	}
	if err != nil {
		return nil, errors.Join(err, s.prog.Detach(s.ifi.Index))
	}
	s.Fill(s.GetDescs(s.NumFreeFillSlots()))
	return s, nil
}

func (s *asavieSocket) Close() error {
	return errors.Join(s.prog.Detach(s.ifi.Index), s.Socket.Close(), s.prog.Close())
}

// refill takes back what was sent and gives the kernel frames to receive into.
func (s *asavieSocket) refill() {
	if n := s.NumCompleted(); n > 0 {
		s.Complete(n)
	}
	if n := s.NumFreeFillSlots(); n > 0 {
		s.Fill(s.GetDescs(n))
	}
}

// pollMillis bounds a Poll, so that the end is seen.
const pollMillis = 10

// turns is how many turns a server makes before it looks whether it shall end.
func (s *asavieSocket) turns() int {
	if s.flood {
		return 1
	}
	return 1 << 14
}

// isOurs tells an echo from what the kernel has to say to its neighbours.
func (s *asavieSocket) isOurs(frame []byte) bool {
	return len(frame) >= header+s.payload && frame[12] == 8 && frame[13] == 0 && frame[23] == unix.IPPROTO_UDP
}

func (asavie) Serve(ctx context.Context, e bench.Endpoint, ready func(bench.Ready)) error {
	s, err := openAsavie(&e)
	if err != nil {
		return err
	}
	ready(bench.Ready{Addr: netip.AddrPortFrom(e.Local.Addr(), bench.RingServerPort), XDPMode: "native", ZeroCopy: "no", BusyPoll: "no"})
	for packets := uint64(0); ctx.Err() == nil; {
		for range s.turns() {
			n := s.NumReceived()
			if s.flood {
				if n, _, err = s.Poll(pollMillis); err != nil {
					return errors.Join(err, s.Close())
				}
			}
			if n == 0 {
				continue
			}
			descs := s.Receive(n)
			back := descs[:0]
			for _, d := range descs {
				switch frame := s.GetFrame(d); {
				case !s.flood && !s.isOurs(frame):
				case !s.flood:
					bench.TurnAround(frame)
					back = append(back, d)
				case len(frame) == s.question:
					bench.Answer(frame, packets)
					back = append(back, d)
				default:
					packets++
				}
			}
			if len(back) > 0 {
				s.Transmit(back)
			}
			s.refill()
		}
	}
	return s.Close()
}

func (asavie) Connect(_ context.Context, e bench.Endpoint) (bench.Caller, error) {
	s, err := openAsavie(&e)
	if err != nil {
		return nil, err
	}
	h, err := bench.HeaderOf(&e, s.ifi.HardwareAddr)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	c := &asavieCaller{asavieSocket: s, packet: make([]byte, h.Len()+s.payload), ask: make([]byte, s.question)}
	h.Put(c.packet, 0)
	h.Put(c.ask, 0)
	if s.flood {
		return asavieFlood{c}, nil
	}
	return c, nil
}

type asavieCaller struct {
	*asavieSocket
	packet, ask []byte // with headers
	number      uint64
}

// send copies a packet into a frame and sends it.
func (c *asavieCaller) send(packet []byte) error {
	descs := c.GetDescs(1)
	if len(descs) == 0 {
		return errors.New("asavie: no frame to send from")
	}
	descs[0].Len = uint32(copy(c.GetFrame(descs[0]), packet))
	if c.Transmit(descs) != 1 {
		return errors.New("asavie: the TX ring is full")
	}
	return nil
}

const asavieLimit = 5 * time.Second

func (c *asavieCaller) Call(payload []byte) error {
	copy(c.packet[header:], payload)
	if err := c.send(c.packet); err != nil {
		return err
	}
	c.refill()
	begin := time.Now()
	for idle := 1; ; idle++ {
		if idle%(1<<14) == 0 && time.Since(begin) > asavieLimit {
			return errors.New("asavie: no echo")
		}
		descs := c.Receive(1)
		if len(descs) == 0 {
			continue
		}
		got := c.GetFrame(descs[0])
		ours := c.isOurs(got)
		if ours && !bytes.Equal(got[header:len(c.packet)], payload) {
			return bench.ErrEcho
		}
		c.Fill(descs)
		if ours {
			return nil
		}
	}
}

// asavieFlood measures a flood instead of calls.
type asavieFlood struct{ *asavieCaller }

func (c asavieFlood) Measure(_ int, d time.Duration, _ *bench.Recorder) (r result.Round, err error) {
	packets, at, err := c.count()
	if err != nil {
		return r, err
	}
	for begin := time.Now(); time.Since(begin) < d; {
		descs := c.GetDescs(c.NumFreeTxSlots())
		for i := range descs {
			descs[i].Len = uint32(copy(c.GetFrame(descs[i]), c.packet))
		}
		c.Transmit(descs)
		if _, _, err := c.Poll(pollMillis); err != nil {
			return r, err
		}
	}
	after, end, err := c.count()
	if err != nil {
		return r, err
	}
	r.Ops, r.Seconds = int64(after-packets), (end - at).Seconds()
	r.PerSec = float64(r.Ops) / r.Seconds
	r.SetBits(r.Ops * int64(len(c.packet)-netpath.EthernetBytes))
	return r, nil
}

func (c *asavieCaller) count() (packets uint64, at time.Duration, err error) {
	for begin := time.Now(); time.Since(begin) < asavieLimit; {
		c.refill()
		c.number++
		bench.PutQuestion(c.ask, c.number)
		if err := c.send(c.ask); err != nil {
			return 0, 0, err
		}
		for asked := time.Now(); time.Since(asked) < 5*time.Millisecond; {
			for _, d := range c.Receive(c.NumReceived()) {
				if frame := c.GetFrame(d); len(frame) == c.question {
					if packets, at, ok := bench.ReadAnswer(frame, c.number); ok {
						return packets, at, nil
					}
				}
			}
			c.refill()
		}
	}
	return 0, 0, errors.New("asavie: the server does not answer for its count")
}
