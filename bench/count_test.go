package bench

import (
	"maps"
	"testing"

	"github.com/fastrpc/fastrpc/bench/meter"
	"github.com/fastrpc/fastrpc/bench/result"
)

// What was counted over some calls is scaled to those of the measured loop; a machine that does not count has no figures, which is not 0.
func TestScale(t *testing.T) {
	u := result.Use{Calls: 1000}
	(&counted{}).scale(&u)
	(&counted{Calls: 7}).scale(&u)
	if u.Instructions != nil || u.Cycles != nil {
		t.Errorf("%+v out of nothing", u)
	}
	(&counted{meter.Counted{Instructions: 4200, Cycles: 2100}, 10}).scale(&u)
	if u.Instructions == nil || *u.Instructions != 420_000 || *u.Cycles != 210_000 {
		t.Errorf("%+v", u)
	}
}

type countingCaller struct {
	Caller
	counts map[string]meter.Own
}

func (c *countingCaller) Counters() map[string]meter.Own { return c.counts }

// Callers that share what counts do not count it twice, and callers that count nothing are passed over.
func TestCountersOfCallers(t *testing.T) {
	one, two := meter.Own{Retransmissions: 1}, meter.Own{Retransmissions: 2}
	c := client{callers: []Caller{
		&countingCaller{counts: map[string]meter.Own{"queue 0": one, "queue 1": two}}, nil,
		&countingCaller{counts: map[string]meter.Own{"queue 1": two, "queue 2": one}},
	}}
	got := c.counters()
	if !maps.EqualFunc(got, map[string]uint64{"queue 0": 1, "queue 1": 2, "queue 2": 1}, func(o meter.Own, n uint64) bool { return o.Retransmissions == n }) {
		t.Errorf("%+v", got)
	}
}
