package nic

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/lab"
	"github.com/fastrpc/fastrpc/internal/lab/labtest"
)

// vethPair opens the two ends of a lab's cable.
func vethPair(t *testing.T, queues int) (client, server *Device) {
	t.Helper()
	l := labtest.New(t, lab.Config{Queues: queues})
	open := func(h lab.Host) (d *Device) {
		must(t, h.Do(func() (err error) {
			d, err = OpenName(h.Interface)
			return err
		}))
		t.Cleanup(func() { must(t, d.Close()) })
		return d
	}
	return open(l.Client()), open(l.Server())
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A Device belongs to the namespace that it was opened in, from whatever thread it is asked.
func TestDevice(t *testing.T) {
	_, d := vethPair(t, 3)
	drv, err := d.Driver()
	must(t, err)
	if drv.Name != "veth" || drv.Bus != "" {
		t.Errorf("the driver is %+v", drv)
	}
	features, err := d.Features()
	must(t, err)
	if f := features["tx-checksum-ip-generic"]; !f.Available || f.Fixed {
		t.Errorf("veth's checksums are %+v", f)
	}
	if f, known := features[FeatureNTuple]; !known || f.Available || f.On || !f.Fixed {
		t.Errorf("veth's rules are %+v, known %v", f, known)
	}
	lines, err := d.Interrupts()
	if err != nil || len(lines) != 0 {
		t.Errorf("veth has interrupts %v, %v", lines, err)
	}
	must(t, d.Close())
	must(t, d.Close())
}

// What a driver lacks is told apart from what went wrong.
func TestUnsupported(t *testing.T) {
	_, d := vethPair(t, 1)
	_, coalesce := d.Coalesce()
	_, rings := d.Rings()
	_, rss := d.RSS()
	_, fields := d.UDPHashFields(true)
	for what, err := range map[string]error{"coalescing": coalesce, "rings": rings, "RSS": rss, "hash fields": fields} {
		if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "veth0") {
			t.Errorf("%s: %v", what, err)
		}
	}
	must(t, d.ioctl.close())
	d.ioctl = ioctlSocket(-1)
	if _, err := d.Coalesce(); !errors.Is(err, unix.EBADF) || errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("without a socket: %v", err)
	}
	d.ioctl = nil
}

func TestOpenWhatIsNotThere(t *testing.T) {
	if _, err := OpenName("nosuch0"); err == nil || !strings.Contains(err.Error(), "ip -brief link") {
		t.Error(err)
	}
	if _, err := Open(1 << 30); err == nil || !strings.Contains(err.Error(), "interface 1073741824") {
		t.Error(err)
	}
}

// Channels are set, and what is refused comes with the kernel's reason.
func TestChannels(t *testing.T) {
	_, d := vethPair(t, 4)
	check := func(want Channels) {
		t.Helper()
		now, most, err := d.Channels()
		must(t, err)
		if now != want || most != (Channels{RX: 4, TX: 4}) {
			t.Errorf("channels %+v of %+v, want %+v", now, most, want)
		}
	}
	check(Channels{RX: 4, TX: 4})
	must(t, d.SetChannels(Channels{RX: 2, TX: 1}))
	check(Channels{RX: 2, TX: 1})
	if n := (Channels{RX: 2, Combined: 3}).ReceiveQueues(); n != 5 {
		t.Errorf("%d receive queues", n)
	}
	if err := d.SetChannels(Channels{RX: 5, TX: 1}); !errors.Is(err, unix.EINVAL) || !strings.Contains(err.Error(), "requested channel count exceeds maximum") {
		t.Errorf("too many: %v", err)
	}
	check(Channels{RX: 2, TX: 1})
	must(t, d.SetChannels(Channels{RX: 4, TX: 4}))
	check(Channels{RX: 4, TX: 4})
}

// The driver's counters are sorted by queue.
func TestStats(t *testing.T) {
	_, d := vethPair(t, 2)
	stats, err := d.Stats()
	must(t, err)
	for q := range 2 {
		if !slices.ContainsFunc(stats, func(s Stat) bool { return s.Queue == q && s.Counter == "rx_xdp_packets" }) {
			t.Errorf("no packets of queue %d in %v", q, stats)
		}
	}
	if !slices.IsSortedFunc(stats, func(a, b Stat) int { return a.Queue - b.Queue }) {
		t.Errorf("not in the order of queues: %v", stats)
	}
}

func TestCounterNames(t *testing.T) {
	for name, want := range map[string]Stat{
		"rx_queue_0_xdp_packets": {Queue: 0, Counter: "rx_xdp_packets"}, // veth
		"tx_queue_12_bytes":      {Queue: 12, Counter: "tx_bytes"},      // ixgbe, igb
		"rx-3.packets":           {Queue: 3, Counter: "rx_packets"},     // i40e
		"rx0_xsk_packets":        {Queue: 0, Counter: "rx_xsk_packets"}, // mlx5
		"queue_7_rx_cnt":         {Queue: 7, Counter: "rx_cnt"},         // ena
		"rx_packets[31]":         {Queue: 31, Counter: "rx_packets"},    // gve
		"[5]: rx_ucast_packets":  {Queue: 5, Counter: "rx_ucast_packets"},
		"rx_packets":             {Queue: -1, Counter: "rx_packets"},
		"rx_64_bytes.nic":        {Queue: -1, Counter: "rx_64_bytes.nic"},
		"rx_fifo_errors":         {Queue: -1, Counter: "rx_fifo_errors"},
	} {
		if q, c := queueOf(name); q != want.Queue || c != want.Counter {
			t.Errorf("%s: queue %d, %s; want queue %d, %s", name, q, c, want.Queue, want.Counter)
		}
	}
}

func TestParseInterrupts(t *testing.T) {
	const table = `            CPU0       CPU1
  8:          1          0   IO-APIC   8-edge      rtc0
 40:         11         12   PCI-MSIX-0000:00:03.0   1-edge      virtio2-input.0
 41:          0          7   PCI-MSIX-0000:3b:00.0   2-edge      i40e-eth0-TxRx-3
NMI:          0          0   Non-maskable interrupts
ERR:          0
`
	want := []Interrupt{
		{Number: 8, Name: "rtc0", Queue: -1, Counts: []uint64{1, 0}},
		{Number: 40, Name: "virtio2-input.0", Queue: 0, Counts: []uint64{11, 12}},
		{Number: 41, Name: "i40e-eth0-TxRx-3", Queue: 3, Counts: []uint64{0, 7}},
	}
	got := parseInterrupts([]byte(table))
	same := func(a, b Interrupt) bool {
		return a.Number == b.Number && a.Name == b.Name && a.Queue == b.Queue && slices.Equal(a.Counts, b.Counts)
	}
	if !slices.EqualFunc(got, want, same) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if n := want[1].Fired(); n != 23 {
		t.Errorf("fired %d times", n)
	}
	if got := parseInterrupts(nil); got != nil {
		t.Errorf("of nothing: %v", got)
	}
	for name, queue := range map[string]int{"eth0-Tx-Rx-5": 5, "mlx5_comp3@pci:0000:3b:00.0": 3, "eth0-tx-1": -1, "virtio0-output.1": -1, "eth0": -1,
		"ena-mgmnt@pci:0000:00:05.0": -1} {
		if q := interruptQueue(name); q != queue {
			t.Errorf("%s: queue %d, want %d", name, q, queue)
		}
	}
}
