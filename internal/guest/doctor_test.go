package guest_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/fastrpc/fastrpc/internal/guest"
)

// TestDoctorZeroCopy runs the command as a script would, on cards with zero-copy: it is granted on every queue, and said so.
func TestDoctorZeroCopy(t *testing.T) {
	kit := prepare(t)
	program, err := guest.BuildProgram(interrupted, module+"cmd/fastrpc")
	if err != nil {
		t.Fatal(err)
	}
	for driver, nic := range map[string]guest.NIC{"virtio_net": guest.VirtioNet, "igb": guest.IGB} {
		t.Run(driver, func(t *testing.T) {
			res, err := kit.Run(interrupted, guest.Config{Program: program, Args: []string{"doctor", "eth0", "--json"}, NICs: pair(nic), Output: t.Output()})
			if err != nil {
				t.Fatal(err)
			}
			var r struct {
				Fit     bool
				Granted struct {
					Mode     string
					Queues   int
					ZeroCopy int `json:"zero_copy"`
				}
				Findings []struct{ Check, Level, Text string }
			}
			begin := max(strings.Index(res.Output, "{"), 0)
			if err := json.NewDecoder(strings.NewReader(res.Output[begin:])).Decode(&r); err != nil {
				t.Fatal(err)
			}
			if res.Exit != 0 || !r.Fit || r.Granted.Mode != "native" || r.Granted.Queues == 0 || r.Granted.ZeroCopy != r.Granted.Queues {
				t.Errorf("exit status %d, %+v; want native mode and zero-copy on every queue", res.Exit, r)
			}
			for _, f := range r.Findings {
				if f.Check == "driver" && !strings.HasPrefix(f.Text, driver+",") {
					t.Errorf("the driver is said to be %q", f.Text)
				}
			}
		})
	}
}
