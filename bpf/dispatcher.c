// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// A dispatcher after libxdp's protocol, versions 2 and 3: calls the programs that stand in its slots, one behind the other, for as long as each
// answers with an action on which the next is to be asked. A slot is a function that the kernel replaces by a program (freplace). What it
// is loaded with is frozen, so that the verifier removes the slots that are not used, and a change of programs takes a new dispatcher.
//
// https://github.com/xdp-project/xdp-tools/blob/main/lib/libxdp/protocol.org has the rules; names and layout here are theirs, because other
// tools find their way by them.
//
//go:build ignore

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#define MAX_PROGRAMS 10

/* What an empty slot returns, which is among the actions to go on at of every slot: a program that is taken out stops nobody. */
#define EMPTY_SLOT 31

/* Version 2. In version 3 a byte follows that the dispatcher itself does not read: the loader makes room for it. */
struct xdp_dispatcher_config {
	__u8 magic;
	__u8 dispatcher_version;
	__u8 num_progs_enabled;
	__u8 is_xdp_frags;
	__u32 chain_call_actions[MAX_PROGRAMS]; /* bit a: go on to the next program at action a */
	__u32 run_prios[MAX_PROGRAMS];
	__u32 program_flags[MAX_PROGRAMS];
};

/* volatile, so that the compiler takes nothing for granted of what the loader writes. The only data: the map must have this very size. */
volatile const struct xdp_dispatcher_config conf = {};

/*
 * A slot looks as if it changed the packet: the kernel lets a program that may do so replace only a function that may, since Linux 6.13
 * (kernel/bpf/verifier.c, bpf_check_attach_target). The result is volatile, so that the caller asks for it.
 */
#define SLOT(n)                                        \
	__attribute__((noinline)) int prog##n(struct xdp_md *ctx) \
	{                                              \
		volatile int action = EMPTY_SLOT;      \
                                                       \
		bpf_xdp_adjust_tail(ctx, 0);           \
		return action;                         \
	}

SLOT(0) SLOT(1) SLOT(2) SLOT(3) SLOT(4) SLOT(5) SLOT(6) SLOT(7) SLOT(8) SLOT(9)

#define CALL(n)                                                       \
	do {                                                          \
		if (conf.num_progs_enabled <= n)                      \
			return XDP_PASS;                              \
		action = prog##n(ctx);                                \
		if (!(1U << (action & 31) & conf.chain_call_actions[n])) \
			return action;                                \
	} while (0)

SEC("xdp")
int xdp_dispatcher(struct xdp_md *ctx)
{
	int action;

	CALL(0); CALL(1); CALL(2); CALL(3); CALL(4); CALL(5); CALL(6); CALL(7); CALL(8); CALL(9);
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
