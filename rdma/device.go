//go:build rdma

package rdma

/*
#cgo LDFLAGS: -libverbs
#include <stdlib.h>
#include "verbs.h"

static int fr_query_port(struct ibv_context *c, uint8_t port, struct ibv_port_attr *a) { return ibv_query_port(c, port, a); }
static ssize_t fr_query_gids(struct ibv_context *c, struct ibv_gid_entry *e, size_t n) { return ibv_query_gid_table(c, e, n, 0); }
static struct ibv_device *fr_device(struct ibv_device **list, int i) { return list[i]; }
*/
import "C"

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// Devices lists the names of the RDMA devices. None is no error.
func Devices() ([]string, error) {
	var names []string
	err := eachDevice(func(_ *C.struct_ibv_device, name string) { names = append(names, name) })
	slices.Sort(names)
	return names, err
}

// eachDevice calls f with each device, which is valid until f returns.
func eachDevice(f func(d *C.struct_ibv_device, name string)) error {
	var n C.int
	list, err := C.ibv_get_device_list(&n)
	if list == nil {
		if errno, ok := err.(syscall.Errno); ok && errno != syscall.ENOSYS && errno != syscall.ENOENT {
			return failed("ibv_get_device_list", int(errno), "")
		}
		return nil // the kernel has no RDMA at all
	}
	defer C.ibv_free_device_list(list)
	for i := range n {
		d := C.fr_device(list, i)
		f(d, C.GoString(C.ibv_get_device_name(d)))
	}
	return nil
}

// Context is an open device. Its methods may be called from any goroutine, but not after Close, other than Event.
type Context struct {
	c    *C.struct_ibv_context
	name string
	attr C.struct_ibv_device_attr
	odp  bool
	most uint32 // bytes of a message

	async  *os.File // of the descriptor of asynchronous events, for Go's poller
	closed atomic.Bool
}

// Open opens a device by its name, or when name is empty the first one there is.
func Open(name string) (*Context, error) {
	var names []string
	var c *C.struct_ibv_context
	var openErr error
	err := eachDevice(func(d *C.struct_ibv_device, n string) {
		names = append(names, n)
		if c == nil && (n == name || name == "") {
			c, openErr = C.ibv_open_device(d)
			name = n
		}
	})
	switch {
	case err != nil:
		return nil, err
	case len(names) == 0:
		return nil, failedAs(ErrNoDevice, "ibv_get_device_list", 0, "this machine has none that the kernel's ib_uverbs module knows; see 'fastrpc doctor --rdma'")
	case c == nil && openErr == nil:
		return nil, failedAs(ErrNoDevice, "ibv_get_device_list", 0, "%q is not one of %s", name, strings.Join(names, ", "))
	case c == nil:
		return nil, failed("ibv_open_device", errnoOf(openErr), "%s", name)
	}
	ctx := &Context{c: c, name: name}
	if err = ctx.query(); err == nil {
		ctx.async, err = dupNonblock(int(c.async_fd), "async events of "+name)
	}
	if err != nil {
		C.ibv_close_device(c)
		return nil, err
	}
	return ctx, nil
}

func errnoOf(err error) int {
	if e, ok := err.(syscall.Errno); ok {
		return int(e)
	}
	return 0
}

func (c *Context) query() error {
	if errno := C.ibv_query_device(c.c, &c.attr); errno != 0 {
		return failed("ibv_query_device", int(errno), "%s", c.name)
	}
	var port C.struct_ibv_port_attr
	if errno := C.fr_query_port(c.c, 1, &port); errno != 0 {
		return failed("ibv_query_port", int(errno), "port 1 of %s", c.name)
	}
	c.most = uint32(port.max_msg_sz) // the device's, and at most 2 GiB (InfiniBand specification, C9-94)
	var ex C.struct_ibv_device_attr_ex
	if C.ibv_query_device_ex(c.c, nil, &ex) == 0 {
		c.odp = ex.odp_caps.general_caps&C.IBV_ODP_SUPPORT != 0
	}
	return nil
}

// Name of the device, such as "mlx5_0".
func (c *Context) Name() string { return c.name }

