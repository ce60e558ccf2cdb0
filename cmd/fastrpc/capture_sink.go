package main

import (
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/fastrpc/fastrpc/internal/tap"
)

// textSink prints what 'fastrpc decode' prints.
type textSink struct {
	decoder
	log io.Writer
}

func newTextSink(out, log io.Writer) *textSink {
	t := &textSink{log: log}
	t.use(out, false)
	return t
}

func (t *textSink) join(*captured) error { return nil }

func (t *textSink) packet(_ *captured, p *tap.Packet) error {
	return t.decode(&capturedPacket{at: time.Unix(0, p.Time).UTC(), link: linkEthernet, data: p.Data})
}

func (t *textSink) flush() error { return t.out.Flush() }

func (t *textSink) close([]*captured) error {
	t.counts.print(t.log, 0)
	return t.out.Flush()
}

// pcapngSink writes draft-ietf-opsawg-pcapng: an interface for each queue of each process, and for each packet its direction and queue. The
// writer is of gopacket's fork, because google's has no place for those two; packets are taken apart by google's everywhere.
type pcapngSink struct {
	out   io.Writer
	about *capturer
	w     *pcapgo.NgWriter
	n     int // interfaces
}

func (s *pcapngSink) join(c *captured) error {
	c.first = s.n
	for _, queue := range c.Queues {
		if err := s.add(fmt.Sprintf("%v: %s", c.process, queue.Name)); err != nil {
			return err
		}
	}
	return nil
}

// add adds an interface, the first of which begins the file.
func (s *pcapngSink) add(description string) (err error) {
	i := pcapgo.NgInterface{
		Name: s.about.name, Description: description, Filter: s.about.expression, OS: runtime.GOOS,
		LinkType: layers.LinkTypeEthernet, TimestampResolution: 9, SnapLength: uint32(s.about.options.Snap),
	}
	if s.n++; s.w != nil {
		_, err = s.w.AddInterface(i)
		return err
	}
	s.w, err = pcapgo.NewNgWriterInterface(s.out, i, pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{
		Hardware: runtime.GOARCH, OS: runtime.GOOS, Application: "fastrpc capture",
		Comment: "Frames as on the AF_XDP rings. The time is that of the burst that a packet was received or sent with.",
	}})
	return err
}

func (s *pcapngSink) packet(c *captured, p *tap.Packet) error {
	queue, direction := uint32(c.Queues[p.Queue].Number), pcapgo.NgEpbFlagDirectionInbound
	if p.Direction == tap.Out {
		direction = pcapgo.NgEpbFlagDirectionOutbound
	}
	return s.w.WritePacketWithOptions(gopacket.CaptureInfo{
		Timestamp: time.Unix(0, p.Time), CaptureLength: len(p.Data), Length: p.Length, InterfaceIndex: c.first + p.Queue,
	}, p.Data, pcapgo.NgPacketOptions{Flags: &pcapgo.NgEpbFlags{Direction: direction}, Queue: &queue})
}

func (s *pcapngSink) flush() error {
	if s.w == nil {
		return nil
	}
	return s.w.Flush()
}

func (s *pcapngSink) close(all []*captured) error {
	if s.w == nil { // a file with nothing in it is none
		if err := s.add("no process was there"); err != nil {
			return err
		}
	}
	now := time.Now()
	for _, c := range all {
		for i, q := range c.queues {
			if err := s.w.WriteInterfaceStats(c.first+i, pcapgo.NgInterfaceStatistics{
				LastUpdate: now, StartTime: c.begun, EndTime: now, PacketsReceived: q.seen + q.dropped, PacketsDropped: q.dropped,
			}); err != nil {
				return err
			}
		}
	}
	return s.w.Flush()
}
