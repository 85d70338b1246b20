/*
 * net/rdm_echo.h - handles for tests of chime/rdm.h: servers, clients, and a server in a thread that echoes.
 */
#ifndef NET_RDM_ECHO_H
#define NET_RDM_ECHO_H

#include "net/rdm_user.h"

#include <chime/rdm.h>
#include <chime/service.h>
#include <runner/test.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>

#define USER "udp=0&carrier=user"

static inline void need_user(void)
{
	if (chime_rdm_available(CHIME_RDM_USER) < 0)
		SKIP("this build has no libusrsctp");
}

static inline chime_endpoint parse(const char *text)
{
	chime_endpoint e;
	struct chime_endpoint_error error;
	int err = chime_endpoint_parse(&e, text, NULL, NULL, &error);
	if (err < 0)
		fprintf(stderr, "%s: %s\n", text, error.message);
	CHECK_EQ(err, 0);
	return e;
}

/* A handle to be talked to; e is where it really is. */
static inline chime_rdm *serve_with(const char *text, chime_endpoint *e, struct chime_rdm_config *config)
{
	char why[256] = "";
	chime_rdm *r = NULL;
	*e = parse(text);
	config->why = why;
	config->why_size = sizeof why;
	int err = chime_rdm_serve(&r, e, config);
	if (err < 0)
		fprintf(stderr, "%s: %s\n", text, why);
	CHECK_EQ(err, 0);
	return r;
}

static inline chime_rdm *serve(const char *text, chime_endpoint *e)
{
	struct chime_rdm_config config = CHIME_RDM_CONFIG_INIT;
	config.timeout_ns = 60 * CHIME_SEC;
	return serve_with(text, e, &config);
}

static inline chime_rdm *client_of(const chime_endpoint *e, struct chime_rdm_config *config)
{
	char why[256] = "";
	chime_rdm *r = NULL;
	config->why = why;
	config->why_size = sizeof why;
	int err = chime_rdm_connect(&r, e, config);
	if (err < 0)
		fprintf(stderr, "connect: %s\n", why);
	CHECK_EQ(err, 0);
	return r;
}

/* The next event of that kind; others are passed over. */
static inline struct chime_rdm_event next(chime_rdm *r, enum chime_rdm_kind kind)
{
	struct chime_rdm_event ev;
	do {
		CHECK_EQ(chime_rdm_receive(r, &ev), 0);
	} while (ev.kind != kind);
	return ev;
}

/* ---- a server in another thread, which echoes ---- */

struct echo {
	chime_rdm *r;
	pthread_t thread;
	unsigned echoed;
};

static inline void *run_echo(void *arg)
{
	struct echo *s = arg;
	struct chime_rdm_event ev;
	int err;
	while ((err = chime_rdm_receive(s->r, &ev)) == 0)
		if (ev.kind == CHIME_RDM_MESSAGE) {
			struct chime_rdm_peer peer = ev.peer;
			CHECK_EQ(chime_rdm_send(s->r, ev.data, ev.len, &peer, NULL), 0);
			s->echoed++;
		}
	CHECK_EQ(err, CHIME_ECLOSED);
	return NULL;
}

static inline void echo_start(struct echo *s, const char *text, chime_endpoint *e)
{
	struct chime_rdm_config config = CHIME_RDM_CONFIG_INIT;
	*s = (struct echo){ .r = serve_with(text, e, &config) };
	CHECK_EQ(pthread_create(&s->thread, NULL, run_echo, s), 0);
}

static inline void echo_end(struct echo *s)
{
	chime_rdm_close(s->r, 2 * CHIME_SEC);
	pthread_join(s->thread, NULL);
	chime_rdm_free(&s->r);
}

/* Messages of every size come back whole, with the peer's address, over both families; by name too. */
static inline void echo_sizes(const char *text)
{
	static const size_t sizes[] = { 1, 2, 24, 1000, 1232, 1233, 65536, 262144, CHIME_RDM_MAX };
	struct chime_rdm_config config = CHIME_RDM_CONFIG_INIT;
	unsigned char *bytes = malloc(CHIME_RDM_MAX + 1);
	chime_endpoint e;
	struct echo s;
	uint32_t id = 0;
	echo_start(&s, text, &e);
	config.timeout_ns = 60 * CHIME_SEC;
	chime_rdm *c = client_of(&e, &config);
	CHECK_EQ(chime_rdm_carrier(c), e.set.carrier);
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		for (size_t k = 0; k < sizes[i]; k++)
			bytes[k] = (unsigned char)(k * 7 + i);
		CHECK_EQ(chime_rdm_send(c, bytes, sizes[i], NULL, &id), 0);
		CHECK_EQ(id, i + 1);
		struct chime_rdm_event ev = next(c, CHIME_RDM_MESSAGE);
		CHECK_EQ(ev.len, sizes[i]);
		CHECK_MEM(ev.data, bytes, sizes[i]);
		CHECK_EQ(chime_addr_port(&ev.peer.addr), e.port);
		if (chime_rdm_carrier(c) == CHIME_RDM_USER)
			CHECK_EQ(ev.peer.udp_port, e.set.udp_port);
		memset(ev.data - CHIME_HEADROOM, 0, CHIME_HEADROOM); /* ours to write */
	}
	CHECK_EQ(chime_rdm_send(c, bytes, CHIME_RDM_MAX + 1, NULL, NULL), -EMSGSIZE);
	CHECK_EQ(chime_rdm_send(c, bytes, 0, NULL, NULL), -EINVAL);
	CHECK_EQ(chime_rdm_flush(c, 60 * CHIME_SEC), 0);
	CHECK_EQ(chime_rdm_close(c, 60 * CHIME_SEC), 0);
	CHECK_EQ(chime_rdm_send(c, bytes, 1, NULL, NULL), CHIME_ECLOSED);
	chime_rdm_free(&c);
	echo_end(&s);
	free(bytes);
}

