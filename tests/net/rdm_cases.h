/*
 * net/rdm_cases.h - what holds of sending and ending, whatever carries the messages.
 */
#ifndef NET_RDM_CASES_H
#define NET_RDM_CASES_H

#include "net/rdm.h"

#include "rdm_echo.h"

/* Over peers_max nobody new is sent to, and who is among them still is; when he has gone another has his place. */
static inline void to_no_more_than_it_may(const char *text)
{
	struct chime_rdm_config config = CHIME_RDM_CONFIG_INIT;
	struct chime_rdm_peer other;
	chime_endpoint e;
	struct pair p;
	pair_open(&p, text);
	chime_rdm_free(&p.asks);
	config.peers_max = 1;
	config.timeout_ns = 0;
	p.asks = serve_with(text, &e, &config);
	other = p.to;
	CHECK_EQ(chime_addr_set_port(&other.addr, chime_addr_port(&p.to.addr) == 9 ? 10 : 9), 0);
	CHECK_EQ(chime_rdm_send(p.asks, "x", 1, &p.to, NULL), 0);
	CHECK_EQ(chime_rdm_send(p.asks, "x", 1, &other, NULL), -ENOBUFS);
	CHECK_EQ(chime_rdm_send(p.asks, "y", 1, &p.to, NULL), 0);
	(void)pair_next(&p, p.serves, CHIME_RDM_MESSAGE);
	(void)pair_next(&p, p.serves, CHIME_RDM_MESSAGE);
	(void)pair_next(&p, p.asks, CHIME_RDM_UP); /* its messages may come before it knows */
	CHECK_EQ(chime_rdm_end(p.asks, &p.to, false), 0);
	(void)pair_next(&p, p.asks, CHIME_RDM_DOWN);
	CHECK_EQ(chime_rdm_send(p.asks, "x", 1, &other, NULL), 0);
	pair_close(&p);
}

/* An association on which nothing goes for as long as was said ends in order, and the next message makes a new one. */
static inline void idle_is_ended(const char *text)
{
	struct chime_rdm_config config = CHIME_RDM_CONFIG_INIT;
	chime_endpoint e;
	struct pair p;
	pair_open(&p, text);
	chime_rdm_free(&p.asks);
	config.idle_ns = CHIME_SEC;
	config.timeout_ns = 0;
	p.asks = serve_with(text, &e, &config);
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(chime_rdm_send(p.asks, "x", 1, &p.to, NULL), 0);
		(void)pair_next(&p, p.serves, CHIME_RDM_MESSAGE);
		CHECK_EQ(pair_next(&p, p.asks, CHIME_RDM_DOWN).why, 0);
		CHECK_EQ(pair_next(&p, p.serves, CHIME_RDM_DOWN).why, 0);
	}
	pair_close(&p);
}

/* A message longer than the longest, as only another program's SCTP would send, ends its association and nothing else; nothing of it is kept. */
static inline void too_long_ends_its_association(const char *text)
{
	const size_t len = CHIME_RDM_MAX + 200000;
	struct chime_rdm_stats stats;
	struct pair p;
	pair_open(&p, text);
	unsigned char *bytes = calloc(1, len);
	CHECK(bytes != NULL);
	for (int round = 0; round < 2; round++) {
		struct rdm_out out = { .bytes = bytes, .len = len, .to = &p.to, .id = 1000 };
		CHECK_EQ(chime__rdm_enter(p.asks), 0);
		CHECK_EQ(p.asks->carrier->send(p.asks, &out), 0);
		chime__rdm_leave(p.asks);
		CHECK_EQ(pair_next(&p, p.serves, CHIME_RDM_DOWN).why, -EMSGSIZE);
		CHECK_EQ(pair_next(&p, p.asks, CHIME_RDM_DOWN).why, -ECONNRESET);
		chime_rdm_stats(p.serves, &stats);
		CHECK_EQ(stats.received, round);
		CHECK_EQ(stats.associations, 0);
		CHECK_EQ(chime_rdm_send(p.asks, "next", 4, &p.to, NULL), 0);
		struct chime_rdm_event ev = pair_next(&p, p.serves, CHIME_RDM_MESSAGE);
		CHECK_EQ(ev.len, 4);
		CHECK_MEM(ev.data, "next", 4);
		(void)pair_next(&p, p.asks, CHIME_RDM_UP); /* its message may come before it knows */
		CHECK_EQ(chime_rdm_end(p.asks, &p.to, false), 0);
		CHECK_EQ(pair_next(&p, p.serves, CHIME_RDM_DOWN).why, 0);
		CHECK_EQ(pair_next(&p, p.asks, CHIME_RDM_DOWN).why, 0);
	}
	free(bytes);
	pair_close(&p);
}

