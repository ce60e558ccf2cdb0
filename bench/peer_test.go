package bench

import (
	"os"
	"strings"
	"testing"
	"time"
)

// A system of another program is compared like one of this program's, with its workloads and no others.
func TestPeers(t *testing.T) {
	if err := AddPeers(os.Args[0]); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { delete(systems, "test-peer") })
	for workload, size := range map[string]int{Latency: 64, Rate: 64} {
		c := Config{Systems: []string{"test-peer", "net-tcp"}, Workload: workload, Size: size, Rounds: 2, Child: childCommand(t)}
		if c.Requests = 50; workload != Latency {
			c.Requests, c.Duration = 0, 50*time.Millisecond
		}
		for _, res := range compareOnLoopback(t, c).Results {
			if res.Error != "" || len(res.Rounds) != 2 || res.Rounds[1].Latency == nil || res.Rounds[1].Ops < 1 {
				t.Errorf("%s of %s: %+v", workload, res.System, res)
			}
		}
	}
	r := compareOnLoopback(t, Config{Systems: []string{"test-peer"}, Workload: Flood, Size: 64, Duration: time.Second, Rounds: 1, Child: childCommand(t)})
	if !strings.Contains(r.Results[0].Error, "no workload flood") {
		t.Errorf("a workload that it has not: %+v", r.Results[0])
	}
	if err := AddPeers("/bin/true"); err == nil || !strings.Contains(err.Error(), "/bin/true") {
		t.Errorf("a program without peers: %v", err)
	}
}
