// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// Stamps in the kernel: when the driver of one interface had a packet to send, when one that was received came up from it, and when it was in the
// ring of an AF_XDP socket. The programs change nothing of what becomes of a packet; each writes a time and a length into memory that the
// process maps.
//
//go:build ignore

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define NET_RX_SOFTIRQ 3 /* include/linux/interrupt.h */

/* What is read of the kernel's types; the loader finds the fields' places in the running kernel's BTF. */
struct ns_common {
	unsigned int inum;
} __attribute__((preserve_access_index));

struct net {
	struct ns_common ns;
} __attribute__((preserve_access_index));

typedef struct {
	struct net *net;
} __attribute__((preserve_access_index)) possible_net_t;

struct net_device {
	int ifindex;
	possible_net_t nd_net;
} __attribute__((preserve_access_index));

struct sk_buff {
	unsigned int len;
	struct net_device *dev;
} __attribute__((preserve_access_index));

/* As Event in Go. */
struct event {
	__u64 at; /* CLOCK_MONOTONIC, ns */
	__u32 number; /* bytes of the packet */
	__u32 kind;
};

/* The order of Kind in Go. */
enum kind {
	TRANSMITTED = 1,
	ARRIVED,
	COPIED,
};

/* The interface: its index, and the inode number of its network namespace. The process, in its namespace of processes. The loader sets them. */
volatile const __s32 ifindex = 0;
volatile const __u32 netns = 0;
volatile const __u64 pidns_dev = 0, pidns_ino = 0;
volatile const __u32 process = 0;

/*
 * Packets leave on one CPU and come on another's, that of a sender over veth. A log of its own for either, with its counter on its own cache
 * line, keeps the CPUs from waiting for each other's.
 */
struct counter {
	__u32 next; /* events so far, those included for which there was no room */
} __attribute__((aligned(64)));

struct counter sent_count SEC(".data.sent");
struct counter arrived_count SEC(".data.arrived");

/* The loader sets the sizes. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct event);
} sent SEC(".maps"), arrived SEC(".maps");

/* The XDP program that was on the interface. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} before SEC(".maps");

static __always_inline void record(void *log, struct counter *count, __u32 kind, __u32 number)
{
	__u64 at = bpf_ktime_get_ns();
	__u32 i = __sync_fetch_and_add(&count->next, 1);
	struct event *e = bpf_map_lookup_elem(log, &i);

	if (e) {
		e->at = at;
		e->number = number;
		e->kind = kind;
	}
}

static __always_inline int is_ours(struct net_device *dev)
{
	return dev->ifindex == ifindex && dev->nd_net.net->ns.inum == netns;
}

/* Packets of the kernel's sockets. */
SEC("tp_btf/net_dev_start_xmit")
int BPF_PROG(start_xmit, struct sk_buff *skb, struct net_device *dev)
{
	if (is_ours(dev))
		record(&sent, &sent_count, TRANSMITTED, skb->len);
	return 0;
}

__u32 known; /* the process's number in the kernel's first namespace, once it was met: asking for that in its own takes longer */

static __always_inline int is_own_process(void)
{
	__u32 current = bpf_get_current_pid_tgid() >> 32;
	struct bpf_pidns_info own;

	if (current == known)
		return 1;
	if (known || bpf_get_ns_current_pid_tgid(pidns_dev, pidns_ino, &own, sizeof(own)) || own.tgid != process)
		return 0;
	known = current;
	return 1;
}

/*
 * Packets of AF_XDP sockets go to the driver past all tracepoints (net/core/dev.c, __dev_direct_xmit). That of veth then has the peer's side polled:
 * it raises the softirq, in the system call of the process that sends (drivers/net/veth.c, __veth_xdp_flush).
 */
SEC("tp_btf/softirq_raise")
int BPF_PROG(raise_softirq, unsigned int number)
{
	if (number == NET_RX_SOFTIRQ && is_own_process())
		record(&sent, &sent_count, TRANSMITTED, 0);
	return 0;
}

/* Without XDP this is the first place behind the driver that all packets pass. Layer 2 has been pulled off by then. */
SEC("tp_btf/netif_receive_skb")
int BPF_PROG(receive_skb, struct sk_buff *skb)
{
	if (is_ours(skb->dev))
		record(&arrived, &arrived_count, ARRIVED, skb->len + ETH_HLEN);
	return 0;
}

/* Takes the place of the XDP program on the interface, and goes on to it. */
SEC("xdp")
int run_xdp(struct xdp_md *ctx)
{
	record(&arrived, &arrived_count, ARRIVED, ctx->data_end - ctx->data);
	bpf_tail_call(ctx, &before, 0);
	return XDP_PASS;
}

/* The packet was copied into the RX ring (net/core/filter.c, __xdp_do_redirect_xsk), which the driver publishes when its poll ends. */
SEC("tp_btf/xdp_redirect")
int BPF_PROG(redirect_xdp, struct net_device *dev)
{
	if (is_ours(dev))
		record(&arrived, &arrived_count, COPIED, 0);
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
