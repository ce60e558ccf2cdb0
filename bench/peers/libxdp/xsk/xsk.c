/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The bare AF_XDP ring of the benchmarks on libxdp: the same packets, ring sizes, bursts, socket options, system calls and steering
 * program (OBJECT) as system "ring" in Go.
 *
 *	xsk serve OBJECT IFACE latency|flood PAYLOAD
 *	xsk call  OBJECT IFACE latency|flood PAYLOAD HEADER QUESTION_HEADER
 *
 * It prints "ready". A server then runs until its input ends. A client is given the headers of its packets, and of a flood's questions for the
 * server's count, in hexadecimal, and reads lines:
 * "calls N" makes N calls and answers with N nanosecond counts, "flood NS" sends for so long and answers with two numbers, the packets that
 * the server received and its time in nanoseconds. Counts and numbers are unsigned 64-bit little-endian.
 */
#include <errno.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <xdp/libxdp.h>
#include <xdp/xsk.h>

enum {
	CHUNK = 2048,
	HEADER = 42, /* Ethernet, IPv4, UDP */
	BURST = 64,
	LATENCY_CHUNKS = 128,
	FLOOD_CHUNKS = 2048,
};

enum { SERVER_PORT = 7007, CLIENT_PORT = 7008 };

#ifndef XDP_MAX_TX_SKB_BUDGET /* Linux 6.17 */
#define XDP_MAX_TX_SKB_BUDGET 9
#endif

static const uint64_t CALL_LIMIT = 5000000000ull, ASK_AGAIN = 5000000ull;

static struct {
	unsigned char *umem_area;
	unsigned chunks, payload, frame, question;
	struct xsk_umem *umem;
	struct xsk_socket *sock;
	int ifindex; /* that the program is attached to */
	struct xsk_ring_prod fill, tx;
	struct xsk_ring_cons comp, rx;
	unsigned char header[HEADER], question_header[HEADER];
	uint64_t free[FLOOD_CHUNKS];
	unsigned frees;
	volatile int stop;
} s;

static void die(const char *what, int err)
{
	fprintf(stderr, "%s: %s\n", what, strerror(err < 0 ? -err : err));
	if (s.ifindex)
		bpf_xdp_detach(s.ifindex, XDP_FLAGS_DRV_MODE, NULL);
	exit(1);
}

/* The program takes UDP packets for one port to the socket of queue 0. */
static void steer(const char *object, const char *ifname, unsigned port)
{
	struct bpf_object *o = bpf_object__open_file(object, NULL);
	unsigned zero = 0, word = port / 64;
	uint64_t bits = 1ull << port % 64;
	int err, fd, index = if_nametoindex(ifname);

	if (!o)
		die(object, errno);
	err = bpf_object__load(o);
	if (err)
		die("bpf_object__load", err);
	err = bpf_xdp_attach(index, bpf_program__fd(bpf_object__find_program_by_name(o, "fastrpc_steer")), XDP_FLAGS_DRV_MODE, NULL);
	if (err)
		die("bpf_xdp_attach", err);
	s.ifindex = index;
	fd = xsk_socket__fd(s.sock);
	if (bpf_map_update_elem(bpf_object__find_map_fd_by_name(o, "sockets"), &zero, &fd, 0) ||
	    bpf_map_update_elem(bpf_object__find_map_fd_by_name(o, "ports"), &word, &bits, 0))
		die("bpf_map_update_elem", errno);
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static uint64_t get64(const unsigned char *p)
{
	uint64_t v;

	memcpy(&v, p, 8);
	return v;
}

static void put64(unsigned char *p, uint64_t v)
{
	memcpy(p, &v, 8);
}

static void give(uint64_t addr) /* to the kernel, to receive into */
{
	uint32_t i;

	if (xsk_ring_prod__reserve(&s.fill, 1, &i) != 1)
		die("the fill ring is full", ENOBUFS);
	*xsk_ring_prod__fill_addr(&s.fill, i) = addr;
	xsk_ring_prod__submit(&s.fill, 1);
}

static void open_socket(const char *ifname, int flood)
{
	struct xsk_umem_config uc = { .frame_size = CHUNK };
	struct xsk_socket_config sc = { .libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD, .bind_flags = XDP_USE_NEED_WAKEUP };
	struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	size_t size;
	int err;

	setrlimit(RLIMIT_MEMLOCK, &unlimited);
	s.chunks = flood ? FLOOD_CHUNKS : LATENCY_CHUNKS;
	size = (size_t)s.chunks * CHUNK;
	uc.fill_size = uc.comp_size = sc.rx_size = sc.tx_size = s.chunks;
	s.umem_area = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (s.umem_area == MAP_FAILED)
		die("mmap", errno);
	err = xsk_umem__create(&s.umem, s.umem_area, size, &s.fill, &s.comp, &uc);
	if (err)
		die("xsk_umem__create", err);
	for (unsigned i = 0; i < s.chunks / 2; i++)
		give(i * CHUNK);
	/* The kernel frees a queue some time after its socket was closed. */
	for (int tries = 0; (err = xsk_socket__create(&s.sock, ifname, 0, s.umem, &s.rx, &s.tx, &sc)) == -EBUSY && tries < 200; tries++)
		usleep(10000);
	if (err)
		die("xsk_socket__create", err);
	/* As the Go package does: one system call sends the whole ring, and the socket buffer holds a ring of packets. An older kernel refuses the first. */
	int entries = s.chunks, bytes = size;
	setsockopt(xsk_socket__fd(s.sock), SOL_XDP, XDP_MAX_TX_SKB_BUDGET, &entries, sizeof(entries));
	setsockopt(xsk_socket__fd(s.sock), SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes));
}

