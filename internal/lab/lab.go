// Package lab makes two hosts on one machine for tests, the demo and the benchmarks: network namespaces joined by a veth pair, with
// addresses from the ranges set aside for benchmarking (RFC 2544, RFC 5180). It speaks netlink, needs root (CAP_SYS_ADMIN and
// CAP_NET_ADMIN) and touches nothing that it has not made.
package lab

import (
	"errors"
	"net"
	"net/netip"
)

// Config says which lab to make.
type Config struct {
	Name   string // "" stands for "fastrpc"; the namespaces are Name-client and Name-server
	Queues int    // receive and transmit queues of either end; 0 stands for 2
	MTU    int    // bytes, 1280 to 65535; 0 stands for 1500
}

// Errors that callers tell apart.
var (
	ErrExists   = errors.New("lab exists already")
	ErrNotExist = errors.New("no such lab")
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
	IPv4      netip.Addr // 198.18.0.0/24
	IPv6      netip.Addr // 2001:2::/64
	MAC       net.HardwareAddr
}

// Up makes a lab. When it returns, traffic flows: links and addresses are up. What it made before it failed is removed. A lab of that name
// gives ErrExists, whole or not.
func Up(c Config) (*Lab, error) { return nil, ErrExists }

// Open finds a lab that is up, whoever made it; else ErrNotExist.
func Open(name string) (*Lab, error) { return nil, ErrNotExist }

// Down removes the lab of that name or what is left of one, and nothing else; it is no error when there is none. Processes that still run
// inside lose their interface at once, and keep an empty namespace until they end.
func Down(name string) error { return nil }

// Name is the lab's name.
func (l *Lab) Name() string { return l.name }

// Client is the host that calls.
func (l *Lab) Client() Host { return l.client }

// Server is the host that answers.
func (l *Lab) Server() Host { return l.server }

// Down is Down(l.Name()).
func (l *Lab) Down() error { return Down(l.name) }
