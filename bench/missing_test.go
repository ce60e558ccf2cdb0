package bench

import (
	"slices"
	"testing"
)

// All systems are those that measure the same; a flow is one of them only where it is named.
func TestAllWithoutFlows(t *testing.T) {
	flow, one := "fastgrpc"+string(Flow), "fastgrpc"
	for _, c := range []struct {
		names []string
		want  bool
	}{{[]string{All}, false}, {[]string{All, flow}, true}, {[]string{flow, All}, true}} {
		list := Expand(c.names, Latency)
		if slices.Contains(list, flow) != c.want || !slices.Contains(list, one) {
			t.Errorf("%v: %v", c.names, list)
		}
	}
}
