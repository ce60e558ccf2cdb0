package nic

import (
	"strings"
	"testing"
)

// Whether busy polling works is what the counters say.
func TestBusyPolled(t *testing.T) {
	line := func(interrupts, softirqs uint64) PollCounts { return PollCounts{interrupts, true, softirqs} }
	none := func(softirqs uint64) PollCounts { return PollCounts{0, false, softirqs} }
	for name, c := range map[string]struct {
		napi          uint32
		before, after PollCounts
		packets       uint64
		works         bool
		why           string
	}{
		"no interrupts":                    {7, line(100, 0), line(110, 90000), 1000, true, ""},
		"an interrupt a packet":            {7, line(100, 0), line(1100, 0), 1000, false, "1000 interrupts of the queue for 1000 packets"},
		"an interrupt a NAPI budget":       {7, line(100, 0), line(100+10000/64, 0), 10000, false, "156 interrupts"},
		"no line, no softirqs":             {7, none(50), none(60), 1000, true, ""},
		"no line, softirqs":                {7, none(50), none(1050), 1000, false, "1000 NET_RX softirqs of the whole machine"},
		"a line that came in between":      {7, none(50), line(5000, 50), 1000, true, ""},
		"few packets":                      {7, line(0, 0), line(0, 0), 99, false, "99 packets are too few"},
		"no NAPI instance":                 {0, line(0, 0), line(0, 0), 1000, false, "SO_INCOMING_NAPI_ID is 0"},
		"no NAPI instance, and no packets": {0, line(0, 0), line(0, 0), 0, false, "no packet has come in yet"},
	} {
		if works, why := BusyPolled(c.napi, c.before, c.after, c.packets); works != c.works || !strings.Contains(why, c.why) || works != (why == "") {
			t.Errorf("%s: %v, %q; want %v, %q", name, works, why, c.works, c.why)
		}
	}
}

func TestSoftIRQs(t *testing.T) {
	const table = `                    CPU0       CPU1
      NET_TX:          7          9
      NET_RX:        100         23
         HRTIMER:          1          1
`
	if n := sumSoftIRQs([]byte(table), "NET_RX:"); n != 123 {
		t.Errorf("%d", n)
	}
	_, d := vethPair(t, 1)
	before, err := d.PollCounts(0, 0)
	must(t, err)
	if before.SoftIRQs == 0 || before.HasLine {
		t.Errorf("%+v", before)
	}
}