static void prepare(void) /* the headers of the packets that are sent */
{
	for (unsigned i = s.chunks / 2; i < s.chunks; i++) {
		memcpy(s.umem_area + (size_t)i * CHUNK, s.header, HEADER);
		s.free[s.frees++] = i * CHUNK;
	}
}

static void kick(void)
{
	while (xsk_ring_prod__needs_wakeup(&s.tx)) {
		if (sendto(xsk_socket__fd(s.sock), NULL, 0, MSG_DONTWAIT, NULL, 0) >= 0 || errno == ENOBUFS || errno == EBUSY)
			return;
		if (errno != EAGAIN && errno != EINTR)
			die("sendto", errno);
	}
}

static void send_burst(const uint64_t *addrs, const uint32_t *lens, unsigned n)
{
	uint32_t at;

	if (xsk_ring_prod__reserve(&s.tx, n, &at) != n)
		die("the TX ring is full", ENOBUFS);
	for (unsigned i = 0; i < n; i++)
		*xsk_ring_prod__tx_desc(&s.tx, at + i) = (struct xdp_desc){ .addr = addrs[i], .len = lens[i] };
	xsk_ring_prod__submit(&s.tx, n);
	kick();
}

static void wake_fill(void)
{
	if (xsk_ring_prod__needs_wakeup(&s.fill))
		recvfrom(xsk_socket__fd(s.sock), NULL, 0, MSG_DONTWAIT, NULL, NULL);
}

/* The client's input ends when it shall, or its parent is gone. */
static int input_ended(void)
{
	struct pollfd p = { .fd = 0, .events = POLLIN };
	char byte;

	return poll(&p, 1, 0) > 0 && read(0, &byte, 1) <= 0;
}

static void swap(unsigned char *a, unsigned char *b, unsigned n)
{
	unsigned char t[6];

	memcpy(t, a, n);
	memcpy(a, b, n);
	memcpy(b, t, n);
}

static void turn_around(unsigned char *p)
{
	swap(p, p + 6, 6);
	swap(p + 26, p + 30, 4);
	swap(p + 34, p + 36, 2);
}

