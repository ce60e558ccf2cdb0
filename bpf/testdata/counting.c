// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// Somebody else's programs, for xdp-loader: they count IPv4 packets, so that the kernel's own talk to its
// neighbours does not count, and pass everything on. Each load has a count of its own.
//
//go:build ignore

#include <linux/bpf.h>
#include <linux/if_ether.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

static __always_inline int count(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	__u32 slot = 0;
	__u64 *n = bpf_map_lookup_elem(&seen, &slot);

	if (n && (void *)(eth + 1) <= (void *)(long)ctx->data_end && eth->h_proto == bpf_htons(ETH_P_IP))
		__sync_fetch_and_add(n, 1);
	return XDP_PASS;
}

SEC("xdp")
int counting(struct xdp_md *ctx)
{
	return count(ctx);
}

SEC("xdp")
int counting_too(struct xdp_md *ctx)
{
	return count(ctx);
}

/* It may change packets, as far as the kernel can tell. */
SEC("xdp")
int changing(struct xdp_md *ctx)
{
	bpf_xdp_adjust_head(ctx, 0);
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
