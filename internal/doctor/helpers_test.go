package doctor

import (
	"strings"
	"testing"
	"testing/fstest"
)

// want checks a finding's level, and that its text and its commands hold these words.
func want(t *testing.T, f Finding, level Level, words ...string) {
	t.Helper()
	if f.Level != level {
		t.Errorf("%s: %s, want %s: %s", f.Check, f.Level, level, f.Text)
	}
	all := f.Text
	for _, c := range f.Fix {
		all += " $ " + c
	}
	for _, w := range words {
		if !strings.Contains(all, w) {
			t.Errorf("%s: %q does not say %q", f.Check, all, w)
		}
	}
	if level == OK && f.Fix != nil {
		t.Errorf("%s: all is well, and yet there is something to mend: %q", f.Check, f.Fix)
	}
}

// silent checks that a check does not apply.
func silent(t *testing.T, f Finding) {
	t.Helper()
	if f.Check != "" {
		t.Errorf("%s: %s, want nothing", f.Check, f.Text)
	}
}

// onMachine is a machine with these files, given as name and content in turn, whose CPUs 0 to 3 may poll, and a device called eth7.
func onMachine(files ...string) *machine {
	return &machine{root: tree(files...), device: device{name: "eth7", index: 7, mtu: 1500, queues: 1}, cpus: []int{0, 1, 2, 3}}
}

func tree(files ...string) fstest.MapFS {
	root := fstest.MapFS{}
	for i := 0; i < len(files); i += 2 {
		root[files[i]] = &fstest.MapFile{Data: []byte(files[i+1] + "\n")}
	}
	return root
}

// polling names the CPUs that are to poll.
func (m *machine) polling(cpus ...int) *machine {
	m.cpus, m.chosen = cpus, true
	return m
}

func find(t *testing.T, r Report, check string) Finding {
	t.Helper()
	for _, f := range r.Findings {
		if f.Check == check {
			return f
		}
	}
	t.Fatalf("no finding %q in %+v", check, r.Findings)
	return Finding{}
}
