/* Messages through a network that loses, doubles and overtakes: each arrives once. The oracle is the set of numbers, not time. */
#include <chime/rdm.h>

#include "relay.h"

#include <poll.h>
#include <stdlib.h>

#define MESSAGES 10000
#define BYTES_MAX 1000
#define TURN_MOST (120 * CHIME_MSEC) /* what a turn can take by itself; more is the machine's */

struct pair {
	chime_rdm *client, *server;
	struct relay relay;
};

static chime_rdm *serve(const char *text, int *udp)
{
	chime_endpoint e;
	chime_rdm *r = NULL;
	char why[256] = "";
	struct chime_rdm_config config = CHIME_RDM_CONFIG_INIT;
	config.timeout_ns = 0;
	config.why = why;
	config.why_size = sizeof why;
	CHECK_EQ(chime_endpoint_parse(&e, text, NULL, NULL, NULL), 0);
	int err = chime_rdm_serve(&r, &e, &config);
	if (err < 0)
		fprintf(stderr, "%s: %s\n", text, why);
	CHECK_EQ(err, 0);
	*udp = (int)e.set.udp_port;
	return r;
}

/* Sends them all from one handle to another through the relay. How long it took, without the machine's own pauses. */
static double transfer(const char *scheme, int family, unsigned drop, bool mess, size_t size)
{
	static unsigned char bytes[BYTES_MAX];
	static unsigned char seen[MESSAGES];
	char text[128], why[256] = "";
	struct pair p = { 0 };
	chime_endpoint e;
	struct chime_rdm_event ev;
	struct chime_rdm_config config = CHIME_RDM_CONFIG_INIT;
	struct chime_rdm_peer to = { .addr = { 0 } };
	int udp;
	unsigned sent = 0, got = 0, overtaken = 0, undelivered = 0;
	int last = -1;

	if (chime_rdm_available(CHIME_RDM_USER) < 0)
		SKIP("this build has no libusrsctp");
	memset(seen, 0, sizeof seen);
	snprintf(text, sizeof text, "%s://%s:0?udp=0&carrier=user", scheme, family == AF_INET ? "127.0.0.1" : "[::1]");
	p.server = serve(text, &udp);
	relay_open(&p.relay, family, udp, 1000 + drop, drop, mess);
	CHECK_EQ(chime_rdm_local(p.server, 0, &to.addr), 0);
	snprintf(text, sizeof text, "%s://%s:0?udp=0&carrier=user", scheme, family == AF_INET ? "127.0.0.1" : "[::1]");
	CHECK_EQ(chime_endpoint_parse(&e, text, NULL, NULL, NULL), 0);
	config.timeout_ns = 0;
	config.why = why;
	config.why_size = sizeof why;
	CHECK_EQ(chime_rdm_serve(&p.client, &e, &config), 0);
	to.udp_port = (uint16_t)p.relay.port;
	int64_t took = 0, last_turn = test_now();
	while (got < MESSAGES && undelivered == 0) {
		bool moved = relay_run(&p.relay);
		for (unsigned i = 0; i < 32 && sent < MESSAGES; i++) {
			memset(bytes, (int)sent, size);
			memcpy(bytes, &sent, sizeof sent);
			int err = chime_rdm_send(p.client, bytes, size, &to, NULL);
			if (err == -EAGAIN)
				break;
			CHECK_EQ(err, 0);
			sent++;
			moved = true;
		}
		while (chime_rdm_receive(p.client, &ev) == 0) {
			moved = true;
			undelivered += ev.kind == CHIME_RDM_UNDELIVERED;
		}
		moved |= relay_run(&p.relay);
		while (chime_rdm_receive(p.server, &ev) == 0) {
			moved = true;
			if (ev.kind != CHIME_RDM_MESSAGE)
				continue;
			unsigned n;
			CHECK_EQ(ev.len, size);
			memcpy(&n, ev.data, sizeof n);
			CHECK(n < MESSAGES);
			CHECK_EQ(seen[n], 0);
			CHECK_EQ(ev.data[size - 1], n & 0xff);
			seen[n] = 1;
			overtaken += (int)n < last;
			last = (int)n;
			got++;
		}
		if (!moved) {
			struct pollfd f[4] = { { chime_rdm_fileno(p.client), POLLIN, 0 },
					       { chime_rdm_fileno(p.server), POLLIN, 0 },
					       { p.relay.near, POLLIN, 0 },
					       { p.relay.far, POLLIN, 0 } };
			poll(f, 4, 100);
		}
		int64_t turn = test_now() - last_turn;
		last_turn += turn;
		took += turn < TURN_MOST ? turn : TURN_MOST;
	}
	double seconds = (double)took / 1e9;
	fprintf(stderr,
		"# %s %s, %u %% dropped: %u messages of %zu B in %.2f s, %.0f a second, %u overtaken; %llu packets "
		"passed, %llu "
		"dropped\n",
		scheme, family == AF_INET ? "IPv4" : "IPv6", drop, got, size, seconds, got / seconds, overtaken,
		(unsigned long long)p.relay.passed, (unsigned long long)p.relay.dropped);
	CHECK_EQ(got, MESSAGES);
	CHECK_EQ(undelivered, 0);
	if (strcmp(scheme, "rdm") != 0)
		CHECK_EQ(overtaken, 0);
	chime_rdm_free(&p.client);
	chime_rdm_free(&p.server);
	relay_close(&p.relay);
	return seconds;
}

