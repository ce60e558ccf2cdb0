package guest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// libxdp is this machine's xdp-loader with all that it opens.
func libxdp(t *testing.T) map[string][]byte {
	t.Helper()
	loader, err := exec.LookPath("xdp-loader")
	if err != nil {
		if os.Getenv(required) != "" {
			t.Fatalf("%v: 'apt-get install xdp-tools'", err)
		}
		t.Skipf("%v: 'apt-get install xdp-tools' to include this one", err)
	}
	out, err := exec.Command("ldd", loader).Output()
	if err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob("/usr/lib/*/bpf/xdp-dispatcher.o")
	if err != nil || len(names) == 0 {
		t.Fatalf("libxdp's dispatcher is not where Debian has it: %v", err)
	}
	for _, library := range regexp.MustCompile(`(/\S+) \(0x`).FindAllStringSubmatch(string(out), -1) {
		names = append(names, library[1])
	}
	files := map[string][]byte{"/xdp-loader": read(t, loader)}
	for _, name := range names {
		files[name] = read(t, name)
	}
	return files
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
