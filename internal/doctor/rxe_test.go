package doctor

import (
	"errors"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/lab"
)

// Soft-RoCE over one end of a cable is found, with the address that rdma:// would take; with the port down it is wrong, and why is said. With the
// tag rdma, libibverbs is asked as well.
func TestSoftRoCE(t *testing.T) {
	if _, err := netlink.RdmaSystemGetNetnsMode(); errors.Is(err, unix.EPROTONOSUPPORT) {
		t.Skipf("this kernel has no RDMA (netlink: %v)", err)
	}
	inLab(t, lab.Config{}, func(h lab.Host) error {
		const device = "rxedoctor"
		if err := netlink.RdmaLinkAdd(device, "rxe", h.Interface); err != nil {
			return err
		}
		defer func() {
			if err := netlink.RdmaLinkDel(device); err != nil {
				t.Error(err)
			}
		}()
		r := await(t, device, func(p RDMAPort) bool { g, ok := p.gid(); return ok && p.State == "ACTIVE" && g.GID == h.IPv4.String() })
		if r.Fit != rdmaBuilt {
			t.Errorf("fit: %v, built with RDMA: %v", r.Fit, rdmaBuilt)
		}
		want(t, find(t, r, "modules"), OK)
		want(t, find(t, r, "rdma_cm"), OK)
		want(t, find(t, r, "device-file"), OK, "/dev/infiniband/uverbs")
		want(t, find(t, r, "device"), Note, "driver rxe", "node GUID ")
		want(t, find(t, r, "netns"), OK)
		want(t, find(t, r, "memlock"), OK)
		want(t, find(t, r, "port"), OK, "LinkUp, Ethernet", "Gb/sec")
		want(t, find(t, r, "gid"), OK, h.IPv4.String()+" (RoCE v2, "+h.Interface+") is taken")
		want(t, find(t, r, "rdma-mtu"), Note, "1024 bytes")
		want(t, find(t, r, "pfc"), OK, "not visible", "operation not supported")
		if rdmaBuilt {
			want(t, find(t, r, "provider"), OK, "libibverbs opens")
			want(t, find(t, r, "features"), OK, "on-demand paging, atomics, shared receive queues")
		}
		want(t, find(t, Examine(h.Interface, Options{NoProbe: true}), "rdma"), OK, "--rdma "+device)

		link, err := netlink.LinkByName(h.Interface)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetDown(link); err != nil {
			return err
		}
		r = await(t, device, func(p RDMAPort) bool { return p.State != "ACTIVE" })
		want(t, find(t, r, "port"), Wrong, "DOWN", "ip link set dev "+h.Interface+" up")
		return nil
	})
}

// await examines the device until its port is as wanted: the kernel follows the interface from work queues.
func await(t *testing.T, device string, ready func(RDMAPort) bool) Report {
	t.Helper()
	var r Report
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if r = ExamineRDMA(device, Options{}); len(r.RDMA) == 1 && len(r.RDMA[0].Ports) == 1 && ready(r.RDMA[0].Ports[0]) {
			return r
		}
	}
	t.Fatalf("after 30 s: %+v", r)
	return r
}