/* Who only sends, without waiting and without receiving, goes on when the other side has made room: sending looks for that itself. */
static inline void sending_alone_goes_on(const char *text)
{
	static const unsigned char bytes[20000];
	struct pair p;
	unsigned sent = 0, got = 0;
	struct chime_rdm_event ev;
	pair_open(&p, text);
	for (unsigned refused = 0; refused < 200;) { /* served, but not fetched */
		int err = chime_rdm_send(p.asks, bytes, sizeof bytes, &p.to, NULL);
		CHECK(err == 0 || err == -EAGAIN);
		refused = err ? refused + 1 : 0;
		sent += !err;
		CHECK_EQ(chime_rdm_process(p.serves), 0);
		if (err)
			poll(NULL, 0, 1);
	}
	CHECK_EQ(chime_rdm_set_timeout(p.asks, CHIME_MSEC), 0);
	CHECK_EQ(chime_rdm_send(p.asks, bytes, sizeof bytes, &p.to, NULL), CHIME_ETIMEOUT);
	CHECK_EQ(p.asks->senders, 0); /* nobody waits for room any more */
	CHECK_EQ(chime_rdm_set_timeout(p.asks, 0), 0);
	for (bool again = false; !again; again = chime_rdm_send(p.asks, bytes, sizeof bytes, &p.to, NULL) == 0) {
		while (chime_rdm_receive(p.serves, &ev) == 0)
			got += ev.kind == CHIME_RDM_MESSAGE;
		poll(NULL, 0, 1);
	}
	CHECK_IN(got, 1, sent);
	pair_close(&p);
}

/* Ending all of them ends each in order, behind what was sent. */
static inline void all_end_in_order(const char *text)
{
	struct pair p;
	pair_open(&p, text);
	CHECK_EQ(chime_rdm_send(p.asks, "last", 4, &p.to, NULL), 0);
	(void)pair_next(&p, p.asks, CHIME_RDM_UP);
	CHECK_EQ(chime_rdm_end(p.asks, NULL, false), 0);
	CHECK_MEM(pair_next(&p, p.serves, CHIME_RDM_MESSAGE).data, "last", 4);
	CHECK_EQ(pair_next(&p, p.serves, CHIME_RDM_DOWN).why, 0);
	CHECK_EQ(pair_next(&p, p.asks, CHIME_RDM_DOWN).why, 0);
	pair_close(&p);
}

/* Who frees without closing first ends at once, and his peer is told that it was no orderly end. */
static inline void freeing_aborts(const char *text)
{
	struct chime_rdm_event ev = { .kind = CHIME_RDM_UP };
	struct pair p;
	pair_open(&p, text);
	CHECK_EQ(chime_rdm_send(p.asks, "x", 1, &p.to, NULL), 0);
	(void)pair_next(&p, p.serves, CHIME_RDM_MESSAGE);
	pair_settle(&p);
	chime_rdm_free(&p.asks);
	CHECK_EQ(chime_rdm_set_timeout(p.serves, 50 * CHIME_SEC), 0);
	CHECK_EQ(chime_rdm_receive(p.serves, &ev), 0);
	CHECK_EQ(ev.kind, CHIME_RDM_DOWN);
	CHECK_EQ(ev.why, -ECONNRESET);
	pair_close(&p);
}

/* A server of answers alone sends to nobody first; there is nobody to be ended. */
static inline void answers_alone_begin_nothing(const char *text)
{
	struct chime_rdm_config config = CHIME_RDM_CONFIG_INIT;
	struct chime_rdm_peer to = { .udp_port = 9 };
	chime_endpoint e;
	config.answers_only = true;
	chime_rdm *r = serve_with(text, &e, &config);
	CHECK_EQ(chime_addr_ip(&to.addr, AF_INET, "127.0.0.1", 9), 0);
	CHECK_EQ(chime_rdm_send(r, "x", 1, &to, NULL), -ENOTCONN);
	CHECK_EQ(chime_rdm_end(r, NULL, true), -ENOTCONN);
	CHECK_EQ(chime_rdm_end(r, &to, false), -ENOTCONN);
	chime_rdm_free(&r);
}

/* Buffers that were asked for too small are as large as the longest message needs. */
static inline void small_buffers_take_the_longest(const char *text)
{
	unsigned char *bytes = calloc(1, CHIME_RDM_MAX);
	struct pair p;
	CHECK(bytes != NULL);
	memset(bytes, 'x', CHIME_RDM_MAX);
	pair_open(&p, text);
	CHECK_EQ(chime_rdm_send(p.asks, bytes, CHIME_RDM_MAX, &p.to, NULL), 0);
	struct chime_rdm_event ev = pair_next(&p, p.serves, CHIME_RDM_MESSAGE);
	CHECK_EQ(ev.len, CHIME_RDM_MAX);
	CHECK_MEM(ev.data, bytes, CHIME_RDM_MAX);
	free(bytes);
	pair_close(&p);
}

#endif
