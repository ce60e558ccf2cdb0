//go:build rdma

package fastrpc_test

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/fastrpc/fastrpc"
	"github.com/fastrpc/fastrpc/internal/lab"
	"github.com/fastrpc/fastrpc/internal/lab/labtest"
	"github.com/fastrpc/fastrpc/rdma"
	"github.com/fastrpc/fastrpc/rdma/rxetest"
	_ "github.com/fastrpc/fastrpc/transport/rdma"
)

// With -rdma the stories that run everywhere run over RDMA instead, on soft-RoCE that the tests make: they belong into a guest.
var overRDMA = flag.String("rdma", "", "run over RDMA: on one `device`, or between two hosts")

func init() {
	setUp = func() {
		flag.Parse()
		var err error
		switch *overRDMA {
		case "":
		case "device":
			worlds = map[string]func(testing.TB) world{"rdma-ud": onDevice("ud"), "rdma-rc": onDevice("rc")}
			err = errors.Join(rxetest.SetUp(), warm())
		case "hosts":
			worlds = map[string]func(testing.TB) world{"rdma-ud": betweenHosts("ud"), "rdma-rc": betweenHosts("rc")}
			err = rxetest.Unlimit()
		default:
			err = fmt.Errorf("-rdma=%s: want device or hosts", *overRDMA)
		}
		if err != nil {
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

var hosts atomic.Int32

// betweenHosts is a device in each of a lab's two hosts.
func betweenHosts(qp string) func(testing.TB) world {
	return func(t testing.TB) world {
		l := labtest.New(t, lab.Config{Queues: 1})
		for _, h := range []lab.Host{l.Server(), l.Client()} {
			name := fmt.Sprintf("rxe%d", hosts.Add(1)) // of one that goes with its lab, sooner or later
			must(t, h.Do(func() error { return rxetest.Add(name, h.Interface, h.IPv4.String()) }))
		}
		ip := l.Server().IPv4
		return world{lab: l, scheme: "rdma", listen: "rdma://" + ip.String(), remote: ip, query: "?qp=" + qp}
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

// A server's port goes down under load, and comes up: whatever ended with an error ran once at most, and the same client is served again.
func TestPortDownAndUp(t *testing.T) {
	if *overRDMA != "hosts" {
		t.Skip("it needs -rdma=hosts")
	}
	everywhere(t, func(t *testing.T, w world) {
		var mu sync.Mutex
		ran := map[uint64]int{}
		s := fastrpc.NewServer(insecure)
		s.HandleInline("count", func(w *fastrpc.Response, r *fastrpc.Request) error {
			mu.Lock()
			ran[binary.LittleEndian.Uint64(r.Body())]++
			mu.Unlock()
			return echo(w, r)
		})
		m := w.dial(t, w.serve(t, s)).Method("count")
		var id uint64
		failed := map[uint64]error{}
		call := func(limit time.Duration) error {
			id++
			rep, err := m.Call(t.Context(), binary.LittleEndian.AppendUint64(nil, id), fastrpc.Timeout(limit))
			if err != nil {
				failed[id] = err
				return err
			}
			rep.Release()
			return nil
		}
		must(t, call(patience))
		set := func(f func(netlink.Link) error) {
			must(t, w.lab.Server().Do(func() error {
				l, err := netlink.LinkByName(w.lab.Server().Interface)
				if err != nil {
					return err
				}
				return f(l)
			}))
		}
		set(netlink.LinkSetDown)
		if err := call(100 * time.Millisecond); err == nil {
			t.Error("a call went through a port that is down")
		}
		set(netlink.LinkSetUp)
		eventually(t, func() string {
			if err := call(time.Second); err != nil {
				return err.Error()
			}
			return ""
		})
		mu.Lock()
		defer mu.Unlock()
		for id := range id {
			n, err := ran[id+1], failed[id+1]
			if n > 1 || n == 0 && err == nil || n > 0 && fastrpc.OutcomeOf(err) == fastrpc.NotExecuted && err != nil {
				t.Errorf("call %d ran %d times: %v", id+1, n, err)
			}
		}
	})
}
