// Package lab makes two hosts on one machine for tests, the demo and the benchmarks: network namespaces joined by a veth pair, with
// addresses from the ranges set aside for benchmarking (RFC 2544, RFC 5180). It speaks netlink, needs root (CAP_SYS_ADMIN and
// CAP_NET_ADMIN) and touches nothing that it has not made: each namespace carries a mark from before it has a name.
package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"

	"golang.org/x/sys/unix"
)

// What a Config leaves out.
const (
	DefaultName   = "fastrpc"
	DefaultQueues = 2 // enough to have packets on a queue that is not the first
	DefaultMTU    = 1500
)

// Bounds of Config.MTU.
const (
	MinMTU = 1280 // IPv6's (RFC 8200 section 5)
	MaxMTU = 65535
)

const (
	maxQueues = 64 // far below the kernel's 4096; each costs memory and a NAPI
)

// Config says which lab to make.
type Config struct {
	Name   string // "" stands for DefaultName; the namespaces are Name-client and Name-server
	Queues int    // receive and transmit queues of either end, 1 to 64; 0 stands for DefaultQueues
	MTU    int    // bytes, 1280 to 65535; 0 stands for DefaultMTU. Native XDP on veth takes some 3,500 without multi-buffer
}

// Errors that callers tell apart.
var (
	ErrExists   = errors.New("lab exists already")
	ErrNotExist = errors.New("no such lab")
	ErrForeign  = errors.New("network namespace was not made by a lab")
)

// A Lab is two hosts joined by one cable.
type Lab struct {
	name           string
	client, server Host
}

// A Host is one end of the cable. It is a value that stays valid until the lab is taken down.
type Host struct {
	Namespace string     // its name under /run/netns
	Interface string     // its end of the cable
	Ifindex   int        // in the namespace
	IPv4      netip.Addr // of 198.18.0.0/24
	IPv6      netip.Addr // of 2001:2::/64
	MAC       net.HardwareAddr
}

// Up makes a lab. When it returns, traffic flows: links and addresses are up. What it made before it failed is removed. A lab of that name,
// whole or not, gives ErrExists.
func Up(c Config) (*Lab, error) {
	c, err := c.complete()
	if err != nil {
		return nil, err
	}
	unlock, err := lockRunDir()
	if err != nil {
		return nil, err
	}
	defer unlock()
	for _, r := range roles {
		switch _, err := os.Lstat(r.path(c.Name)); {
		case err == nil:
			return nil, fmt.Errorf("lab %q: %w: %s is there; take the lab down first, or use it", c.Name, ErrExists, r.path(c.Name))
		case !os.IsNotExist(err):
			return nil, fmt.Errorf("lab %q: %w", c.Name, err)
		}
	}
	l, err := build(c)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lab %q: %w", c.Name, err), remove(c.Name))
	}
	return l, nil
}

// Open finds a lab that is up, whoever made it. One that is not whole gives an error that says what is missing.
func Open(name string) (*Lab, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	l := &Lab{name: name}
	for _, r := range roles {
		h, missing, err := r.inspect(name)
		if err != nil {
			return nil, fmt.Errorf("lab %q: %w", name, err)
		}
		if missing != "" {
			return nil, fmt.Errorf("lab %q is not whole: no %s; take it down and up again", name, missing)
		}
		*r.of(l) = h
	}
	return l, nil
}

// Down removes the lab of that name or what is left of one, and nothing else; it is no error when there is none. Processes that still run
// inside lose their interface at once, and keep an empty namespace until they end.
func Down(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	unlock, err := lockRunDir()
	if err != nil {
		return err
	}
	defer unlock()
	return remove(name)
}

// Name is the lab's name.
func (l *Lab) Name() string { return l.name }

// Client is the host that calls.
func (l *Lab) Client() Host { return l.client }

// Server is the host that answers.
func (l *Lab) Server() Host { return l.server }

// Down is Down(l.Name()).
func (l *Lab) Down() error { return Down(l.name) }

func (c Config) complete() (Config, error) {
	if c.Name == "" {
		c.Name = DefaultName
	}
	if c.Queues == 0 {
		c.Queues = DefaultQueues
	}
	if c.MTU == 0 {
		c.MTU = DefaultMTU
	}
	if err := checkName(c.Name); err != nil {
		return c, err
	}
	if c.Queues < 1 || c.Queues > maxQueues {
		return c, fmt.Errorf("lab %q: %d queues; choose 1 to %d", c.Name, c.Queues, maxQueues)
	}
	if c.MTU < MinMTU || c.MTU > MaxMTU {
		return c, fmt.Errorf("lab %q: an MTU of %d bytes; choose %d to %d", c.Name, c.MTU, MinMTU, MaxMTU)
	}
	return c, nil
}

var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,31}$`)

func checkName(name string) error {
	if !nameForm.MatchString(name) {
		return fmt.Errorf("lab name %q is not 1 to 32 of a-z, 0-9, _ and -, starting with a letter or digit", name)
	}
	return nil
}

// remove takes away both namespaces, whatever there is of them. The caller holds the lock.
func remove(name string) error {
	var errs []error
	for _, r := range roles {
		if err := r.remove(name); err != nil {
			errs = append(errs, fmt.Errorf("lab %q: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// privileged explains a refusal for want of privileges.
func privileged(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%w: network namespaces need CAP_SYS_ADMIN and CAP_NET_ADMIN; run it as root", err)
	}
	return err
}
