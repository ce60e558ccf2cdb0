//go:build rdma

package rdma

/*
#include "verbs.h"

static struct ibv_mr *fr_reg_mr(struct ibv_pd *pd, uintptr_t addr, size_t n, int access) {
	return ibv_reg_mr(pd, (void *)addr, n, access);
}
*/
import "C"

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// PD is a protection domain: its queue pairs reach its memory regions and address handles, and no others.
type PD struct {
	ctx *Context
	pd  *C.struct_ibv_pd
}

// AllocPD makes a protection domain.
func (c *Context) AllocPD() (*PD, error) {
	pd, err := C.ibv_alloc_pd(c.c)
	if pd == nil {
		return nil, failed("ibv_alloc_pd", errnoOf(err), "%s", c.name)
	}
	return &PD{ctx: c, pd: pd}, nil
}

// Context is the device that the domain is of.
func (p *PD) Context() *Context { return p.ctx }

// Close closes the domain; its regions, queue pairs and address handles must be closed.
func (p *PD) Close() error {
	if p.pd == nil {
		return ErrClosed
	}
	if errno := C.ibv_dealloc_pd(p.pd); errno != 0 {
		return failed("ibv_dealloc_pd", int(errno), "close its regions, queue pairs and address handles first")
	}
	p.pd = nil
	return nil
}

// MR is a memory region: memory that the card may reach.
type MR struct {
	mr    *C.struct_ibv_mr
	bytes []byte
}

// Register makes a region of mem, which must not be Go's memory but mapped (unix.Mmap) or C's, and must stay mapped until the region was
// closed. Its pages are pinned, unless access has OnDemand, and count for RLIMIT_MEMLOCK.
func (p *PD) Register(mem []byte, access Access) (*MR, error) {
	if len(mem) == 0 {
		return nil, failed("ibv_reg_mr", int(syscall.EINVAL), "no memory")
	}
	if access&OnDemand != 0 && !p.ctx.odp {
		return nil, failedAs(ErrUnsupported, "ibv_reg_mr", 0, "%s has no on-demand paging; leave it out", p.ctx.name)
	}
	mr, err := C.fr_reg_mr(p.pd, C.uintptr_t(uintptr(unsafe.Pointer(&mem[0]))), C.size_t(len(mem)), C.int(access))
	if mr == nil {
		return nil, pinFailed("ibv_reg_mr", err, fmt.Sprintf("%d bytes", len(mem)))
	}
	return &MR{mr: mr, bytes: mem}, nil
}

// pinFailed is the error of a verb that pins memory: that of regions, and with many drivers that of queues.
func pinFailed(verb string, err error, what string) error {
	if errors.Is(err, syscall.ENOMEM) {
		return failedAs(ErrMemlock, verb, errnoOf(err), "%s were to be pinned and the limit is %s: "+
			"raise it ('ulimit -l unlimited', LimitMEMLOCK=infinity in systemd), or grant CAP_IPC_LOCK", what, memlock())
	}
	return failed(verb, errnoOf(err), "%s", what)
}

func memlock() string {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &l); err != nil {
		return "unknown"
	}
	if l.Cur == unix.RLIM_INFINITY {
		return "unlimited, so the machine's memory is"
	}
	return fmt.Sprintf("%d", l.Cur)
}

// Bytes is the region's memory.
func (m *MR) Bytes() []byte { return m.bytes }

// Addr is the address of the region's first byte, in this process.
func (m *MR) Addr() uint64 { return uint64(uintptr(unsafe.Pointer(&m.bytes[0]))) }

// piece is n bytes of the region, for a work request.
func (m *MR) piece(offset, n int) SGE {
	return SGE{Addr: m.Addr() + uint64(offset), Length: uint32(n), Key: m.LKey()}
}

// LKey names the region in this side's work requests.
func (m *MR) LKey() uint32 { return uint32(m.mr.lkey) }

// RKey names it in the remote side's.
func (m *MR) RKey() uint32 { return uint32(m.mr.rkey) }

// Close revokes the region: what names its keys from now on fails. Its memory is the caller's again.
func (m *MR) Close() error {
	if m.mr == nil {
		return ErrClosed
	}
	if errno := C.ibv_dereg_mr(m.mr); errno != 0 {
		return failed("ibv_dereg_mr", int(errno), "")
	}
	m.mr = nil
	return nil
}
