// Package hosts makes two hosts of the network cards of a guest. What it makes is there until the guest ends.
package hosts

import (
	"fmt"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// InNamespace makes a network namespace, moves an interface there, and runs f inside. The namespace is there until the process ends.
func InNamespace(name string, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread, and with it the namespace, lasts as long as this goroutine
		err := enter(name)
		if err == nil {
			err = f()
		}
		done <- err
		select {}
	}()
	return <-done
}

// enter puts this thread, and the interface, into a new network namespace.
func enter(name string) error {
	outside, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer outside.Close()
	l, err := outside.LinkByName(name)
	if err != nil {
		return err
	}
	ns, err := netns.New()
	if err != nil {
		return err
	}
	return outside.LinkSetNsFd(l, int(ns))
}

// Address brings the interface up with an address, in the namespace of this thread.
func Address(name, prefix string) error {
	a, err := netlink.ParseAddr(prefix)
	if err != nil {
		return err
	}
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return fmt.Errorf("bring %s up: %w", name, err)
	}
	if err := netlink.AddrAdd(l, a); err != nil {
		return fmt.Errorf("add %s to %s: %w", prefix, name, err)
	}
	return nil
}
