package bench

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestExplainMissing(t *testing.T) {
	if got := explainMissing(1<<41 - 1); got != "" {
		t.Errorf("with all capabilities: %q", got)
	}
	got := explainMissing(0)
	for _, want := range []string{"CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_NET_RAW", "CAP_NET_ADMIN", "CAP_BPF", "CAP_PERFMON", "setcap"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q does not name %s", got, want)
		}
	}
	got = explainMissing(1 << unix.CAP_SYS_ADMIN) // which stands in for CAP_BPF and CAP_PERFMON
	if !strings.Contains(got, "missing CAP_DAC_OVERRIDE, CAP_NET_RAW, CAP_NET_ADMIN;") {
		t.Errorf("with CAP_SYS_ADMIN alone: %q", got)
	}
	for _, c := range needed {
		if !strings.Contains(grant, strings.ToLower(c.name)) {
			t.Errorf("%s is needed and not in what is to be granted", c.name)
		}
	}
}
