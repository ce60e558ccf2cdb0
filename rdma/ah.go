//go:build rdma

package rdma

/*
#include "verbs.h"
#include <string.h>

static struct ibv_ah *fr_create_ah(struct ibv_pd *pd, const uint8_t *gid, int gid_index, int port, int hops, int lid) {
	struct ibv_ah_attr a = {0};
	a.is_global = 1;
	memcpy(a.grh.dgid.raw, gid, 16);
	a.grh.sgid_index = (uint8_t)gid_index;
	a.grh.hop_limit = (uint8_t)hops;
	a.port_num = (uint8_t)port;
	a.dlid = (uint16_t)lid;
	return ibv_create_ah(pd, &a);
}
*/
import "C"

import "unsafe"

// AH is an address handle: the way to a remote port, for datagrams.
type AH struct {
	ah *C.struct_ibv_ah
}

// hopLimit of datagrams, as IP's usual one.
const hopLimit = 64

// CreateAH makes a handle for a remote GID, from a row of a port's GID table. Making one may wait for the remote's MAC address.
func (p *PD) CreateAH(port int, from GIDEntry, to GID) (*AH, error) {
	ah, err := C.fr_create_ah(p.pd, (*C.uint8_t)(unsafe.Pointer(&to[0])), C.int(from.Index), C.int(port), hopLimit, 0)
	if ah == nil {
		return nil, failed("ibv_create_ah", errnoOf(err), "from %v (GID index %d) to %v: is there a route and a neighbour ('ip route get', 'ip neigh')?",
			from.GID, from.Index, to)
	}
	return &AH{ah: ah}, nil
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
