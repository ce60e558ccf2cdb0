package lab

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

// Up takes back what it made, whichever step fails.
func TestFailedUpLeavesNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root: run the tests as root to include this one")
	}
	whole := roles
	for name, breakIt := range map[string]func(){
		"naming the second namespace": func() { roles[1].suffix = "/no-such-directory" },
		"creating the pair":           func() { roles[1].mac[0] |= 1 },                                // a group address
		"the last address":            func() { roles[1].ipv6 = netip.MustParsePrefix("ff02::1/64") }, // multicast
	} {
		breakIt()
		lab := fmt.Sprintf("test-%d-failed", os.Getpid())
		_, err := Up(Config{Name: lab})
		roles = whole
		if err == nil {
			t.Errorf("%s did not fail", name)
		}
		t.Log(err)
		if left, _ := filepath.Glob(runDir + "/" + lab + "*"); len(left) != 0 {
			t.Errorf("%s: %v is left", name, left)
		}
		if err := Down(lab); err != nil {
			t.Error(err)
		}
	}
}
