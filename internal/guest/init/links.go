package main

import (
	"fmt"
	"os"
	"time"

	"github.com/vishvananda/netlink"
)

// carrierTimeout bounds the wait for network cards and their carrier: an emulated igb takes seconds, more on a crowded machine.
const carrierTimeout = 60 * time.Second

// linksUp brings the loopback and nics network cards up and waits for their carrier. The cards do without IPv6's own chatter: what is on
// the wire is the program's.
func linksUp(nics int) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("lo: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("lo: %w", err)
	}
	updates, done := make(chan netlink.LinkUpdate), make(chan struct{})
	defer close(done)
	if err := netlink.LinkSubscribeWithOptions(updates, done, netlink.LinkSubscribeOptions{ListExisting: true}); err != nil {
		return fmt.Errorf("watch links: %w", err)
	}
	timeout := time.After(carrierTimeout)
	states := map[string]netlink.LinkOperState{}
	for up := 0; up < nics; {
		select {
		case u := <-updates:
			a := u.Attrs()
			if a.HardwareAddr == nil || a.Name == "lo" {
				continue
			}
			if _, known := states[a.Name]; !known {
				if err := setUp(u.Link); err != nil {
					return fmt.Errorf("%s: %w", a.Name, err)
				}
			}
			states[a.Name] = a.OperState
		case <-timeout:
			return fmt.Errorf("%d network cards are expected to be up after %v; there are %v", nics, carrierTimeout, states)
		}
		up = 0
		for _, s := range states {
			if s == netlink.OperUp {
				up++
			}
		}
	}
	return nil
}

func setUp(l netlink.Link) error {
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+l.Attrs().Name+"/disable_ipv6", []byte("1"), 0); err != nil {
		return err
	}
	return netlink.LinkSetUp(l)
}
