package stamp

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
)

// A Side is the stamps of one process. Its memory is made at once; recording takes none, and no lock.
//
// What records is told apart by its owner: the caller or the handler, of which there is one at a time, by [Side.Add]; and whoever polls the
// links, through [Side.Scheme]. [Side.Events] is called when both have ended.
type Side struct {
	on    atomic.Bool
	least int // bytes of a packet that counts

	calls, links log
	kernel       *kernel
	each         int

	schemes map[string]string
}

// headerBytes are the least that stand before a packet's payload on the wire: Ethernet, IPv4, UDP.
const headerBytes = 14 + 20 + 8

// New makes the memory for that many calls, whose packets have at least so many bytes behind the UDP or TCP header: what is shorter, such as an
// acknowledgement or a heartbeat, is left out.
func New(calls, least int) *Side {
	const eachLink, eachCall = 3, 3 // stamps
	calls += calls / 4              // room for packets that come twice
	return &Side{calls: newLog(eachCall * calls), links: newLog(eachLink * calls), each: calls, least: least, schemes: map[string]string{}}
}

// Start begins to record. In the kernel it stamps the packets of an interface of the calling thread's network namespace: those of AF_XDP sockets
// that are open already, where xdp is set, or those of the kernel's sockets; 0 stands for no interface. It returns why some of these stamps
// will be missing.
func (s *Side) Start(ifindex int, xdp bool) (missing []string, err error) {
	if ifindex != 0 {
		if s.kernel != nil {
			return nil, errors.New("stamp: Start was called twice")
		}
		if s.kernel, missing, err = attachKernel(ifindex, xdp, s.each); err != nil {
			return nil, err
		}
	}
	s.on.Store(true)
	return missing, nil
}

// Stop ends the recording, from any goroutine.
func (s *Side) Stop() error {
	s.on.Store(false)
	if s.kernel == nil {
		return nil
	}
	return s.kernel.detach()
}

// On tells whether stamps are to be recorded.
func (s *Side) On() bool { return s.on.Load() }

// Add records a stamp of the caller or of the handler.
func (s *Side) Add(kind Kind, at int64, number uint32) {
	s.calls.add(Event{At: at, Number: number, Kind: kind})
}

// Packet records a stamp of whoever uses a socket.
func (s *Side) Packet(kind Kind, at int64, bytes int) {
	if bytes >= s.least {
		s.links.add(Event{At: at, Number: uint32(bytes), Kind: kind})
	}
}

// Events gives all stamps in the order of time. Who records has ended: the sockets are closed.
func (s *Side) Events() ([]Event, error) {
	lost := s.calls.lost + s.links.lost
	all := slices.Concat(s.calls.events, s.links.events)
	if s.kernel != nil {
		sent, arrived, more, err := s.kernel.events()
		if err != nil {
			return nil, fmt.Errorf("stamp: the kernel's stamps: %w", err)
		}
		lost += more
		short := func(e Event) bool { return e.Number != 0 && int(e.Number) < s.least+headerBytes }
		all = slices.Concat(all, slices.DeleteFunc(sent, short), slices.DeleteFunc(arrived, short))
	}
	if lost > 0 {
		return nil, fmt.Errorf("stamp: there was no room for %d of %d stamps", lost, lost+len(all))
	}
	slices.SortFunc(all, func(a, b Event) int { return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Kind, b.Kind)) })
	return all, nil
}

// Close gives the kernel's part back.
func (s *Side) Close() error {
	if s.kernel == nil {
		return nil
	}
	return s.kernel.close()
}

// eventBytes is the length of an event that was encoded.
const eventBytes = 16

// Encode gives the bytes of events, for another process.
func Encode(events []Event) []byte {
	b := make([]byte, 0, eventBytes*len(events))
	for _, e := range events {
		b = binary.LittleEndian.AppendUint64(b, uint64(e.At))
		b = binary.LittleEndian.AppendUint32(b, e.Number)
		b = binary.LittleEndian.AppendUint32(b, uint32(e.Kind))
	}
	return b
}

// Decode is the reverse of Encode.
func Decode(b []byte) ([]Event, error) {
	if len(b)%eventBytes != 0 {
		return nil, fmt.Errorf("stamp: %d bytes are no number of events", len(b))
	}
	events := make([]Event, 0, len(b)/eventBytes)
	for ; len(b) > 0; b = b[eventBytes:] {
		e := Event{
			At:     int64(binary.LittleEndian.Uint64(b)),
			Number: binary.LittleEndian.Uint32(b[8:]),
			Kind:   Kind(binary.LittleEndian.Uint32(b[12:])),
		}
		if e.Kind == 0 || e.Kind >= kinds {
			return nil, fmt.Errorf("stamp: an event of kind %d", e.Kind)
		}
		events = append(events, e)
	}
	return events, nil
}
