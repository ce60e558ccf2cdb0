package main

import (
	"strings"
	"testing"
)

// A point on another workload's axis is a mistake, and so is one that cannot be; nothing is measured then.
func TestBenchCompareRefusesLoads(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--workload rate --rps 1000", "--rps is not for workload rate"},
		{"--sessions 10", "--sessions is not for workload latency"},
		{"--workload open", "give calls a second, --rps"},
		{"--workload open --rps 0", "0 calls a second"},
		{"--workload open --rps 1000 --arrivals never", "unknown arrivals"},
		{"--workload idle --pause 0s", "0 milliseconds of pause"},
		{"--workload leisure", "unknown workload"},
		{"--workload anatomy", "'fastrpc bench anatomy'"},
		{"--workload sizes --size 100", "--sizes"},
		{"--mtu 1", "not between 1280 and 65535"},
		{"--mtu 9000 --lab x", "an MTU is chosen for a lab that is made"},
		{"--token x", "--agent"},
		{"--workload rate --outstanding 2 --clients 3", "3 clients"},
	} {
		args := append([]string{"bench", "compare", "--systems", "net-tcp"}, strings.Fields(c.args)...)
		if code, _, errOut := fast(t, args...); code != exitUsage || !strings.Contains(errOut, c.want) {
			t.Errorf("%s: exit code %d, %q; want %d and %q", c.args, code, errOut, exitUsage, c.want)
		}
	}
}

// The help has a line for each workload, none of them too long for a terminal.
func TestWorkloadHelp(t *testing.T) {
	help := workloadHelp()
	for _, name := range []string{"latency", "open", "sweep", "churn"} {
		if !strings.Contains(help, "\n  "+name+" ") && !strings.HasPrefix(help, "  "+name+" ") {
			t.Errorf("no %s in\n%s", name, help)
		}
	}
	if strings.Contains(help, "anatomy") {
		t.Errorf("a command of its own is in\n%s", help)
	}
	for line := range strings.Lines(help) {
		if len(line) > 112 {
			t.Errorf("a line of %d characters: %s", len(line), line)
		}
	}
}
