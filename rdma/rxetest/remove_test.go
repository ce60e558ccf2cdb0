//go:build rdma

package rxetest_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/rdma"
	"github.com/fastrpc/fastrpc/rdma/rxetest"
)

// user makes the test program one that uses the device, in a process of its own.
const user = "RXETEST_USER"

func TestMain(m *testing.M) {
	if os.Getenv(user) != "" {
		fmt.Println(use())
		os.Exit(1)
	}
	rxetest.Main(m)
}

// use tells what it hears of the device's end, and ends when it is killed.
func use() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	e, err := rdma.NewExporter(netip.MustParseAddrPort(rxetest.Addr+":0"), rdma.ExporterConfig{})
	if err != nil {
		return err
	}
	i, err := rdma.Dial(ctx, e.Addr())
	if err != nil {
		return err
	}
	cm, err := rdma.NewCM()
	if err != nil {
		return err
	}
	l, err := cm.Listen(rdma.UD, netip.MustParseAddrPort(rxetest.Addr+":0"))
	if err != nil {
		return err
	}
	fmt.Println("ready")
	<-e.Done()
	fmt.Println("exporter")
	<-i.Done()
	_, err = i.Open(ctx, "table")
	fmt.Println("importer:", errors.Is(err, rdma.ErrGone))
	_, err = l.Next(ctx)
	fmt.Println("listener:", errors.Is(err, rdma.ErrClosed))
	select {}
}

// A device that is removed under use ends what the connection manager knows. It is gone when those who use it are; then each way to use it says
// so, and added again it works.
//
// Cards whose driver can take its objects from a process send EventDeviceFatal, and go at once. Soft-RoCE waits until nobody has it open
// (drivers/infiniband/core/uverbs_main.c, ib_uverbs_remove_one), and librdmacm has it open until its process ends (librdmacm/cma.c,
// ucma_init_device). So this is a program of its own, which does not use the connection manager before.
func TestRemove(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Env = append(os.Environ(), user+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	hear := func(want string) {
		t.Helper()
		if got, err := lines.ReadString('\n'); strings.TrimSpace(got) != want {
			t.Fatalf("it says %q, %v; want %q", got, err, want)
		}
	}
	hear("ready")
	removed := make(chan error, 1)
	go func() { removed <- rxetest.Remove() }()
	hear("exporter")
	hear("importer: true")
	hear("listener: true")
	select {
	case err := <-removed:
		t.Errorf("the device went while a process had it open: %v", err)
	default:
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	select {
	case err := <-removed:
		if err != nil {
			t.Fatal(err)
		}
	case <-ctx.Done():
		t.Fatal("the device does not go, though nobody has it open")
	}
	noDevice(t)
	if err := rxetest.Add(); err != nil {
		t.Fatal(err)
	}
	e, err := rdma.NewExporter(netip.MustParseAddrPort(rxetest.Addr+":0"), rdma.ExporterConfig{})
	if err != nil {
		t.Fatal(err)
	}
	i, err := rdma.Dial(ctx, e.Addr())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(i.Close(), e.Close()); err != nil {
		t.Error(err)
	}
}

// noDevice tries all that needs a device.
func noDevice(t *testing.T) {
	t.Helper()
	if names, err := rdma.Devices(); len(names) != 0 || err != nil {
		t.Errorf("there is %v, %v", names, err)
	}
	at := netip.MustParseAddrPort(rxetest.Addr + ":9000")
	for what, try := range map[string]func() error{
		"any device":             func() error { _, err := rdma.Open(""); return err },
		"the device":             func() error { _, err := rdma.Open(rxetest.Device); return err },
		"an exporter":            func() error { _, err := rdma.NewExporter(at, rdma.ExporterConfig{}); return err },
		"an importer":            func() error { _, err := rdma.Dial(t.Context(), at); return err },
		"the connection manager": func() error { _, err := rdma.NewCM(); return err },
	} {
		if err := try(); !errors.Is(err, rdma.ErrNoDevice) || !strings.Contains(err.Error(), "fastrpc doctor") {
			t.Errorf("%s: %v, want %v and what to do", what, err, rdma.ErrNoDevice)
		} else {
			t.Logf("%s: %v", what, err)
		}
	}
}
