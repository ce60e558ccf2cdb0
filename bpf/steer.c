// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// The steering program. UDP packets for our ports, from sources we allow, go to the AF_XDP socket of the queue they came in on. Everything
// else goes to the kernel, untouched: this program has no way to drop a packet.
//
//go:build ignore

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define IPV4_MORE_FRAGMENTS 0x2000 /* RFC 791 section 3.1 */
#define IPV4_FRAGMENT_OFFSET 0x1fff

/* Any value will do that tells the families apart; the Go side writes the same. */
#define FAMILY_IPV4 4
#define FAMILY_IPV6 6

#define PORT_WORDS (65536 / 64) /* of a queue */

/* What became of a packet: the index of its counter, and the order of the fields of Counters in Go. */
enum verdict {
	REDIRECTED,
	NO_SOCKET,
	DENIED,
	NOT_OUR_PORT,
	NOT_UDP,
	FRAGMENT,
	MALFORMED,
	GROUP,
	VERDICTS,
};

struct vlan_tag {
	__be16 tci;
	__be16 proto;
};

/* A source address, and the key of the prefix trie. The family is part of what is matched, so that one trie holds both and ::/0 is not 0.0.0.0/0. */
struct source {
	__u32 prefixlen; /* bits of family and addr that count, host order */
	__u32 family;
	__u8 addr[16]; /* network order; IPv4 takes the first four bytes */
};

/*
 * Our destination ports, a bitmap for each queue: port p (host order) of queue q is bit p % 64 of word q * 1024 + p / 64. The verifier turns the
 * lookup in an array into a bounds check and a load, where a hash costs a call: foreign UDP took 28 ns a packet, with a hash 52
 * (BenchmarkSteer). At 8 KiB a queue its part stays in the first-level cache; one byte a port, which an array rounds up to eight, would be
 * 512 KiB that foreign traffic strews over it.
 *
 * By queue, because a queue has one socket, hence one owner: processes that share this program each write the ports of their own queues,
 * and what a process leaves behind that was killed steers nothing, since its sockets have left the map below. The loader sets the size.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PORT_WORDS);
	__type(key, __u32);
	__type(value, __u64);
} ports SEC(".maps");

/*
 * The prefixes that our packets may come from. An empty slot stands for any source and costs one load. A list is replaced as a whole,
 * by one pointer: no packet ever meets half of it.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_LPM_TRIE);
		__uint(max_entries, 1024);
		__uint(map_flags, BPF_F_NO_PREALLOC);
		__uint(key_size, sizeof(struct source));
		__uint(value_size, 1);
	});
} sources SEC(".maps");

/* The AF_XDP socket of each queue. The loader sets the size. */
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, VERDICTS);
	__type(key, __u32);
	__type(value, __u64);
} verdicts SEC(".maps");

/*
 * Whether a packet may go on in buffers behind the first, where this program does not see it. The loader sets it. It is constant to the verifier,
 * which then never looks at what older kernels than 5.18 do not know.
 */
volatile const __u8 multi_buffer = 0;

static __always_inline int is_our_port(__u32 queue, __be16 port)
{
	__u32 p = bpf_ntohs(port), word = queue * PORT_WORDS + p / 64;
	__u64 *bits = bpf_map_lookup_elem(&ports, &word);

	return bits && (*bits >> (p % 64)) & 1;
}

static __always_inline int is_allowed(const struct source *src)
{
	__u32 slot = 0;
	void *list = bpf_map_lookup_elem(&sources, &slot);

	return !list || bpf_map_lookup_elem(list, src);
}

/* Judges a packet of length bytes, which came in on a queue, by those from data to end, which hold its headers. REDIRECTED means: ours. */
static __always_inline enum verdict classify(void *data, void *end, __u64 length, __u32 queue)
{
	struct source src = {};
	struct ethhdr *eth = data;
	struct udphdr *udp;
	__u32 payload; /* bytes that the IP header announces behind itself */
	void *net = eth + 1;
	__be16 proto;

	if (net > end)
		return MALFORMED;
	if (eth->h_dest[0] & 1)
		return GROUP;
	proto = eth->h_proto;
	if (proto == bpf_htons(ETH_P_8021Q) || proto == bpf_htons(ETH_P_8021AD)) {
		struct vlan_tag *tag = net;

		net = tag + 1;
		if (net > end)
			return MALFORMED;
		proto = tag->proto;
	}

	if (proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = net;
		__u32 header, total;

		if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl < 5)
			return MALFORMED;
		if (ip->frag_off & bpf_htons(IPV4_MORE_FRAGMENTS | IPV4_FRAGMENT_OFFSET))
			return FRAGMENT;
		if (ip->protocol != IPPROTO_UDP)
			return NOT_UDP;
		if ((ip->daddr & bpf_htonl(0xf0000000)) == bpf_htonl(0xe0000000) || ip->daddr == bpf_htonl(INADDR_BROADCAST))
			return GROUP;
		header = ip->ihl * 4;
		total = bpf_ntohs(ip->tot_len);
		if (total < header || net - data + total > length)
			return MALFORMED;
		payload = total - header;
		udp = net + header;
		src.prefixlen = 32 + 32;
		src.family = FAMILY_IPV4;
		__builtin_memcpy(src.addr, &ip->saddr, 4);
	} else if (proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = net;

		if ((void *)(ip + 1) > end || ip->version != 6)
			return MALFORMED;
		if (ip->nexthdr == IPPROTO_FRAGMENT)
			return FRAGMENT;
		if (ip->nexthdr != IPPROTO_UDP)
			return NOT_UDP;
		if (ip->daddr.s6_addr[0] == 0xff)
			return GROUP;
		payload = bpf_ntohs(ip->payload_len);
		udp = (void *)(ip + 1);
		if ((void *)udp - data + payload > length)
			return MALFORMED;
		src.prefixlen = 32 + 128;
		src.family = FAMILY_IPV6;
		__builtin_memcpy(src.addr, &ip->saddr, 16);
	} else {
		return NOT_UDP;
	}

	/* Bytes behind the UDP datagram (RFC 9868 calls them options) or a jumbogram's zero length are for the kernel to judge. */
	if ((void *)(udp + 1) > end || payload < sizeof(*udp) || bpf_ntohs(udp->len) != payload)
		return MALFORMED;
	if (!is_our_port(queue, udp->dest))
		return NOT_OUR_PORT;
	if (!is_allowed(&src))
		return DENIED;
	return REDIRECTED;
}

SEC("xdp")
int fastrpc_steer(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 verdict = classify(data, end, multi_buffer ? bpf_xdp_get_buff_len(ctx) : end - data, ctx->rx_queue_index);
	__u64 *count;
	int action = XDP_PASS;

	if (verdict == REDIRECTED) {
		/* The flags are the action for a queue without a socket, or beyond the map. */
		action = bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_PASS);
		if (action != XDP_REDIRECT)
			verdict = NO_SOCKET;
	}
	count = bpf_map_lookup_elem(&verdicts, &verdict);
	if (count)
		(*count)++;
	return action;
}

char _license[] SEC("license") = "Dual BSD/GPL";
