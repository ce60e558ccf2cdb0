//go:build rdma

package fastrpc_test

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"testing"

	"github.com/fastrpc/fastrpc/rdma"
	"github.com/fastrpc/fastrpc/rdma/rxetest"
	_ "github.com/fastrpc/fastrpc/transport/rdma"
)

// With -rdma the stories that run everywhere run over RDMA instead, on soft-RoCE that the test binary makes: it belongs into a guest.
var overRDMA = flag.Bool("rdma", false, "run over RDMA, on soft-RoCE that is made for it")

func init() {
	setUp = func() {
		flag.Parse()
		if !*overRDMA {
			return
		}
		worlds = map[string]func(testing.TB) world{"rdma-ud": onDevice("ud"), "rdma-rc": onDevice("rc")}
		if err := errors.Join(rxetest.SetUp(), warm()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// onDevice is both ends on one device.
func onDevice(qp string) func(testing.TB) world {
	return func(testing.TB) world {
		return world{scheme: "rdma", listen: "rdma://" + rxetest.Addr, remote: netip.MustParseAddr(rxetest.Addr), query: "?qp=" + qp}
	}
}

// warm has librdmacm open the device, which it does once in a process, for good: tests compare descriptors.
func warm() error {
	cm, err := rdma.NewCM()
	if err != nil {
		return err
	}
	_, err = cm.Reserve(rdma.UD, netip.MustParseAddr(rxetest.Addr))
	return errors.Join(err, cm.Close())
}
