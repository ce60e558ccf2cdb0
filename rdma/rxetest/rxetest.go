//go:build rdma

// Package rxetest gives tests an RDMA device: soft-RoCE over an interface of its own. It belongs into a guest, or a machine that is for tests.
package rxetest

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/rdma"
)

// The device, and the address that leads to it.
const (
	Device = "rxe0"
	Addr   = "10.9.0.1"

	iface = "rxe"
)

// Main runs the tests with the device there, and is what TestMain calls.
func Main(m interface{ Run() int }) {
	if err := SetUp(); err != nil {
		fmt.Fprintln(os.Stderr, "rxetest:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// SetUp makes the device. It stays.
func SetUp() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	// A veth pair, for it has a speed: a dummy interface makes the kernel complain about its own at every query of the port.
	d := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: iface}, PeerName: iface + "-peer"}
	if err := netlink.LinkAdd(d); err != nil {
		return fmt.Errorf("veth pair: %w", err)
	}
	peer, err := netlink.LinkByName(d.PeerName)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(peer); err != nil {
		return err
	}
	return SetUpOver(iface, Addr)
}

// SetUpOver makes the device over an interface that is there, such as a guest's network card, and gives it an IPv4 address. It stays.
func SetUpOver(name, addr string) error {
	unlimited := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unlimited); err != nil {
		return err
	}
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(addr), Mask: net.CIDRMask(24, 32)}}); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return err
	}
	return add(name, addr)
}

// Add adds the device after Remove, and waits until it is usable.
func Add() error { return add(iface, Addr) }

func add(name, addr string) error {
	if err := netlink.RdmaLinkAdd(Device, "rxe", name); err != nil {
		return fmt.Errorf("soft-RoCE: %w", err)
	}
	return active(addr)
}

// Remove removes the device. Soft-RoCE waits until no process has it open, and one that used the connection manager has, as long as it lives.
func Remove() error { return netlink.RdmaLinkDel(Device) }

// SetPort takes the device's interface, and so its port, up or down.
func SetPort(up bool) error {
	l, err := netlink.LinkByName(iface)
	if err != nil {
		return err
	}
	if up {
		return netlink.LinkSetUp(l)
	}
	return netlink.LinkSetDown(l)
}

// Active waits until the port is active and has its IPv4 GID: the kernel does both from work queues.
func Active() error { return active(Addr) }

func active(addr string) error {
	c, err := rdma.Open(Device)
	if err != nil {
		return err
	}
	defer c.Close()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		p, err := c.Port(1)
		if err != nil {
			return err
		}
		if gid, ok := rdma.ChooseGID(p.GIDs, netip.MustParseAddr(addr)); ok && p.Active && gid.GID.IP().String() == addr {
			return nil
		}
	}
	return errors.New("the port of soft-RoCE is not active")
}
