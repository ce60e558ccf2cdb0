//go:build rdma

#include "verbs.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>

static void fill_send(struct ibv_send_wr *to, const struct fr_send *w, enum ibv_qp_type type) {
	to->wr_id = w->id;
	to->sg_list = (struct ibv_sge *)w->sge; // read only
	to->num_sge = (int)w->num_sge;
	to->opcode = w->op;
	to->send_flags = w->flags;
	to->imm_data = htonl(w->imm);
	if (type == IBV_QPT_UD) {
		to->wr.ud.ah = (struct ibv_ah *)w->ah;
		to->wr.ud.remote_qpn = w->remote_qpn;
		to->wr.ud.remote_qkey = w->qkey;
	} else if (w->op == IBV_WR_ATOMIC_CMP_AND_SWP || w->op == IBV_WR_ATOMIC_FETCH_AND_ADD) {
		to->wr.atomic.remote_addr = w->remote_addr;
		to->wr.atomic.compare_add = w->compare_add;
		to->wr.atomic.swap = w->swap;
		to->wr.atomic.rkey = w->rkey;
	} else {
		to->wr.rdma.remote_addr = w->remote_addr;
		to->wr.rdma.rkey = w->rkey;
	}
}

int fr_post_send(struct ibv_qp *qp, const struct fr_send *w, int n, uint32_t most, int *done) {
	struct ibv_send_wr chain[FR_BURST], *bad = NULL;
	int fit = 0;
	if (n < 1 || n > FR_BURST)
		return EINVAL;
	for (int i = 0; i < n; i++) {
		uint64_t bytes = 0;
		if (w[i].num_sge > FR_SGE || (qp->qp_type == IBV_QPT_UD && !w[i].ah))
			return EINVAL; // providers look into the address handle
		for (uint32_t j = 0; j < w[i].num_sge; j++)
			bytes += w[i].sge[j].length;
		if (bytes > most)
			break;
		fill_send(&chain[i], &w[i], qp->qp_type);
		if (i)
			chain[i - 1].next = &chain[i];
		fit++;
	}
	if (!fit)
		return EMSGSIZE;
	chain[fit - 1].next = NULL;
	int err = ibv_post_send(qp, chain, &bad);
	*done = err ? (bad ? (int)(bad - chain) : 0) : fit;
	return err ? abs(err) : fit < n ? EMSGSIZE : 0;
}

int fr_post_recv(struct ibv_qp *qp, struct ibv_srq *srq, const struct fr_recv *w, int n, int *done) {
	struct ibv_recv_wr chain[FR_BURST], *bad = NULL;
	if (n < 1 || n > FR_BURST)
		return EINVAL;
	for (int i = 0; i < n; i++) {
		if (w[i].num_sge > FR_SGE)
			return EINVAL;
		chain[i].wr_id = w[i].id;
		chain[i].sg_list = (struct ibv_sge *)w[i].sge; // read only
		chain[i].num_sge = (int)w[i].num_sge;
		chain[i].next = i + 1 < n ? &chain[i + 1] : NULL;
	}
	int err = srq ? ibv_post_srq_recv(srq, chain, &bad) : ibv_post_recv(qp, chain, &bad);
	*done = err ? (bad ? (int)(bad - chain) : 0) : n;
	return err < 0 ? -err : err;
}

int fr_poll(struct ibv_cq *cq, struct fr_wc *out, int n, int polls) {
	struct ibv_wc wc[FR_BURST];
	int got;
	do
		got = ibv_poll_cq(cq, n < FR_BURST ? n : FR_BURST, wc);
	while (!got && --polls > 0);
	for (int i = 0; i < got; i++) {
		out[i].id = wc[i].wr_id;
		out[i].status = wc[i].status;
		out[i].op = wc[i].opcode;
		out[i].flags = wc[i].wc_flags;
		out[i].bytes = wc[i].byte_len;
		out[i].imm = ntohl(wc[i].imm_data);
		out[i].qpn = wc[i].qp_num;
		out[i].source = wc[i].src_qp;
		out[i].vendor = wc[i].vendor_err;
		out[i].lid = wc[i].slid;
		out[i].sl = wc[i].sl;
		out[i].path_bits = wc[i].dlid_path_bits;
	}
	return got;
}

int fr_post_poll(struct ibv_qp *qp, const struct fr_send *w, int n, uint32_t most, int *done, struct ibv_cq *cq, struct fr_wc *out, int room,
		 int polls, int *got) {
	int err = fr_post_send(qp, w, n, most, done);
	*got = err ? 0 : fr_poll(cq, out, room, polls);
	return err;
}
