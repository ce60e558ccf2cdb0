package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestLab(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root: run the tests as root to include this one")
	}
	name := fmt.Sprintf("test-cmd-%d", os.Getpid())
	t.Cleanup(func() { fastContext(context.Background(), "lab", "down", "--lab", name) })
	on := func(args ...string) (int, string, string) {
		t.Helper()
		return fast(t, append([]string{"lab", args[0], "--lab", name}, args[1:]...)...)
	}
	if code, out, errOut := on("up", "--queues", "1", "--mtu", "1400"); code != exitOK || !strings.Contains(out, name+"-server") || !strings.Contains(out, "198.18.") {
		t.Fatalf("up: exit code %d, output %q, error %q", code, out, errOut)
	}
	if code, _, errOut := on("up"); code != exitFailure || !strings.Contains(errOut, "fastrpc lab down --lab "+name) {
		t.Errorf("up twice: exit code %d, error %q", code, errOut)
	}
	if code, out, _ := on("status"); code != exitOK || !strings.Contains(out, name+"-client") {
		t.Errorf("status: exit code %d, output %q", code, out)
	}
	if code, out, errOut := on("exec", "server", "--", "cat", "/sys/class/net/veth0/mtu"); code != exitOK || strings.TrimSpace(out) != "1400" {
		t.Errorf("exec: exit code %d, output %q, error %q", code, out, errOut)
	}
	if code, _, _ := on("exec", "client", "--", "sh", "-c", "exit 7"); code != 7 {
		t.Errorf("exec of a command that exits with 7: exit code %d", code)
	}
	if code, _, _ := on("exec", "client", "--", "sh", "-c", "kill -TERM $$"); code != 128+15 {
		t.Errorf("exec of a command that is killed: exit code %d", code)
	}
	if code, _, errOut := on("exec", "client", "--", "/nonexistent"); code != exitFailure || errOut == "" {
		t.Errorf("exec of nothing: exit code %d, error %q", code, errOut)
	}
	if code, _, _ := on("exec", "nobody", "--", "true"); code != exitUsage {
		t.Errorf("exec on an unknown host: exit code %d", code)
	}
	for range 2 { // the second finds nothing, which is no error
		if code, _, errOut := on("down"); code != exitOK {
			t.Errorf("down: exit code %d, error %q", code, errOut)
		}
	}
	if code, out, _ := on("status"); code != exitOK || strings.Contains(out, name) {
		t.Errorf("status afterwards: exit code %d, output %q", code, out)
	}
}
