package linktest

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/fastrpc/fastrpc/transport"
)

// soakSteps with -short are shortSteps, enough for every operation to meet every other. A simulated Link needs all of them: its delays pass by
// the steps.
const (
	soakSteps  = 20_000
	shortSteps = 2_000
)

// model is what one end should hold after the operations so far.
type model struct {
	*side
	kind     uint64                      // top bits of the keys that this end sends
	sent     uint64                      // packets so far
	last     uint64                      // key received last, for ordered Links
	written  map[uint32]*transport.Frame // allocated or completed, holding the pattern of key
	key      map[uint32]uint64
	aloft    map[uint32]*transport.Frame
	received map[uint32]*transport.Frame
}

// Random operations on both ends, against a model: who holds which frame, and which bytes are in it.
func testSoak(p *pair) {
	const seed = 20240229
	rng := rand.New(rand.NewPCG(seed, 0))
	p.Logf("seed %d", seed)
	ends := [2]*model{}
	for i, s := range []*side{p.a, p.b} {
		ends[i] = &model{side: s, kind: uint64(i+1) << 56, written: map[uint32]*transport.Frame{}, key: map[uint32]uint64{},
			aloft: map[uint32]*transport.Frame{}, received: map[uint32]*transport.Frame{}}
	}
	steps := soakSteps
	if testing.Short() && p.Clock == nil {
		steps = shortSteps
	}
	for step := range steps {
		m, other := ends[step&1], ends[1-step&1]
		switch rng.IntN(8) {
		case 0, 1:
			m.allocSome(rng)
		case 2, 3:
			m.sendSome(rng)
		case 4:
			m.completeSome(rng)
		case 5, 6:
			m.receiveSome(rng, other)
		case 7:
			m.freeSome(rng)
		}
		if p.Clock != nil && step%5 == 0 {
			m.wait(m.clock() + 1000)
		}
		c := m.counts()
		if c.Borrowed != len(m.written)+len(m.received) || c.InFlight != len(m.aloft) {
			p.Fatalf("step %d: Counts %+v; the model has %d to send, %d received, %d in flight", step, c, len(m.written), len(m.received), len(m.aloft))
		}
	}
	for _, m := range ends {
		for _, held := range []map[uint32]*transport.Frame{m.written, m.received} {
			for _, f := range held {
				m.Free([]transport.Frame{*f})
			}
		}
		if m.sent == 0 || m.last == 0 {
			p.Errorf("%s sent %d packets and received %d last", m.caps.Name, m.sent, m.last)
		}
	}
}

func (m *model) take(f transport.Frame) {
	if m.written[f.ID] != nil || m.aloft[f.ID] != nil || m.received[f.ID] != nil {
		m.t.Fatalf("%s: frame %d was handed out twice", m.caps.Name, f.ID)
	}
}

func (m *model) allocSome(rng *rand.Rand) {
	for range 1 + rng.IntN(m.caps.Burst) {
		var f transport.Frame
		ok := m.Alloc(&f)
		if !ok {
			return
		}
		m.take(f)
		m.sent++
		key := m.kind | m.sent
		f.Data = f.Data[:copy(f.Data, pattern(key, 8+rng.IntN(int(m.path.MTU)-7)))]
		f.Path = m.path
		m.written[f.ID], m.key[f.ID] = &f, key
	}
}

func (m *model) sendSome(rng *rand.Rand) {
	var fs []transport.Frame
	for id, f := range m.written {
		if len(fs) > rng.IntN(2*m.caps.Burst) {
			break
		}
		if m.key[id] != 0 { // sent frames that came back do not go out twice: the receiver checks for order
			fs = append(fs, *f)
		}
	}
	if m.caps.Ordered {
		m.renumber(fs)
	}
	n, err := m.Send(fs)
	if err != nil || n > len(fs) {
		m.t.Fatalf("%s: Send of %d = %d, %v", m.caps.Name, len(fs), n, err)
	}
	for i := range fs[:n] {
		m.aloft[fs[i].ID] = &fs[i]
		delete(m.written, fs[i].ID)
	}
	if rng.IntN(3) > 0 {
		m.flush()
	}
}

// renumber gives frames keys in the order in which they are about to leave.
func (m *model) renumber(fs []transport.Frame) {
	for _, f := range fs {
		m.sent++
		m.key[f.ID] = m.kind | m.sent
		copy(f.Data, pattern(m.key[f.ID], len(f.Data)))
	}
}

func (m *model) completeSome(rng *rand.Rand) {
	fs := make([]transport.Frame, 1+rng.IntN(m.caps.Burst))
	for i := range fs[:m.Completed(fs)] {
		f := m.aloft[fs[i].ID]
		if f == nil {
			m.t.Fatalf("%s: Completed returned frame %d, which is not in flight", m.caps.Name, fs[i].ID)
		}
		if !bytes.Equal(f.Data, pattern(m.key[f.ID], len(f.Data))) {
			m.t.Fatalf("%s: the bytes of frame %d changed in flight", m.caps.Name, f.ID)
		}
		delete(m.aloft, f.ID)
		m.written[f.ID], m.key[f.ID] = f, 0
	}
}

func (m *model) receiveSome(rng *rand.Rand, from *model) {
	fs := make([]transport.Frame, 1+rng.IntN(m.caps.Burst))
	n, err := m.Recv(fs)
	if err != nil {
		m.t.Fatalf("%s: Recv: %v", m.caps.Name, err)
	}
	for i := range fs[:n] {
		m.take(fs[i])
		key := m.keyOf(fs[i].Data)
		if key&^(1<<56-1) != from.kind || key&(1<<56-1) > from.sent {
			m.t.Fatalf("%s: received packet %#x, which was never sent", m.caps.Name, key)
		}
		if m.caps.Ordered && key <= m.last {
			m.t.Fatalf("%s: received packet %#x after %#x", m.caps.Name, key, m.last)
		}
		m.last = key
		m.received[fs[i].ID] = &fs[i]
	}
}

// freeSome frees some of what this end holds; received bytes must have stayed as they were.
func (m *model) freeSome(rng *rand.Rand) {
	for _, held := range []map[uint32]*transport.Frame{m.written, m.received} {
		most := 1 + rng.IntN(2*m.caps.Burst)
		var fs []transport.Frame
		for id, f := range held {
			if len(fs) == most {
				break
			}
			if key := binary.LittleEndian.Uint64(f.Data); !bytes.Equal(f.Data, pattern(key, len(f.Data))) {
				m.t.Fatalf("%s: the bytes of frame %d changed while it was borrowed", m.caps.Name, id)
			}
			fs = append(fs, *f)
		}
		for _, f := range fs {
			delete(held, f.ID)
		}
		m.Free(fs)
	}
}
