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
