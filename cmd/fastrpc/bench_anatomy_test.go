package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fastrpc/fastrpc/bench/result"
)

// The picture is on the screen, and the stages it is made of in the JSON.
func TestBenchAnatomy(t *testing.T) {
	file := filepath.Join(t.TempDir(), "anatomy.json")
	code, out, errOut := fast(t, "bench", "anatomy", "--systems", "udp,net-tcp", "--requests", "200", "--rounds", "1", "--json", file)
	if code != exitOK {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	for _, want := range []string{"udp: ", "net-tcp: ", " without stamps", "side    stage", result.StageWire, result.StageHandler, "█"} {
		if !strings.Contains(out, want) {
			t.Errorf("the screen lacks %q:\n%s", want, out)
		}
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := result.Read(f)
	if err != nil {
		t.Fatal(err)
	}
	if r.Run.Workload != "anatomy" || len(r.Results) != 2 || len(r.Results[0].Rounds[0].Stages) < 8 || r.Results[0].Rounds[0].Parts[result.PartUnstamped] == nil {
		t.Errorf("report %+v", r)
	}
}

func TestBenchAnatomyUsage(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no room for a number": {[]string{"--size", "4"}, "not between 8 and 1400"},
		"too many calls":       {[]string{"--requests", "1000000"}, "up to 50000"},
		"unknown system":       {[]string{"--systems", "carrier-pigeon"}, "carrier-pigeon"},
	} {
		if code, _, errOut := fast(t, append([]string{"bench", "anatomy"}, c.args...)...); code != exitUsage || !strings.Contains(errOut, c.want) {
			t.Errorf("%s: exit code %d, %q, want %q", name, code, errOut, c.want)
		}
	}
}
