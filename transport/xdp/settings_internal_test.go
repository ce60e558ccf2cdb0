package xdp

import (
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/fastrpc/fastrpc/bpf"
)

func TestParseQueues(t *testing.T) {
	for in, want := range map[string][]uint32{
		"0": {0}, "0-3": {0, 1, 2, 3}, "2,0": {0, 2}, "1,0-2,1": {0, 1, 2}, "7-7": {7},
		"": nil, "-1": nil, "3-1": nil, "a": nil, "0-": nil, "1,,2": nil, "0-256": nil, "70000": nil, "0-200,300-400": nil,
	} {
		got, err := parseQueues(in)
		if (err != nil) != (want == nil) || err == nil && !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
}

func TestSettingsConflict(t *testing.T) {
	parse := func(query string) settings {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		s, err := parseSettings(values)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	const first = "mode=native&zerocopy=off&queues=0-1&frames=128&chunk=4096&prefixes=10.0.0.0/8,192.0.2.1&busypoll=20"
	have := parse(first)
	for _, same := range []string{"", first, "queues=1,0", "prefixes=192.0.2.1/32,10.1.2.3/8,10.0.0.0/8"} {
		later := parse(same)
		if err := have.conflict(&later); err != nil {
			t.Errorf("%q: %v", same, err)
		}
	}
	for _, other := range []string{
		"mode=auto", "zerocopy=auto", "queues=0", "frames=256", "chunk=2048", "prefixes=10.0.0.0/8", "busypoll=0", "busypoll=thread",
	} {
		later := parse(other)
		if err := have.conflict(&later); !errors.Is(err, ErrSettings) {
			t.Errorf("%q: %v", other, err)
		}
	}
}

// As many prefixes can be named as the steering program takes; equal ones count once.
func TestMostPrefixes(t *testing.T) {
	var list []string
	for i := range bpf.MaxPrefixes {
		list = append(list, fmt.Sprintf("10.%d.%d.0/24", i/256, i%256))
	}
	if got, err := parsePrefixes(strings.Join(append(list, list[0]), ",")); err != nil || len(got) != bpf.MaxPrefixes {
		t.Errorf("%d prefixes, %v", len(got), err)
	}
	if _, err := parsePrefixes(strings.Join(append(list, "192.0.2.1"), ",")); err == nil {
		t.Error("one more is taken")
	}
}

// The packet buffers of all queues are one memory. With many queues and large packets there are fewer by default; a number that is given stays,
// or is refused.
func TestFramesFitMemory(t *testing.T) {
	for _, c := range []struct {
		queues, mtu int
		query       string
		frames      int // 0: refused
	}{
		{256, 1500, "", 4096},
		{48, 9000, "", 4096},
		{64, 9000, "", 2048},
		{256, 9000, "", 512},
		{64, 9000, "frames=2048", 2048},
		{64, 9000, "frames=4096", 0},
	} {
		values, _ := url.ParseQuery(c.query)
		s, err := parseSettings(values)
		if err != nil {
			t.Fatal(err)
		}
		d := &device{name: "eth0", settings: s}
		err = d.plan(iface{index: -1, rxQueues: c.queues, mtu: c.mtu})
		if c.frames == 0 {
			if !errors.Is(err, ErrSettings) || !strings.Contains(err.Error(), "name fewer frames or fewer queues") {
				t.Errorf("%d queues, MTU %d, %q: %v", c.queues, c.mtu, c.query, err)
			}
			continue
		}
		if err != nil || d.settings.frames != c.frames {
			t.Errorf("%d queues, MTU %d, %q: %d frames, %v; want %d", c.queues, c.mtu, c.query, d.settings.frames, err, c.frames)
		}
	}
}
