package guest_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fastrpc/fastrpc/internal/guest"
)

// Without what is needed, the error says what is missing, or what apt-get answered, and nothing is left that looks like a kit.
func TestUnavailable(t *testing.T) {
	tools, cache := t.TempDir(), t.TempDir()
	t.Setenv("PATH", tools)
	t.Setenv("XDG_CACHE_HOME", cache)
	check := func(says string) {
		t.Helper()
		if _, err := guest.Prepare(t.Context(), io.Discard); !errors.Is(err, guest.ErrUnavailable) || !strings.Contains(err.Error(), says) {
			t.Errorf("error is %v; want one that says %q", err, says)
		}
	}
	check("apt-get")

	// One that was killed has left half a kit.
	half := filepath.Join(cache, "fastrpc", "guest", "fresh")
	if err := os.MkdirAll(filepath.Join(half, "qemu"), 0o755); err != nil {
		t.Fatal(err)
	}
	const answer = "E: Failed to fetch http://deb.debian.org: no route to host"
	for _, name := range []string{"apt-get", "apt-cache", "dpkg-deb"} {
		if err := os.WriteFile(filepath.Join(tools, name), []byte("#!/bin/sh\necho '"+answer+"' >&2\nexit 100\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat("/usr/share/keyrings/debian-archive-keyring.gpg"); err != nil {
		check("apt-get install debian-archive-keyring")
		return
	}
	check(answer)
	left, err := os.ReadDir(filepath.Dir(half))
	if err != nil || len(left) != 1 || left[0].Name() != "lock" {
		t.Errorf("%v is left, %v", left, err)
	}
}
