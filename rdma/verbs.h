// What Go asks of libibverbs: structures in a form that both share, and one function for each burst.
#ifndef FASTRPC_VERBS_H
#define FASTRPC_VERBS_H

#include <infiniband/verbs.h>
#include <stdint.h>

#define FR_BURST 64
#define FR_SGE 2

// How long a sender waits that met no receive: 12 stands for 0.64 ms (InfiniBand specification, table 45).
#define FR_RNR_TIMER 12

// SendWR, RecvWR and WC of work.go; layout.go compares them field by field.
struct fr_send {
	uint64_t id;
	uint32_t op, flags, imm, num_sge;
	struct ibv_sge sge[FR_SGE];
	uint64_t remote_addr, compare_add, swap;
	uint32_t rkey, remote_qpn, qkey, unused;
	uintptr_t ah;
};

struct fr_recv {
	uint64_t id;
	uint32_t num_sge, unused;
	struct ibv_sge sge[FR_SGE];
};

struct fr_wc {
	uint64_t id;
	uint32_t status, op, flags, bytes, imm, qpn, source, vendor;
	uint16_t lid;
	uint8_t sl, path_bits;
	uint32_t unused;
};

// They return 0 or an errno; *done counts the requests that the queue took. EMSGSIZE: the next one has more than most bytes.
int fr_post_send(struct ibv_qp *qp, const struct fr_send *w, int n, uint32_t most, int *done);
int fr_post_recv(struct ibv_qp *qp, struct ibv_srq *srq, const struct fr_recv *w, int n, int *done);

// fr_poll polls until there are completions, so many times at most, and at least once. It returns how many it wrote, at most FR_BURST;
// below 0 the queue has failed.
int fr_poll(struct ibv_cq *cq, struct fr_wc *out, int n, int polls);

// fr_post_poll is fr_post_send, and if the queue took all, fr_poll; *got is what that returns.
int fr_post_poll(struct ibv_qp *qp, const struct fr_send *w, int n, uint32_t most, int *done, struct ibv_cq *cq, struct fr_wc *out, int room,
		 int polls, int *got);

#endif
