package bench

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const cpuinfoGuest = `processor	: 0
vendor_id	: AuthenticAMD
model name	: AMD EPYC
flags		: fpu vme hypervisor lahf_lm

processor	: 1
model name	: other
`

const cpuinfoArm = `processor	: 0
BogoMIPS	: 50.00
Features	: fp asimd
CPU implementer	: 0x41
CPU part	: 0xd0c
`

func TestCPU(t *testing.T) {
	bare := strings.Replace(cpuinfoGuest, "hypervisor ", "", 1)
	for _, c := range []struct{ got, want string }{
		{cpuModel(cpuinfoGuest), "AMD EPYC"},
		{cpuModel(cpuinfoArm), "implementer 0x41 part 0xd0c"},
		{cpuModel(""), unknown},
		{hypervisor(cpuinfoGuest, "QEMU", "Standard PC"), "QEMU Standard PC"},
		{hypervisor(cpuinfoGuest, "", ""), "yes, of unknown kind"},
		{hypervisor(bare, "Dell Inc.", "PowerEdge"), "none"},
		{hypervisor("", "", ""), unknown},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

func TestSteal(t *testing.T) {
	before := parseCPUTime("cpu  100 0 50 800 10 0 5 35 0 0\ncpu0 1 2 3 4\n")
	after := parseCPUTime("cpu  200 0 100 1600 20 0 10 70 7 0\n")
	if before != (cpuTime{steal: 35, total: 1000}) {
		t.Errorf("parsed %+v", before)
	}
	if got := after.stealSince(before); got != 3.5 {
		t.Errorf("steal %v %%, want 3.5", got)
	}
	for _, bad := range []string{"", "intr 1 2 3", "cpu 1 2 3", "cpu a b c d e f g h"} {
		if got := parseCPUTime(bad); got != (cpuTime{}) {
			t.Errorf("parseCPUTime(%q) = %+v, want nothing", bad, got)
		}
	}
	if got := before.stealSince(after); got != 0 {
		t.Errorf("steal %v %% when time runs backwards, want 0", got)
	}
}

func TestGovernor(t *testing.T) {
	dir := t.TempDir()
	if got := governor(dir); got != unknown {
		t.Errorf("without cpufreq: %q", got)
	}
	for cpu, g := range []string{"powersave", "performance", "powersave"} {
		d := filepath.Join(dir, "cpu"+string(rune('0'+cpu)), "cpufreq")
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(d, "scaling_governor"), []byte(g+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := governor(dir); got != "powersave, performance" {
		t.Errorf("got %q, want each governor once", got)
	}
}

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
