//go:build rdma

package fastrpc_test

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc"
	"github.com/fastrpc/fastrpc/rdma"
	"github.com/fastrpc/fastrpc/rdma/rxetest"
	_ "github.com/fastrpc/fastrpc/transport/rdma"
)

// With -rdma the stories that run everywhere run over RDMA instead, on soft-RoCE that the test binary makes: it belongs into a guest.
var overRDMA = flag.Bool("rdma", false, "run over RDMA, on soft-RoCE that is made for it")

// emulation is in the environment of the processes that the tests start: they, too, are in a guest.
const emulation = "FASTRPC_TEST_EMULATION"

func init() {
	if os.Getenv(emulation) != "" {
		insecure = emulated
	}
	setUp = func() {
		flag.Parse()
		if !*overRDMA {
			return
		}
		insecure = emulated
		os.Setenv(emulation, "1")
		worlds = map[string]func(testing.TB) world{"rdma-ud": onDevice("ud"), "rdma-rc": onDevice("rc")}
		if err := errors.Join(rxetest.SetUp(), warm()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// emulated is insecure where an emulated card takes milliseconds for a packet: Swift's default, 50 µs, would be the delay of an empty queue, and
// a message of 1 MiB would take a quarter of a minute.
var emulated = both(insecure, fastrpc.WithCongestion(fastrpc.Swift, 50*time.Millisecond))

// both is an option that stands for two.
func both[O ~func(C), C any](a, b O) O { return func(c C) { a(c); b(c) } }

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
