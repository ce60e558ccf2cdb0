//go:build linux

package afxdp

// Levels say how full a socket's rings are, in entries; a ring that the socket does not have is empty.
type Levels struct {
	Fill       Level // chunks that the kernel may receive into
	Rx         Level // received packets that Receive has not taken
	Tx         Level // packets that the kernel has not taken to send
	Completion Level // sent packets that Complete has not taken
}

// Level is that of one ring.
type Level struct {
	Used, Size uint32
}

// Levels looks at the rings' indices, all but at once. It belongs to the goroutine that owns them.
func (s *Socket) Levels() Levels {
	if s.umem == nil {
		return Levels{}
	}
	l := Levels{
		Fill:       Level{s.fill.Pending(), s.fill.Size()},
		Rx:         Level{s.rx.Acquire(s.rx.Size()), s.rx.Size()},
		Tx:         Level{s.tx.Pending(), s.tx.Size()},
		Completion: Level{s.completion.Acquire(s.completion.Size()), s.completion.Size()},
	}
	for i, level := range []*Level{&l.Fill, &l.Completion, &l.Rx, &l.Tx} {
		if s.maps[i] == nil { // unplugged
			*level = Level{}
		}
	}
	return l
}
