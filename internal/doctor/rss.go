package doctor

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/fastrpc/fastrpc/internal/nic"
)

// checkQueues: each receive queue has a socket and, when it is polled, wants a CPU.
func (m *machine) checkQueues() Finding {
	d := &m.device
	most := max(d.channels.v.most.Combined, d.channels.v.most.RX, d.queues)
	f := ok("queues", "%d to receive, of %d possible", d.queues, most)
	if d.queues > len(m.cpus) && len(m.cpus) > 0 {
		f.worse(Note, "more than the %s that may poll, so that several share one", plural(len(m.cpus), "CPU"))
		return f.mend(d.setQueues(len(m.cpus)))
	}
	return f
}

// setQueues is the command that changes their number.
func (d *device) setQueues(n int) string {
	kind := "combined"
	if d.channels.err == nil && d.channels.v.now.Combined == 0 {
		kind = "rx"
	}
	return fmt.Sprintf("ethtool -L %s %s %d", d.name, kind, n)
}

// checkRSS looks for queues that receive-side scaling never chooses, and at the key of its hash.
func (m *machine) checkRSS() Finding {
	d := &m.device
	if d.queues == 1 {
		return Finding{}
	}
	if d.rss.err != nil {
		return ok("rss", "the device does not tell key and table; which queue a flow comes to is found by trying")
	}
	r := d.rss.v
	f := ok("rss", "%s, a table of %d entries, a key of %d bytes", r.Hash, len(r.Table), len(r.Key))
	if len(r.Key) == 0 {
		f = ok("rss", "%s, a table of %d entries, a key that the device does not tell", r.Hash, len(r.Table))
	}
	used := map[uint32]bool{}
	for _, q := range r.Table {
		used[q] = true
	}
	var idle []int
	for q := range d.queues {
		if !used[uint32(q)] {
			idle = append(idle, q)
		}
	}
	if len(r.Table) > 0 && len(idle) > 0 {
		f.worse(Note, "%s in no entry, so that nothing but rules sends packets there", listed("queue", idle))
		f = f.mend(fmt.Sprintf("ethtool -X %s equal %d", d.name, d.queues))
	}
	switch {
	case len(r.Key) > 0 && len(bytes.Trim(r.Key, "\x00")) == 0:
		f.worse(Note, "the key is zero, and so is every hash: all packets go to one queue")
		f = f.mend("ethtool -X " + d.name + " hkey " + verificationKey(len(r.Key)))
	case len(r.Key) > 2 && len(r.Key)%2 == 0 && bytes.Equal(r.Key[2:], r.Key[:len(r.Key)-2]):
		f.Text += "; the key is a symmetric one: both directions of a flow have the same hash"
	}
	return f
}

// verificationKey is the key of Microsoft's published examples of the hash ("RSS hashing functions", Verifying the RSS Hash Calculation), as
// ethtool -X takes it, repeated to a length.
func verificationKey(n int) string {
	key := strings.Split("6d:5a:56:da:25:5b:0e:c2:41:67:25:3d:43:a3:8f:b0:d0:ca:2b:cb:ae:7b:30:b4:77:cb:2d:a3:80:30:f2:0c:6a:42:b7:3b:be:ac:01:fa", ":")
	out := make([]string, n)
	for i := range out {
		out[i] = key[i%len(key)]
	}
	return strings.Join(out, ":")
}

// checkHash: without the ports in the hash, all of one host's calls come to one queue.
func (m *machine) checkHash() Finding {
	d := &m.device
	if d.queues == 1 || errors.Join(d.udp4.err, d.udp6.err) != nil {
		return Finding{}
	}
	f := ok("rss-udp", "addresses and ports of UDP packets choose the queue")
	for _, v := range []struct {
		flow   string
		fields nic.HashFields
	}{{"udp4", d.udp4.v}, {"udp6", d.udp6.v}} {
		if v.fields&nic.HashPorts != nic.HashPorts {
			if f.Level == OK {
				f = note("rss-udp", "ports do not choose the queue, so that all of a client host's calls come to one")
			}
			f = f.mend(fmt.Sprintf("ethtool -N %s rx-flow-hash %s sdfn", d.name, v.flow))
		}
	}
	return f
}

// checkSteering: with n-tuple rules a port's packets come to the queue of our choice.
func (m *machine) checkSteering() Finding {
	d := &m.device
	s, known := d.switches.v[nic.FeatureNTuple]
	switch {
	case d.queues == 1 || !known:
		return Finding{}
	case s.On:
		return ok("steering", "n-tuple rules may send a port to a queue")
	case s.Fixed:
		return ok("steering", "no n-tuple rules here: RSS alone chooses the queue")
	}
	return note("steering", "n-tuple rules, which send a port to a queue, are switched off").mend("ethtool -K " + d.name + " ntuple on")
}
