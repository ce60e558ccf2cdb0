package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/fastrpc/fastrpc/internal/nic"
	"github.com/fastrpc/fastrpc/internal/tap"
	"github.com/fastrpc/fastrpc/transport/xdp"
)

// statsCollector asks processes and drivers.
type statsCollector struct {
	ifindex int // 0: all
	log     io.Writer
	open    map[tap.Name]*tap.Process
	refused map[tap.Name]bool // said so, and not asked again
}

func (c *statsCollector) collect() (*statsLook, error) {
	names, err := tap.Find(c.ifindex)
	if err != nil {
		return nil, err
	}
	if c.open == nil {
		c.open, c.refused = map[tap.Name]*tap.Process{}, map[tap.Name]bool{}
	}
	for name, p := range c.open {
		if !slices.Contains(names, name) {
			delete(c.open, name)
			_ = p.Close() // there is nothing to do about an error
		}
	}
	look := &statsLook{Time: time.Now(), Interfaces: []*interfaceStats{}}
	for _, name := range names {
		if c.refused[name] {
			continue
		}
		p, err := c.ask(name)
		if err != nil {
			fmt.Fprintf(c.log, "not asked: %v\n", err)
			c.refused[name] = true
			continue
		}
		i := look.of(name.Ifindex())
		i.Processes = append(i.Processes, *p)
	}
	slices.SortFunc(look.Interfaces, func(a, b *interfaceStats) int { return cmp.Compare(a.index, b.index) })
	for _, i := range look.Interfaces {
		slices.SortFunc(i.Processes, func(a, b processStats) int { return cmp.Compare(a.Pid, b.Pid) })
	}
	return look, nil
}

// of is the interface's part of a look, which it is given with the driver's counters in it.
func (s *statsLook) of(ifindex int) *interfaceStats {
	for _, i := range s.Interfaces {
		if i.index == ifindex {
			return i
		}
	}
	i := &interfaceStats{index: ifindex, Name: fmt.Sprintf("interface %d", ifindex), Driver: map[string]uint64{}}
	if ifi, err := net.InterfaceByIndex(ifindex); err == nil {
		i.Name = ifi.Name
	}
	if d, err := nic.Open(ifindex); err == nil {
		i.driver, _ = d.Stats() // there are drivers without any
		_ = d.Close()
	}
	for _, stat := range i.driver {
		i.Driver[stat.Name] = stat.Value
	}
	s.Interfaces = append(s.Interfaces, i)
	return i
}

// ask asks one process.
func (c *statsCollector) ask(name tap.Name) (_ *processStats, err error) {
	p := c.open[name]
	if p == nil {
		if p, err = tap.Dial(name); err != nil {
			return nil, err
		}
		c.open[name] = p
	}
	defer func() {
		if err != nil {
			delete(c.open, name)
			err = errors.Join(err, p.Close())
		}
	}()
	parts, err := p.Stats()
	if err != nil {
		return nil, err
	}
	if len(parts) == 0 {
		return nil, fmt.Errorf("%v tells nothing", p)
	}
	s := &processStats{Pid: p.Pid, Uid: p.Uid, Program: p.Program, Queues: make([]xdp.QueueStats, len(parts)-1), key: name}
	err = json.Unmarshal(parts[0], &s.InterfaceStats)
	for i := range s.Queues {
		err = errors.Join(err, json.Unmarshal(parts[i+1], &s.Queues[i]))
	}
	if err != nil {
		return nil, fmt.Errorf("%v: %w", p, err)
	}
	return s, nil
}

func (c *statsCollector) close() {
	for _, p := range c.open {
		_ = p.Close()
	}
}