// Limits of a device.
type Limits struct {
	Firmware      string
	MaxQPs        int
	MaxWork       int // work requests of one queue
	MaxSGE        int
	MaxCQEs       int // entries of one completion queue
	MaxSRQs       int // 0: it has no shared receive queues
	MaxMRs        int
	MaxWindows    int // memory windows of type 2B; 0: it has none
	MaxReadAtomic int // reads and atomics of one queue pair under way at once, each way
	Atomics       bool
	OnDemand      bool // memory need not be pinned
	Ports         int
}

// Limits tells what the device can do.
func (c *Context) Limits() Limits {
	a := &c.attr
	windows := 0
	if a.device_cap_flags&C.IBV_DEVICE_MEM_WINDOW_TYPE_2B != 0 {
		windows = int(a.max_mw)
	}
	return Limits{
		Firmware: C.GoString(&a.fw_ver[0]), MaxQPs: int(a.max_qp), MaxWork: int(a.max_qp_wr), MaxSGE: int(a.max_sge), MaxCQEs: int(a.max_cqe),
		MaxSRQs: int(a.max_srq), MaxMRs: int(a.max_mr), MaxWindows: windows, MaxReadAtomic: int(min(a.max_qp_rd_atom, a.max_qp_init_rd_atom)),
		Atomics: a.atomic_cap != C.IBV_ATOMIC_NONE, OnDemand: c.odp, Ports: int(a.phys_port_cnt),
	}
}

// Port queries a port, counted from 1.
func (c *Context) Port(number int) (Port, error) {
	var a C.struct_ibv_port_attr
	if number < 1 || number > int(c.attr.phys_port_cnt) {
		return Port{}, failedAs(ErrNoPort, "ibv_query_port", 0, "%s has ports 1 to %d, not %d", c.name, c.attr.phys_port_cnt, number)
	}
	if errno := C.fr_query_port(c.c, C.uint8_t(number), &a); errno != 0 {
		return Port{}, failedAs(ErrNoPort, "ibv_query_port", int(errno), "port %d of %s", number, c.name)
	}
	p := Port{
		Device: c.name, Number: number, Active: a.state == C.IBV_PORT_ACTIVE, State: C.GoString(C.ibv_port_state_str(uint32(a.state))),
		Ethernet: a.link_layer == C.IBV_LINK_LAYER_ETHERNET, MTU: mtuBytes(uint32(a.active_mtu)), MaxMTU: mtuBytes(uint32(a.max_mtu)), LID: uint16(a.lid),
		MaxBytes: int(a.max_msg_sz),
	}
	if a.gid_tbl_len <= 0 {
		return p, nil
	}
	size := int(a.gid_tbl_len) * int(c.attr.phys_port_cnt) // of all ports: the table is the device's
	table := make([]C.struct_ibv_gid_entry, size)
	n := C.fr_query_gids(c.c, &table[0], C.size_t(size))
	if n < 0 {
		return p, failed("ibv_query_gid_table", int(n), "%s", c.name)
	}
	for _, e := range table[:n] {
		if int(e.port_num) == number {
			p.GIDs = append(p.GIDs, GIDEntry{
				GID: *(*GID)(unsafe.Pointer(&e.gid)), Index: int(e.gid_index), Type: GIDType(e.gid_type), Iface: int(e.ndev_ifindex),
			})
		}
	}
	return p, nil
}

// mtuBytes reads enum ibv_mtu: 1 is 256 bytes, 5 is 4,096.
func mtuBytes(e uint32) int {
	if e < 1 || e > 5 {
		return 0
	}
	return 128 << e
}

// mtuCode is the reverse, rounded down.
func mtuCode(bytes int) uint32 {
	for e := uint32(5); e > 1; e-- {
		if bytes >= 128<<e {
			return e
		}
	}
	return 1
}

// Close closes the device. All that was made from it must be closed.
func (c *Context) Close() error {
	if c.closed.Swap(true) {
		return ErrClosed
	}
	_ = c.async.Close() // a duplicate; it waits for Event
	if errno := C.ibv_close_device(c.c); errno != 0 {
		return failed("ibv_close_device", int(errno), "%s: close what was made from it first", c.name)
	}
	return nil
}

func (c *Context) String() string { return fmt.Sprintf("RDMA device %s", c.name) }
