package bench

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/fastrpc/fastrpc/bench/result"
)

// What cannot be asked for is refused, in words that say what can.
func TestLoadsThatCannotBe(t *testing.T) {
	for want, c := range map[string]Config{
		"unknown workload \"leisure\"; choose from latency": {Workload: "leisure"},
		"needs a load; give calls a second, --rps":          {Workload: Open},
		"0 calls a second: not between 1 and 5e+07":         {Workload: Open, Along: []float64{0}},
		"-5 calls a second: not between 1":                  {Workload: Open, Along: []float64{-5}},
		"1e+12 calls a second: not between 1":               {Workload: Open, Along: []float64{1e12}},
		"NaN calls a second: not between 1":                 {Workload: Open, Along: []float64{math.NaN()}},
		"1000 calls a second: named twice":                  {Workload: Open, Along: []float64{1000, 1000}},
		"unknown arrivals \"bursts\"; choose poisson":       {Workload: Open, Along: []float64{1000}, Arrivals: "bursts"},
		"is no open loop":                                   {Workload: Rate, Arrivals: Poisson},
		"8 clients are more than the 4 calls outstanding":   {Workload: Rate, Outstanding: 4, Clients: 8},
		"-1 clients are fewer than one":                     {Workload: Rate, Clients: -1},
		"does not share its calls out":                      {Workload: Latency, Clients: 2},
		"there are neither clients nor blocking calls":      {Workload: Churn, Blocking: true},
		"has one call outstanding; choose workload rate":    {Workload: Sizes, Outstanding: 2},
		"1025 calls outstanding are not between 1 and":      {Workload: Rate, Outstanding: MaxOutstanding + 1},
		"has a single point":                                {Workload: Rate, Along: []float64{1}},
		"2.5 sessions: not a whole number":                  {Workload: Sessions, Along: []float64{2.5}},
		"30000 sessions: not between 1 and 20000":           {Workload: Sessions, Along: []float64{30000}},
		"0 senders: not between 1 and":                      {Workload: Incast, Along: []float64{0}},
		"0.9 as a share of packets lost: not between":       {Workload: Loss, Along: []float64{0.9}},
		"0 milliseconds of pause: not between":              {Workload: Idle, Along: []float64{0}},
		"3 as a share of the capacity: not between":         {Workload: Sweep, Along: []float64{3}},
		"1.6777216e+07 bytes of payload: not between":       {Workload: Sizes, Along: []float64{16 << 20}},
		"workload idle is bounded by a duration":            {Workload: Idle, Requests: 100},
		"workload sweep is bounded by a duration":           {Workload: Sweep, Requests: 100},
	} {
		c.Systems, c.Rounds, c.Child = []string{"net-tcp"}, 1, []string{"x"}
		if err := c.check(); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want ErrConfig with %q", c, err, want)
		}
	}
}

// Every workload says by itself all that it needs, but for the rate of the open loop, which only a user can know.
func TestWorkloadsAreComplete(t *testing.T) {
	for _, name := range Workloads() {
		c := Config{Workload: name, Systems: []string{"net-tcp"}, Rounds: 1, Child: []string{"x"}}
		if name == Open {
			c.Along = []float64{1000}
		}
		if err := c.check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if AboutWorkload(name) == "" || len(c.points()) == 0 {
			t.Errorf("%s: about %q, %d points", name, AboutWorkload(name), len(c.points()))
		}
		for i, p := range c.points() {
			if other := c.points()[(i+1)%len(c.points())]; len(c.points()) > 1 && p == other {
				t.Errorf("%s: two points are the same: %+v", name, p)
			}
		}
	}
}

// Points differ in what the axis is; sessions that are fewer than the calls outstanding bound these.
func TestPoints(t *testing.T) {
	c := Config{Workload: Sessions, Along: []float64{2, 10}, Outstanding: 4, Systems: []string{"net-tcp"}, Rounds: 1, Child: []string{"x"}}
	if err := c.check(); err != nil {
		t.Fatal(err)
	}
	want := []result.Point{
		{Size: 64, Outstanding: 2, Clients: 1, Sessions: 2},
		{Size: 64, Outstanding: 4, Clients: 1, Sessions: 10},
	}
	if got := c.points(); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	if AxisOf(Sweep) != result.AxisLoad || AxisOf(Latency) != result.AxisNone {
		t.Errorf("axes %q and %q", AxisOf(Sweep), AxisOf(Latency))
	}
}
