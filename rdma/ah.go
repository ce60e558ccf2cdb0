//go:build rdma

package rdma

/*
#include "verbs.h"

static int fr_link_layer(struct ibv_context *c, uint8_t port) {
	struct ibv_port_attr a;
	return ibv_query_port(c, port, &a) ? -1 : a.link_layer;
}
*/
import "C"

import (
	"syscall"
	"unsafe"
)

// AH is an address handle: the way to a remote port, for datagrams.
type AH struct {
	ah *C.struct_ibv_ah
}

// CreateAH makes a handle of an address vector. Making one over Ethernet may wait for the remote's MAC address.
func (p *PD) CreateAH(v AddressVector) (*AH, error) {
	layer := C.fr_link_layer(p.ctx.c, C.uint8_t(v.Port))
	if layer < 0 {
		return nil, failedAs(ErrNoPort, "ibv_create_ah", int(syscall.EINVAL), "%s has ports 1 to %d, not %d", p.ctx.name, p.ctx.attr.phys_port_cnt, v.Port)
	}
	if err := v.check(layer == C.IBV_LINK_LAYER_ETHERNET); err != nil {
		return nil, failed("ibv_create_ah", int(syscall.EINVAL), "%v", err)
	}
	a := v.attr()
	ah, err := C.ibv_create_ah(p.pd, &a)
	if ah == nil {
		return nil, failed("ibv_create_ah", errnoOf(err), "from port %d (GID index %d) to %v, LID %d: is the index in the port's table, and is there a "+
			"route and a neighbour ('ip route get', 'ip neigh')?", v.Port, v.FromIndex, v.GID, v.LID)
	}
	return &AH{ah: ah}, nil
}

// attr is the vector as libibverbs has it.
func (v *AddressVector) attr() (a C.struct_ibv_ah_attr) {
	a.port_num, a.dlid, a.sl, a.src_path_bits, a.static_rate = C.uint8_t(v.Port), C.uint16_t(v.LID), C.uint8_t(v.SL), C.uint8_t(v.PathBits), C.uint8_t(v.Rate)
	if v.Global {
		a.is_global = 1
		*(*GID)(unsafe.Pointer(&a.grh.dgid)) = v.GID
		a.grh.sgid_index, a.grh.flow_label, a.grh.hop_limit, a.grh.traffic_class = C.uint8_t(v.FromIndex), C.uint32_t(v.FlowLabel), C.uint8_t(v.Hops), C.uint8_t(v.Class)
	}
	return a
}

// vectorOf is the reverse of attr.
func vectorOf(a *C.struct_ibv_ah_attr) AddressVector {
	return AddressVector{
		Port: int(a.port_num), LID: uint16(a.dlid), SL: uint8(a.sl), PathBits: uint8(a.src_path_bits), Rate: uint8(a.static_rate), Global: a.is_global != 0,
		GID: *(*GID)(unsafe.Pointer(&a.grh.dgid)), FromIndex: int(a.grh.sgid_index),
		FlowLabel: uint32(a.grh.flow_label), Hops: uint8(a.grh.hop_limit), Class: uint8(a.grh.traffic_class),
	}
}

// Handle names it in work requests.
func (a *AH) Handle() Handle { return Handle(unsafe.Pointer(a.ah)) }

// Close closes the handle; no work request that names it may be under way.
func (a *AH) Close() error {
	if a.ah == nil {
		return ErrClosed
	}
	if errno := C.ibv_destroy_ah(a.ah); errno != 0 {
		return failed("ibv_destroy_ah", int(errno), "")
	}
	a.ah = nil
	return nil
}
