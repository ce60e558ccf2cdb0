// What Go asks of librdmacm. All functions but those that return something else return 0 or an errno.
#ifndef FASTRPC_CM_H
#define FASTRPC_CM_H

#include <rdma/rdma_cma.h>
#include <stdint.h>
#include "verbs.h"

#define FR_PRIVATE 56 // bytes of private data in a request of RDMA_PS_TCP; RDMA_PS_UDP has room for more

// An event, copied, so that it can be acknowledged at once.
struct fr_cm {
	struct rdma_cm_id *id, *listener;
	uint32_t type;
	int status;
	uint32_t qpn, qkey;
	struct ibv_ah_attr ah; // of a datagram lookup; with the remote GID, also where packets need no global header
	uint8_t reads, depth, len;
	uint8_t data[FR_PRIVATE];
};

int fr_cm_event(struct rdma_event_channel *ch, struct fr_cm *out);
const char *fr_id_device(struct rdma_cm_id *id);
int fr_id_port(struct rdma_cm_id *id);
int fr_id_mtu(struct rdma_cm_id *id); // enum ibv_mtu of the port now
const union ibv_gid *fr_id_gid(struct rdma_cm_id *id);
int fr_create(struct rdma_event_channel *ch, struct rdma_cm_id **id, int ps);
struct sockaddr *fr_peer(struct rdma_cm_id *id);
struct sockaddr *fr_local(struct rdma_cm_id *id);
int fr_share_port(struct rdma_cm_id *id);
int fr_bind(struct rdma_cm_id *id, struct sockaddr_storage *a);
int fr_listen(struct rdma_cm_id *id, int backlog);
int fr_resolve(struct rdma_cm_id *id, struct sockaddr_storage *from, struct sockaddr_storage *to, int ms);
int fr_route(struct rdma_cm_id *id, int ms);
int fr_connect(struct rdma_cm_id *id, uint32_t qpn, int reads, int retries, int rnr, int srq, const uint8_t *data, int len);
int fr_establish(struct rdma_cm_id *id);
int fr_reject(struct rdma_cm_id *id, const uint8_t *data, int len);
int fr_accept(struct rdma_cm_id *id, uint32_t qpn, int reads, int rnr, int srq, const uint8_t *data, int len);
int fr_modify_by(struct rdma_cm_id *id, struct ibv_qp *qp, enum ibv_qp_state state, int access, int reads, int mtu, const char **verb);

#endif
