package nic

import (
	"cmp"
	"encoding/binary"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Stat is one of the driver's own counters, as 'ethtool -S' shows it.
type Stat struct {
	Name  string // the driver's
	Value uint64

	Queue   int    // -1: of the whole device
	Counter string // the name without the queue's number: "rx_packets", say. Drivers differ in what they call a thing
}

// Stats asks for the driver's counters, in the order of queues and names. A driver without any gives none.
func (d *Device) Stats() ([]Stat, error) {
	names, err := d.strings(namesOfStats)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	const head = 8 // struct ethtool_stats (linux/ethtool.h): u32 cmd, u32 n_stats, u64 data[]
	r := request(unix.ETHTOOL_GSTATS, head+8*spare(len(names)))
	binary.NativeEndian.PutUint32(r[4:], uint32(len(names)))
	if err := d.ask("statistics", r); err != nil {
		return nil, err
	}
	var stats []Stat
	for i, name := range names {
		if name != "" {
			queue, counter := queueOf(name)
			stats = append(stats, Stat{name, binary.NativeEndian.Uint64(r[head+8*i:]), queue, counter})
		}
	}
	slices.SortFunc(stats, func(a, b Stat) int { return cmp.Or(cmp.Compare(a.Queue, b.Queue), strings.Compare(a.Name, b.Name)) })
	return stats, nil
}

// counterForms are how drivers name the counters of a queue.
var counterForms = []*regexp.Regexp{
	regexp.MustCompile(`^(?P<dir>rx|tx)_queue_(?P<queue>\d+)_(?P<what>.+)$`),   // rx_queue_0_packets: veth, ixgbe, igb, ice
	regexp.MustCompile(`^(?P<dir>rx|tx)-(?P<queue>\d+)\.(?P<what>.+)$`),        // rx-0.packets: i40e
	regexp.MustCompile(`^(?P<dir>rx|tx)(?P<queue>\d+)_(?P<what>.+)$`),          // rx0_packets: mlx5, mlx4, virtio_net
	regexp.MustCompile(`^queue_(?P<queue>\d+)_(?P<dir>rx|tx)_(?P<what>.+)$`),   // queue_0_rx_cnt: ena
	regexp.MustCompile(`^(?P<dir>rx|tx)_(?P<what>[a-z_]+)\[(?P<queue>\d+)\]$`), // rx_packets[0]: gve
	regexp.MustCompile(`^\[(?P<queue>\d+)\]: (?P<dir>rx|tx)_(?P<what>.+)$`),    // [0]: rx_ucast_packets: bnxt_en
}

// queueOf takes a counter's name apart.
func queueOf(name string) (queue int, counter string) {
	for _, form := range counterForms {
		m := form.FindStringSubmatch(name)
		if m == nil {
			continue
		}
		if q, err := strconv.Atoi(m[form.SubexpIndex("queue")]); err == nil {
			return q, m[form.SubexpIndex("dir")] + "_" + m[form.SubexpIndex("what")]
		}
	}
	return -1, name
}
