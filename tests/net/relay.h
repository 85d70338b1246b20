/*
 * net/relay.h - a bad network between clients' UDP and a server's UDP port, run by hand: it drops, doubles and holds back
 * packets as a seed says. It makes no time pass and no thread.
 */
#ifndef NET_RELAY_H
#define NET_RELAY_H

#include <chime/addr.h>
#include <runner/test.h>

#include <errno.h>
#include <unistd.h>

#define RELAY_HELD 64

struct relay_packet {
	bool used, to_server;
	unsigned after; /* packets that go in front of it */
	size_t len;
	unsigned char bytes[2048];
};

struct relay {
	int near, far; /* what the client writes to; connected to the server */
	int port;      /* of near */
	chime_addr client;
	uint64_t random;
	unsigned drop, reorder, twice; /* in a thousand */
	bool cut;                      /* nothing passes */
	struct relay_packet held[RELAY_HELD];
	uint64_t passed, dropped;
};

static inline int relay_socket(int family, int *port)
{
	chime_addr a;
	int size = 1 << 22, fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	chime_addr_ip(&a, family, family == AF_INET ? "127.0.0.1" : "::1", 0);
	CHECK(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
	CHECK_EQ(bind(fd, &a.u.sa, a.len), 0);
	a.len = sizeof a.u;
	CHECK_EQ(getsockname(fd, &a.u.sa, &a.len), 0);
	*port = chime_addr_port(&a);
	return fd;
}

/* mess: 5 % overtaken, 2 % doubled. */
static inline void relay_open(struct relay *r, int family, int server_port, uint64_t seed, unsigned drop_percent,
			      bool mess)
{
	chime_addr to;
	int ignored;
	*r = (struct relay){
		.random = seed * 2 + 1, .drop = drop_percent * 10, .reorder = mess ? 50 : 0, .twice = mess ? 20 : 0
	};
	r->near = relay_socket(family, &r->port);
	r->far = relay_socket(family, &ignored);
	chime_addr_ip(&to, family, family == AF_INET ? "127.0.0.1" : "::1", server_port);
	CHECK_EQ(connect(r->far, &to.u.sa, to.len), 0);
}

static inline void relay_close(struct relay *r)
{
	close(r->near);
	close(r->far);
}

static inline unsigned relay_dice(struct relay *r)
{
	r->random ^= r->random << 13;
	r->random ^= r->random >> 7;
	r->random ^= r->random << 17;
	return (unsigned)(r->random >> 20) % 1000;
}

static inline void relay_pass(struct relay *r, bool to_server, const void *bytes, size_t len)
{
	r->passed++;
	if (to_server)
		(void)!send(r->far, bytes, len, 0); /* nobody there: lost */
	else
		(void)!sendto(r->near, bytes, len, 0, &r->client.u.sa, r->client.len);
}

static inline void relay_release(struct relay *r, bool all)
{
	for (int i = 0; i < RELAY_HELD; i++) {
		struct relay_packet *p = &r->held[i];
		if (!p->used || (!all && p->after && --p->after))
			continue;
		p->used = false;
		relay_pass(r, p->to_server, p->bytes, p->len);
	}
}

static inline void relay_take(struct relay *r, bool to_server, const unsigned char *bytes, size_t len)
{
	if (r->cut || relay_dice(r) < r->drop) {
		r->dropped++;
		return;
	}
	bool twice = relay_dice(r) < r->twice;
	if (relay_dice(r) < r->reorder && len <= sizeof r->held[0].bytes)
		for (int i = 0; i < RELAY_HELD; i++)
			if (!r->held[i].used) {
				r->held[i] =
					(struct relay_packet){ true, to_server, 1 + relay_dice(r) % 20, len, { 0 } };
				memcpy(r->held[i].bytes, bytes, len);
				if (!twice)
					return;
				break;
			}
	relay_pass(r, to_server, bytes, len);
	if (twice)
		relay_pass(r, to_server, bytes, len);
	relay_release(r, false);
}

/* Passes on what is there, a bounded number. Whether anything was; where not, what was held back goes. */
static inline bool relay_run(struct relay *r)
{
	unsigned char bytes[65536];
	bool any = false;
	for (int i = 0; i < 64; i++) {
		ssize_t n = recv(r->far, bytes, sizeof bytes, 0);
		if (n < 0)
			break;
		any = true;
		relay_take(r, false, bytes, (size_t)n);
	}
	for (int i = 0; i < 64; i++) {
		r->client.len = sizeof r->client.u;
		ssize_t n = recvfrom(r->near, bytes, sizeof bytes, 0, &r->client.u.sa, &r->client.len);
		if (n < 0)
			break;
		any = true;
		relay_take(r, true, bytes, (size_t)n);
	}
	if (!any)
		relay_release(r, true);
	return any;
}

#endif
