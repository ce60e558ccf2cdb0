package machine

import (
	"reflect"
	"testing"

	"github.com/fastrpc/fastrpc/bench/result"
	"github.com/fastrpc/fastrpc/internal/doctor"
)

// Reports have a line for each port, with the firmware.
func TestPorts(t *testing.T) {
	got := ports([]doctor.RDMADevice{
		{Name: "mlx5_0", Driver: "mlx5", Firmware: "22.36.1010", Ports: []doctor.RDMAPort{{Number: 1, State: "ACTIVE", Rate: "100 Gb/sec (4X EDR)", MTU: 4096}}},
		{Name: "rxe0", Ports: []doctor.RDMAPort{{Number: 1, State: "DOWN", Rate: "2.5 Gb/sec (1X SDR)"}}},
	})
	want := []result.RDMA{
		{Device: "mlx5_0", Driver: "mlx5", Firmware: "22.36.1010", Port: 1, State: "ACTIVE", Rate: "100 Gb/sec (4X EDR)", MTU: 4096},
		{Device: "rxe0", Port: 1, State: "DOWN", Rate: "2.5 Gb/sec (1X SDR)"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	for i, text := range []string{"mlx5_0 port 1, ACTIVE, 100 Gb/sec (4X EDR), MTU 4096, mlx5, firmware 22.36.1010", "rxe0 port 1, DOWN, 2.5 Gb/sec (1X SDR)"} {
		if got[i].String() != text {
			t.Errorf("%q, want %q", got[i].String(), text)
		}
	}
	if ports(nil) != nil {
		t.Error("ports of no device")
	}
}
