//go:build rdma

#include "cm.h"
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

int fr_cm_event(struct rdma_event_channel *ch, struct fr_cm *out) {
	struct rdma_cm_event *e;
	memset(out, 0, sizeof *out);
	if (rdma_get_cm_event(ch, &e))
		return errno;
	out->id = e->id;
	out->listener = e->listen_id;
	out->type = e->event;
	out->status = e->status;
	const void *data = NULL;
	if (e->id->ps == RDMA_PS_UDP) {
		out->qpn = e->param.ud.qp_num;
		out->qkey = e->param.ud.qkey;
		out->ah = e->param.ud.ah_attr;
		if (!out->ah.is_global)
			out->ah.grh.dgid = e->id->route.addr.addr.ibaddr.dgid;
		data = e->param.ud.private_data;
		out->len = e->param.ud.private_data_len;
	} else {
		out->qpn = e->param.conn.qp_num;
		out->reads = e->param.conn.responder_resources;
		out->depth = e->param.conn.initiator_depth;
		data = e->param.conn.private_data;
		out->len = e->param.conn.private_data_len;
	}
	if (out->len > FR_PRIVATE)
		out->len = FR_PRIVATE;
	if (data)
		memcpy(out->data, data, out->len);
	else
		out->len = 0;
	rdma_ack_cm_event(e);
	return 0;
}

const char *fr_id_device(struct rdma_cm_id *id) { return id->verbs ? ibv_get_device_name(id->verbs->device) : NULL; }
int fr_id_port(struct rdma_cm_id *id) { return id->port_num; }
int fr_id_mtu(struct rdma_cm_id *id) {
	struct ibv_port_attr a;
	return id->verbs && !ibv_query_port(id->verbs, id->port_num, &a) ? (int)a.active_mtu : IBV_MTU_4096;
}
const union ibv_gid *fr_id_gid(struct rdma_cm_id *id) { return &id->route.addr.addr.ibaddr.sgid; }

int fr_create(struct rdma_event_channel *ch, struct rdma_cm_id **id, int ps) { return rdma_create_id(ch, id, NULL, ps) ? errno : 0; }
struct sockaddr *fr_peer(struct rdma_cm_id *id) { return rdma_get_peer_addr(id); }
struct sockaddr *fr_local(struct rdma_cm_id *id) { return rdma_get_local_addr(id); }

int fr_share_port(struct rdma_cm_id *id) {
	int on = 1;
	return rdma_set_option(id, RDMA_OPTION_ID, RDMA_OPTION_ID_REUSEADDR, &on, sizeof on) ? errno : 0;
}
int fr_bind(struct rdma_cm_id *id, struct sockaddr_storage *a) { return rdma_bind_addr(id, (struct sockaddr *)a) ? errno : 0; }
int fr_listen(struct rdma_cm_id *id, int backlog) { return rdma_listen(id, backlog) ? errno : 0; }
int fr_resolve(struct rdma_cm_id *id, struct sockaddr_storage *from, struct sockaddr_storage *to, int ms) {
	return rdma_resolve_addr(id, (struct sockaddr *)from, (struct sockaddr *)to, ms) ? errno : 0;
}
int fr_route(struct rdma_cm_id *id, int ms) { return rdma_resolve_route(id, ms) ? errno : 0; }

static struct rdma_conn_param fr_param(uint32_t qpn, int reads, int retries, int rnr, int srq, const uint8_t *data, int len) {
	struct rdma_conn_param p = {0};
	p.private_data = len ? data : NULL;
	p.private_data_len = (uint8_t)len;
	p.responder_resources = p.initiator_depth = (uint8_t)reads;
	p.retry_count = (uint8_t)retries;
	p.rnr_retry_count = (uint8_t)rnr;
	p.srq = (uint8_t)srq;
	p.qp_num = qpn;
	return p;
}
int fr_connect(struct rdma_cm_id *id, uint32_t qpn, int reads, int retries, int rnr, int srq, const uint8_t *data, int len) {
	struct rdma_conn_param p = fr_param(qpn, reads, retries, rnr, srq, data, len);
	return rdma_connect(id, &p) ? errno : 0;
}
int fr_establish(struct rdma_cm_id *id) { return rdma_establish(id) ? errno : 0; }
int fr_reject(struct rdma_cm_id *id, const uint8_t *data, int len) { return rdma_reject(id, data, (uint8_t)len) ? errno : 0; }
int fr_accept(struct rdma_cm_id *id, uint32_t qpn, int reads, int rnr, int srq, const uint8_t *data, int len) {
	struct rdma_conn_param p = fr_param(qpn, reads, 0, rnr, srq, data, len);
	return rdma_accept(id, &p) ? errno : 0;
}
int fr_modify_by(struct rdma_cm_id *id, struct ibv_qp *qp, enum ibv_qp_state state, int access, int reads, int mtu, const char **verb) {
	struct ibv_qp_attr a;
	int mask;
	memset(&a, 0, sizeof a);
	a.qp_state = state;
	*verb = "rdma_init_qp_attr";
	if (rdma_init_qp_attr(id, &a, &mask))
		return errno;
	if (mask & IBV_QP_ACCESS_FLAGS)
		a.qp_access_flags = (unsigned)access;
	// The kernel says what the other side asked for, which may be more than was agreed to, or than the device has.
	if (mask & IBV_QP_MAX_DEST_RD_ATOMIC && a.max_dest_rd_atomic > reads)
		a.max_dest_rd_atomic = (uint8_t)reads;
	if (mask & IBV_QP_MAX_QP_RD_ATOMIC && a.max_rd_atomic > reads)
		a.max_rd_atomic = (uint8_t)reads;
	if (mask & IBV_QP_MIN_RNR_TIMER)
		a.min_rnr_timer = FR_RNR_TIMER; // the kernel's choice is 0, which stands for 655 ms (drivers/infiniband/core/cm.c, cm_init_qp_rtr_attr)
	// RoCE has no subnet manager that knows both ends: the path MTU is what the side that asked has (drivers/infiniband/core/cma.c, iboe_get_mtu).
	if (mask & IBV_QP_PATH_MTU && a.path_mtu > (enum ibv_mtu)mtu)
		a.path_mtu = (enum ibv_mtu)mtu;
	*verb = "ibv_modify_qp";
	return ibv_modify_qp(qp, &a, mask);
}
