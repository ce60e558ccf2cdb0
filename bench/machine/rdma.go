package machine

import (
	"github.com/fastrpc/fastrpc/bench/result"
	"github.com/fastrpc/fastrpc/internal/doctor"
)

// ports lists the ports of RDMA devices.
func ports(devices []doctor.RDMADevice) (list []result.RDMA) {
	for _, d := range devices {
		for _, p := range d.Ports {
			list = append(list, result.RDMA{
				Device: d.Name, Driver: d.Driver, Firmware: d.Firmware, Port: p.Number, State: p.State, Rate: p.Rate, MTU: p.MTU,
			})
		}
	}
	return list
}
