//go:build rdma

package rdma

/*
#cgo noescape fr_bind_mw
#cgo nocallback fr_bind_mw
#cgo nocallback fr_invalidate
#include "verbs.h"

static struct ibv_mw *fr_alloc_mw(struct ibv_pd *pd) { return ibv_alloc_mw(pd, IBV_MW_TYPE_2); }
static int fr_dealloc_mw(struct ibv_mw *mw) { return ibv_dealloc_mw(mw); }
static uint32_t fr_next_key(uint32_t key) { return ibv_inc_rkey(key); }

static int fr_bind_mw(struct ibv_qp *qp, struct ibv_mw *mw, uint32_t key, struct ibv_mr *mr, uint64_t addr, uint64_t n, int access, uint64_t id, int flags) {
	struct ibv_send_wr w = { .wr_id = id, .opcode = IBV_WR_BIND_MW, .send_flags = flags }, *bad;
	w.bind_mw.mw = mw;
	w.bind_mw.rkey = key;
	w.bind_mw.bind_info.mr = mr;
	w.bind_mw.bind_info.addr = addr;
	w.bind_mw.bind_info.length = n;
	w.bind_mw.bind_info.mw_access_flags = access;
	return ibv_post_send(qp, &w, &bad);
}

static int fr_invalidate(struct ibv_qp *qp, uint32_t key, uint64_t id, int flags) {
	struct ibv_send_wr w = { .wr_id = id, .opcode = IBV_WR_LOCAL_INV, .send_flags = flags, .invalidate_rkey = key }, *bad;
	return ibv_post_send(qp, &w, &bad);
}
*/
import "C"

// MW is a memory window of type 2B: a part of a region that the other side of one connection may reach, from a bind to an invalidation or
// the end of the connection's queue pair. Both are work of the queue pair, which costs no system call. A queue pair binds a window that is
// not bound.
type MW struct{ mw *C.struct_ibv_mw }

// AllocMW makes a window. ErrUnsupported: the device has none of type 2B; see Limits.
func (p *PD) AllocMW() (*MW, error) {
	if p.ctx.attr.device_cap_flags&C.IBV_DEVICE_MEM_WINDOW_TYPE_2B == 0 {
		return nil, failedAs(ErrUnsupported, "ibv_alloc_mw", 0, "%s has no memory windows of type 2B", p.ctx.name)
	}
	mw, err := C.fr_alloc_mw(p.pd)
	if mw == nil {
		return nil, failed("ibv_alloc_mw", errnoOf(err), "%s has %d", p.ctx.name, p.ctx.attr.max_mw)
	}
	return &MW{mw: mw}, nil
}

// Bind posts that the other side of q's connection may reach n bytes of a region that was registered with WindowBind, by a key that is
// another one each time (of 256), and holds for what q posts from here on. With Signaled it makes a completion.
func (m *MW) Bind(q *QP, id uint64, r *MR, offset, n int, access Access, flags SendFlags) (key uint32, err error) {
	if m.mw == nil || q.qp == nil {
		return 0, ErrClosed
	}
	next := C.fr_next_key(m.mw.rkey)
	errno := C.fr_bind_mw(q.qp, m.mw, next, r.mr, C.uint64_t(r.Addr()+uint64(offset)), C.uint64_t(n), C.int(access), C.uint64_t(id), C.int(flags))
	if errno != 0 {
		return 0, postFailed("ibv_post_send", int(errno), 0, 1)
	}
	m.mw.rkey = next // which the next bind has to name (kernel, drivers/infiniband/sw/rxe/rxe_mw.c, rxe_bind_mw)
	return uint32(next), nil
}

// Invalidate posts the end of what Bind began: when it completes, the other side can reach the memory no more. It is for the queue pair
// of the bind; with that closed, nothing is to be done.
func (m *MW) Invalidate(q *QP, id uint64, flags SendFlags) error {
	if m.mw == nil || q.qp == nil {
		return ErrClosed
	}
	if errno := C.fr_invalidate(q.qp, m.mw.rkey, C.uint64_t(id), C.int(flags)); errno != 0 {
		return postFailed("ibv_post_send", int(errno), 0, 1)
	}
	return nil
}

// Close frees the window, and ends its bind if there is one.
func (m *MW) Close() error {
	if m.mw == nil {
		return ErrClosed
	}
	if errno := C.fr_dealloc_mw(m.mw); errno != 0 {
		return failed("ibv_dealloc_mw", int(errno), "")
	}
	m.mw = nil
	return nil
}