/*
 * At 10 %, a thousand messages of 1000 B a second: at one of six tries, for the machine may be busy. (Sanitizers' builds have
 * their own time.)
 */
static void transfer_in_time(const char *scheme, int family)
{
	double best = transfer(scheme, family, 10, true, 1000);
	for (int i = 1; i < 6 && best * 1000 > MESSAGES && !getenv("CHIME_TEST_SLOW"); i++) {
		double seconds = transfer(scheme, family, 10, true, 1000);
		best = seconds < best ? seconds : best;
	}
	if (!getenv("CHIME_TEST_SLOW"))
		CHECK_IN(best * 1000, 0, MESSAGES);
}

/* Without loss, messages over IPv4 arrive once each. */
TEST_LIMIT(rdm_without_loss, 200)
{
	transfer("rdm", AF_INET, 0, false, 1000);
}

/* Nothing is lost, doubled or changed where 2 % is lost, 5 % overtaken and 2 % doubled, each way. */
TEST_LIMIT(rdm_loses_nothing_at_2_percent, 200)
{
	transfer("rdm", AF_INET, 2, true, 1000);
}

/* The same at 10 %, at a thousand a second or more. */
TEST_LIMIT(rdm_loses_nothing_at_10_percent, 600)
{
	transfer_in_time("rdm", AF_INET);
}

/* The same at 30 %; of small messages, for half of all round trips fail there. */
TEST_LIMIT(rdm_loses_nothing_at_30_percent, 200)
{
	transfer("rdm", AF_INET, 30, true, 100);
}

/* And over IPv6. */
TEST_LIMIT(rdm_loses_nothing_over_ipv6, 200)
{
	transfer("rdm", AF_INET6, 10, true, 1000);
}

/* sctp+seqpacket: the same, and in order. */
TEST_LIMIT(seqpacket_without_loss, 200)
{
	transfer("sctp+seqpacket", AF_INET6, 0, false, 1000);
}

TEST_LIMIT(seqpacket_keeps_order_at_2_percent, 200)
{
	transfer("sctp+seqpacket", AF_INET6, 2, true, 1000);
}

TEST_LIMIT(seqpacket_keeps_order_at_10_percent, 600)
{
	transfer_in_time("sctp+seqpacket", AF_INET);
}

TEST_LIMIT(seqpacket_keeps_order_at_30_percent, 200)
{
	transfer("sctp+seqpacket", AF_INET, 30, true, 100);
}

TEST_MAIN()