static void serve_latency(void)
{
	uint64_t addrs[BURST];
	uint32_t lens[BURST], at;

	for (unsigned idle = 0;;) {
		unsigned n = xsk_ring_cons__peek(&s.rx, BURST, &at);

		if (!n) {
			if (++idle % (1 << 14) == 0 && input_ended())
				return;
			continue;
		}
		for (unsigned i = 0; i < n; i++) {
			const struct xdp_desc *d = xsk_ring_cons__rx_desc(&s.rx, at + i);

			addrs[i] = d->addr;
			lens[i] = d->len;
			turn_around(s.umem_area + d->addr);
		}
		xsk_ring_cons__release(&s.rx, n);
		send_burst(addrs, lens, n);
		n = xsk_ring_cons__peek(&s.comp, BURST, &at);
		for (unsigned i = 0; i < n; i++)
			give(*xsk_ring_cons__comp_addr(&s.comp, at + i) & ~(uint64_t)(CHUNK - 1));
		xsk_ring_cons__release(&s.comp, n);
		wake_fill();
	}
}

static void serve_flood(void)
{
	uint64_t packets = 0;
	uint32_t at;

	for (unsigned idle = 0;;) {
		unsigned n = xsk_ring_cons__peek(&s.rx, BURST, &at), back = 0;
		uint32_t to;

		if (!n) {
			if (++idle % (1 << 14) == 0 && input_ended())
				return;
			continue;
		}
		if (xsk_ring_prod__reserve(&s.fill, n, &to) != n)
			die("the fill ring is full", ENOBUFS);
		for (unsigned i = 0; i < n; i++) {
			struct xdp_desc d = *xsk_ring_cons__rx_desc(&s.rx, at + i);

			if (d.len == s.question) {
				unsigned char *p = s.umem_area + d.addr;

				turn_around(p);
				put64(p + HEADER + 8, packets);
				put64(p + HEADER + 16, now());
				uint64_t addr = d.addr;
				uint32_t len = d.len, c;

				send_burst(&addr, &len, 1);
				while (xsk_ring_cons__peek(&s.comp, 1, &c) != 1)
					kick();
				xsk_ring_cons__release(&s.comp, 1);
			} else {
				packets++;
			}
			*xsk_ring_prod__fill_addr(&s.fill, to + back++) = d.addr & ~(uint64_t)(CHUNK - 1);
		}
		xsk_ring_cons__release(&s.rx, n);
		xsk_ring_prod__submit(&s.fill, back);
		wake_fill();
	}
}

static void take_back(uint64_t ask)
{
	uint32_t at;
	unsigned n;

	while ((n = xsk_ring_cons__peek(&s.comp, BURST, &at))) {
		for (unsigned i = 0; i < n; i++) {
			uint64_t addr = *xsk_ring_cons__comp_addr(&s.comp, at + i) & ~(uint64_t)(CHUNK - 1);

			if (addr != ask)
				s.free[s.frees++] = addr;
		}
		xsk_ring_cons__release(&s.comp, n);
	}
}

static void answer_numbers(const uint64_t *v, size_t n)
{
	if (fwrite(v, sizeof(*v), n, stdout) != n || fflush(stdout))
		exit(1);
}

static void calls(uint64_t n)
{
	uint64_t *took = calloc(n, sizeof(*took));
	static unsigned char payload[CHUNK];
	static uint64_t number;

	for (unsigned i = 0; i < s.payload; i++)
		payload[i] = i;
	for (uint64_t i = 0; i < n; i++) {
		uint64_t begin, addr;
		uint32_t at, len = s.frame;

		number++;
		memcpy(payload, &number, s.payload < 8 ? s.payload : 8);
		begin = now();
		if (!s.frees)
			die("no chunk to send from", ENOBUFS);
		addr = s.free[--s.frees];
		memcpy(s.umem_area + addr + HEADER, payload, s.payload);
		send_burst(&addr, &len, 1);
		take_back(UINT64_MAX);
		for (unsigned idle = 0; xsk_ring_cons__peek(&s.rx, 1, &at) != 1;)
			if (++idle % (1 << 14) == 0 && now() - begin > CALL_LIMIT)
				die("no echo", ETIMEDOUT);
		struct xdp_desc d = *xsk_ring_cons__rx_desc(&s.rx, at);
		if (d.len < s.frame || memcmp(s.umem_area + d.addr + HEADER, payload, s.payload))
			die("the echo differs from the payload", EBADMSG);
		xsk_ring_cons__release(&s.rx, 1);
		give(d.addr & ~(uint64_t)(CHUNK - 1));
		wake_fill();
		took[i] = now() - begin;
	}
	answer_numbers(took, n);
	free(took);
}