/* ---- a stranger ---- */

#define FIRST_PACKET 32

/* What libusrsctp would send first to that SCTP port: an INIT, from port 0x1234. */
static inline void first_packet(unsigned char packet[FIRST_PACKET], int port)
{
	const unsigned char init[FIRST_PACKET] = { [0] = 0x12,
						   [1] = 0x34,
						   [2] = (unsigned char)(port >> 8),
						   [3] = (unsigned char)port,
						   [12] = 1,
						   [15] = 20,
						   [16] = 1,
						   [17] = 2,
						   [18] = 3,
						   [19] = 4,
						   [21] = 16,
						   [25] = 1,
						   [27] = 1,
						   [28] = 5,
						   [29] = 6,
						   [30] = 7,
						   [31] = 8 };
	memcpy(packet, init, sizeof init);
	chime__rdm_user_sign(packet, FIRST_PACKET);
}

/* ---- two handles in one thread ---- */

struct pair {
	chime_rdm *asks, *serves;
	struct chime_rdm_peer to; /* .serves, for .asks */
};

static inline void pair_open(struct pair *p, const char *text)
{
	struct chime_rdm_config config = CHIME_RDM_CONFIG_INIT;
	chime_endpoint e;
	config.timeout_ns = 0;
	p->asks = serve_with(text, &e, &config);
	p->serves = serve_with(text, &e, &config);
	p->to = (struct chime_rdm_peer){ .udp_port = (uint16_t)(e.set.udp_port > 0 ? e.set.udp_port : 0) };
	CHECK_EQ(chime_rdm_local(p->serves, 0, &p->to.addr), 0);
}

static inline void pair_close(struct pair *p)
{
	chime_rdm_free(&p->asks);
	chime_rdm_free(&p->serves);
}

/* The next event of that kind at r, while the other one is served. */
static inline struct chime_rdm_event pair_next(struct pair *p, chime_rdm *r, enum chime_rdm_kind kind)
{
	struct chime_rdm_event ev;
	for (;;) {
		struct pollfd f[2] = { { chime_rdm_fileno(p->asks), POLLIN, 0 },
				       { chime_rdm_fileno(p->serves), POLLIN, 0 } };
		int err = chime_rdm_receive(r, &ev);
		if (err == 0 && ev.kind == kind)
			return ev;
		CHECK(err == 0 || err == -EAGAIN);
		CHECK_EQ(chime_rdm_process(r == p->asks ? p->serves : p->asks), 0);
		if (err < 0)
			poll(f, 2, 10);
	}
}

/* Until what .asks sent is at .serves, where nobody fetches it. */
static inline void pair_settle(struct pair *p)
{
	while (chime_rdm_flush(p->asks, CHIME_MSEC) == CHIME_ETIMEOUT)
		CHECK_EQ(chime_rdm_process(p->serves), 0);
}

/* An answer goes by the association that asked: of one that is over it comes to nobody, and to whom nothing was said of it least. */
static inline void answers_stay(const char *text)
{
	struct pair p;
	struct chime_rdm_peer first, again;
	pair_open(&p, text);
	CHECK_EQ(chime_rdm_send(p.asks, "first", 5, &p.to, NULL), 0);
	pair_settle(&p);
	CHECK_EQ(chime_rdm_end(p.asks, &p.to, true), 0);
	CHECK_EQ(pair_next(&p, p.asks, CHIME_RDM_DOWN).why, -ECONNABORTED);
	CHECK_EQ(chime_rdm_send(p.asks, "again", 5, &p.to, NULL), 0);
	pair_settle(&p);
	struct chime_rdm_event ev = pair_next(&p, p.serves, CHIME_RDM_MESSAGE);
	CHECK_MEM(ev.data, "first", 5);
	first = ev.peer;
	ev = pair_next(&p, p.serves, CHIME_RDM_MESSAGE);
	CHECK_MEM(ev.data, "again", 5);
	again = ev.peer;
	CHECK_NE(first.assoc, 0);
	CHECK_NE(again.assoc, 0);
	CHECK_NE(first.assoc, again.assoc);
	CHECK_EQ(chime_rdm_send(p.serves, "to first", 8, &first, NULL), -ENOTCONN);
	CHECK_EQ(chime_rdm_end(p.serves, &first, true), -ENOTCONN);
	CHECK_EQ(chime_rdm_send(p.serves, "to again", 8, &again, NULL), 0);
	CHECK_MEM(pair_next(&p, p.asks, CHIME_RDM_MESSAGE).data, "to again", 8);
	again.assoc = 0;
	CHECK_EQ(chime_rdm_send(p.serves, "to any", 6, &again, NULL), 0);
	CHECK_MEM(pair_next(&p, p.asks, CHIME_RDM_MESSAGE).data, "to any", 6);
	pair_close(&p);
}

#endif
