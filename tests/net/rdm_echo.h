/*
 * net/rdm_echo.h - handles for tests of chime/rdm.h: servers, clients, and a server in a thread that echoes.
 */
#ifndef NET_RDM_ECHO_H
#define NET_RDM_ECHO_H

#include <chime/rdm.h>
#include <chime/service.h>
#include <runner/test.h>

#include <errno.h>
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

#endif