static void count(uint64_t ask, uint64_t *packets, uint64_t *at_ns)
{
	static uint64_t number;
	uint64_t begin = now();
	int found = 0;

	while (!found) {
		uint32_t len = s.question, at;
		uint64_t asked = now();

		if (asked - begin > CALL_LIMIT)
			die("the server does not answer for its count", ETIMEDOUT);
		put64(s.umem_area + ask + HEADER, ++number);
		send_burst(&ask, &len, 1);
		while (!found && now() - asked < ASK_AGAIN) {
			take_back(ask);
			unsigned n = xsk_ring_cons__peek(&s.rx, BURST, &at);
			for (unsigned i = 0; i < n; i++) {
				const struct xdp_desc *d = xsk_ring_cons__rx_desc(&s.rx, at + i);
				const unsigned char *p = s.umem_area + d->addr;

				if (d->len == s.question && get64(p + HEADER) == number) {
					*packets = get64(p + HEADER + 8);
					*at_ns = get64(p + HEADER + 16);
					found = 1;
				}
				give(d->addr & ~(uint64_t)(CHUNK - 1));
			}
			xsk_ring_cons__release(&s.rx, n);
			wake_fill();
		}
	}
}

static void flood(uint64_t ns)
{
	uint64_t ask = s.free[s.frees - 1], packets, at, after, end, begin, result[2];
	uint64_t addrs[BURST];
	uint32_t lens[BURST];

	s.frees--;
	memcpy(s.umem_area + ask, s.question_header, HEADER);
	count(ask, &packets, &at);
	for (begin = now(); now() - begin < ns;) {
		unsigned n;

		take_back(ask);
		n = s.frees < BURST ? s.frees : BURST;
		for (unsigned i = 0; i < n; i++) {
			addrs[i] = s.free[s.frees - n + i];
			lens[i] = s.frame;
		}
		if (xsk_prod_nb_free(&s.tx, n) < n) {
			kick();
			continue;
		}
		s.frees -= n;
		send_burst(addrs, lens, n);
	}
	count(ask, &after, &end);
	memcpy(s.umem_area + ask, s.header, HEADER);
	s.free[s.frees++] = ask;
	result[0] = after - packets;
	result[1] = end - at;
	answer_numbers(result, 2);
}

static void parse_header(const char *hex, unsigned char *header)
{
	for (unsigned i = 0; i < HEADER; i++)
		if (sscanf(hex + 2 * i, "%2hhx", &header[i]) != 1)
			exit(2);
}

int main(int argc, char **argv)
{
	int client, is_flood;
	char order[16];
	unsigned long long n;

	if (argc < 6)
		return 2;
	client = !strcmp(argv[1], "call");
	is_flood = !strcmp(argv[4], "flood");
	s.payload = atoi(argv[5]);
	s.frame = HEADER + s.payload;
	s.question = HEADER + (s.payload == 24 ? 32 : 24);
	if (client) {
		if (argc != 8)
			return 2;
		parse_header(argv[6], s.header);
		parse_header(argv[7], s.question_header);
	}
	libbpf_set_print(NULL);
	open_socket(argv[3], is_flood);
	steer(argv[2], argv[3], client ? CLIENT_PORT : SERVER_PORT);
	puts("ready");
	fflush(stdout);
	if (!client) {
		is_flood ? serve_flood() : serve_latency();
	} else {
		prepare();
		setvbuf(stdin, NULL, _IOLBF, 0);
		while (scanf("%15s %llu", order, &n) == 2) {
			if (!strcmp(order, "calls"))
				calls(n);
			else
				flood(n);
		}
	}
	bpf_xdp_detach(s.ifindex, XDP_FLAGS_DRV_MODE, NULL);
	xsk_socket__delete(s.sock);
	xsk_umem__delete(s.umem);
	return 0;
}
