package bpf

import (
	"net/netip"
	"os"
	"strings"
	"testing"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: loads BPF programs and makes network namespaces")
	}
}

// loaded is a program in the kernel that is attached to nothing, with ourPort open, for BPF_PROG_TEST_RUN.
func loaded(t testing.TB) *Program {
	t.Helper()
	return loadedFor(t, false)
}

func loadedFor(t testing.TB, multiBuffer bool) *Program {
	t.Helper()
	needRoot(t)
	p, err := load(1, multiBuffer)
	must(t, err)
	t.Cleanup(func() { must(t, p.Close()) })
	must(t, p.AllowPort(ourPort))
	return p
}

// prefixes parses a list of prefixes between spaces.
func prefixes(list string) (out []netip.Prefix) {
	for _, s := range strings.Fields(list) {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}
