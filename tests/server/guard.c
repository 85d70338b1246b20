/* Whom the guard of datagram services answers: each rule of docs/udp-guards.md. */
#include "server/guard.h"

#include "runner/test.h"

#include <chime/clock.h>

#include <arpa/inet.h>

static const uint16_t served[] = { 862, 7777, 40000 };

static chime_addr from(const char *host, int port)
{
	chime_addr a;
	CHECK_EQ(chime_addr_ip(&a, AF_UNSPEC, host, port), 0);
	return a;
}

static enum guard_verdict judge(struct guard *g, const char *host, int port, int64_t now_ns)
{
	chime_addr a = from(host, port);
	return chime__guard_judge(g, &a, now_ns);
}

/* How many of count datagrams from there are answered, all at the same time. */
static unsigned answered(struct guard *g, const char *host, unsigned count, int64_t now_ns)
{
	chime_addr a = from(host, 50000);
	unsigned n = 0;
	for (unsigned i = 0; i < count; i++)
		n += chime__guard_judge(g, &a, now_ns) == GUARD_ANSWER;
	return n;
}

/* A source port below 1024 is a service's, never a client's; 0 cannot be answered. 1024 is a client's. */
TEST(guard_refuses_ports_of_services)
{
	struct guard g;
	CHECK_EQ(chime__guard_init(&g, 0, 0, served, 3), 0);
	static const int refused[] = { 0, 1, 7, 19, 53, 123, 862, 1023 };
	for (unsigned i = 0; i < sizeof refused / sizeof *refused; i++) {
		CHECK_EQ(judge(&g, "192.0.2.1", refused[i], 1), GUARD_SOURCE);
		CHECK_EQ(judge(&g, "2001:db8::1", refused[i], 1), GUARD_SOURCE);
	}
	CHECK_EQ(judge(&g, "192.0.2.1", 1024, 1), GUARD_ANSWER);
	CHECK_EQ(judge(&g, "2001:db8::1", 65535, 1), GUARD_ANSWER);
	chime__guard_fini(&g);
}

/* Raw sockets have no ports: only addresses and rates are judged. */
TEST(guard_without_ports)
{
	struct guard g;
	CHECK_EQ(chime__guard_init(&g, 5, 0, served, 3), 0);
	g.portless = true;
	CHECK_EQ(judge(&g, "192.0.2.1", 0, 1), GUARD_ANSWER);
	CHECK_EQ(judge(&g, "2001:db8::1", 0, 1), GUARD_ANSWER);
	CHECK_EQ(judge(&g, "224.0.0.1", 0, 1), GUARD_SOURCE);
	CHECK_EQ(judge(&g, "0.0.0.0", 0, 1), GUARD_SOURCE);
	for (int i = 1; i < 10; i++)
		CHECK_EQ(judge(&g, "192.0.2.1", 0, 1), GUARD_ANSWER);
	CHECK_EQ(judge(&g, "192.0.2.1", 0, 1), GUARD_RATE);
	chime__guard_fini(&g);
}

/* A port that this server serves: what comes from it is another server's answer, wherever that is. */
TEST(guard_refuses_ports_that_we_serve)
{
	struct guard g;
	CHECK_EQ(chime__guard_init(&g, 0, 0, served, 3), 0);
	CHECK_EQ(judge(&g, "127.0.0.1", 7777, 1), GUARD_SOURCE);
	CHECK_EQ(judge(&g, "198.51.100.7", 40000, 1), GUARD_SOURCE);
	CHECK_EQ(judge(&g, "127.0.0.1", 7778, 1), GUARD_ANSWER);
	CHECK_EQ(judge(&g, "127.0.0.1", 39999, 1), GUARD_ANSWER);
	chime__guard_fini(&g);
	CHECK_EQ(chime__guard_init(&g, 0, 0, NULL, 0), 0);
	CHECK_EQ(judge(&g, "127.0.0.1", 7777, 1), GUARD_ANSWER);
	chime__guard_fini(&g);
}

/* Ports of services known to answer whatever comes are refused, their neighbours are not. */
TEST(guard_refuses_known_repliers)
{
	struct guard g;
	CHECK_EQ(chime__guard_init(&g, 0, 0, NULL, 0), 0);
	static const int refused[] = { 1900, 2049, 2112, 3702, 5353, 5201, 9999, 11111, 11211, 27015, 1194 };
	for (unsigned i = 0; i < sizeof refused / sizeof *refused; i++) {
		CHECK_EQ(judge(&g, "192.0.2.1", refused[i], 1), GUARD_SOURCE);
		CHECK_EQ(judge(&g, "192.0.2.1", refused[i] + 1, 1), GUARD_ANSWER);
		CHECK_EQ(judge(&g, "192.0.2.1", refused[i] - 1, 1), GUARD_ANSWER);
	}
	chime__guard_fini(&g);
}

/* Only unicast sources are answered; IPv4 in IPv6 is judged as IPv4. Loopback is unicast. */
TEST(guard_refuses_sources_that_are_no_unicast)
{
	struct guard g;
	CHECK_EQ(chime__guard_init(&g, 0, 0, NULL, 0), 0);
	static const char *const refused[] = {
		"0.0.0.0",   "0.1.2.3", "255.255.255.255", "255.0.0.1",          "224.0.0.1",
		"239.9.9.9", "::",      "ff02::1",         "::ffff:224.0.0.251", "::ffff:255.255.255.255",
		"ff0e::1234"
	};
	static const char *const fine[] = { "127.0.0.1",        "::1",     "10.0.0.255",  "192.0.2.1", "fe80::1%lo",
					    "::ffff:192.0.2.1", "1.0.0.0", "223.255.1.1", "fd00::1" };
	for (unsigned i = 0; i < sizeof refused / sizeof *refused; i++)
		CHECK_EQ(judge(&g, refused[i], 50000, 1), GUARD_SOURCE);
	for (unsigned i = 0; i < sizeof fine / sizeof *fine; i++)
		CHECK_EQ(judge(&g, fine[i], 50000, 1), GUARD_ANSWER);
	chime__guard_fini(&g);
}

/* A source gets two seconds of its rate at once, then its rate, exactly; loopback too. */
TEST(guard_holds_a_source_to_its_rate)
{
	struct guard g;
	static const int64_t rates[] = { 1, 3, 100, 10000 };
	for (unsigned i = 0; i < sizeof rates / sizeof *rates; i++) {
		int64_t rate = rates[i], now = 5 * CHIME_SEC;
		CHECK_EQ(chime__guard_init(&g, rate, 0, NULL, 0), 0);
		CHECK_EQ(answered(&g, "127.0.0.1", 5 * (unsigned)rate, now), 2 * rate);
		CHECK_EQ(answered(&g, "127.0.0.1", 10, now), 0);
		for (unsigned s = 1; s <= 5; s++)
			CHECK_EQ(answered(&g, "127.0.0.1", 5 * (unsigned)rate, now + s * CHIME_SEC), rate);
		/* Quiet for long, it is full again, and not fuller. */
		CHECK_EQ(answered(&g, "127.0.0.1", 5 * (unsigned)rate, now + CHIME_HOUR), 2 * rate);
		chime__guard_fini(&g);
	}
}

/* What one source uses up is not missing to another; ports of one address share a bucket. */
TEST(guard_keeps_sources_apart)
{
	struct guard g;
	CHECK_EQ(chime__guard_init(&g, 10, 0, NULL, 0), 0);
	CHECK_EQ(answered(&g, "192.0.2.1", 1000, CHIME_SEC), 20);
	CHECK_EQ(judge(&g, "192.0.2.1", 50001, CHIME_SEC), GUARD_RATE);
	CHECK_EQ(answered(&g, "192.0.2.2", 1000, CHIME_SEC), 20);
	CHECK_EQ(judge(&g, "::ffff:192.0.2.1", 50002, CHIME_SEC), GUARD_RATE);
	chime__guard_fini(&g);
}

/* IPv6 sources of one /56 share a bucket: whoever has one address there has them all. */
TEST(guard_counts_ipv6_by_56_bits)
{
	struct guard g;
	CHECK_EQ(chime__guard_init(&g, 10, 0, NULL, 0), 0);
	CHECK_EQ(answered(&g, "2001:db8:1:100::1", 15, CHIME_SEC), 15);
	CHECK_EQ(answered(&g, "2001:db8:1:1ff:ffff::9", 100, CHIME_SEC), 5);
	CHECK_EQ(answered(&g, "2001:db8:1:200::1", 100, CHIME_SEC), 20);
	chime__guard_fini(&g);
}

/* The total is for all sources together, and a source that is over its own rate takes nothing of it. */
TEST(guard_holds_the_total)
{
	struct guard g;
	CHECK_EQ(chime__guard_init(&g, 10, 25, NULL, 0), 0);
	CHECK_EQ(answered(&g, "192.0.2.1", 1000, CHIME_SEC), 20);
	CHECK_EQ(answered(&g, "192.0.2.2", 1000, CHIME_SEC), 20);
	CHECK_EQ(answered(&g, "192.0.2.3", 1000, CHIME_SEC), 10);
	CHECK_EQ(answered(&g, "192.0.2.4", 1000, CHIME_SEC), 0);
	CHECK_EQ(answered(&g, "192.0.2.4", 1000, 2 * CHIME_SEC), 20);
	CHECK_EQ(answered(&g, "192.0.2.3", 1000, 2 * CHIME_SEC), 5);
	chime__guard_fini(&g);
}

/* The total alone works without a limit for each source. */
TEST(guard_holds_the_total_alone)
{
	struct guard g;
	CHECK_EQ(chime__guard_init(&g, 0, 50, NULL, 0), 0);
	CHECK_EQ(answered(&g, "192.0.2.1", 1000, CHIME_SEC), 100);
	CHECK_EQ(answered(&g, "192.0.2.2", 1000, CHIME_SEC), 0);
	chime__guard_fini(&g);
}

static chime_addr forged(void)
{
	chime_addr a = from("1.2.3.4", 50000);
	a.u.in.sin_addr.s_addr = htonl(0x0a000000 | (uint32_t)(test_random() & 0xffffff));
	return a;
}

/*
 * A flood from one source is held though a flood from forged ones goes through the buckets beside it: for an evicted bucket
 * never gives its source a fresh one. A third source is served all the while.
 */
TEST(guard_holds_a_flood_behind_forged_sources)
{
	struct guard g;
	enum {
		RATE = 1000,
		SECONDS = 10
	};
	chime_addr flood = from("203.0.113.5", 40001), good = from("198.51.100.9", 40002);
	unsigned flood_answers = 0, good_answers = 0, good_asked = 0;
	CHECK_EQ(chime__guard_init(&g, RATE, 0, NULL, 0), 0);
	for (int64_t us = 0; us < SECONDS * 1000000LL; us += 20) {
		int64_t now = CHIME_HOUR + us * CHIME_USEC;
		chime_addr f = forged();
		chime__guard_judge(&g, &f, now); /* 50,000 a second, all different */
		flood_answers += chime__guard_judge(&g, &flood, now) == GUARD_ANSWER;
		if (us % 10000 == 0) {
			good_asked++;
			good_answers += chime__guard_judge(&g, &good, now) == GUARD_ANSWER;
		}
	}
	CHECK_IN(flood_answers, (2 + SECONDS) * RATE - RATE / 10, (2 + SECONDS) * RATE + 1);
	CHECK_EQ(good_answers, good_asked);
	chime__guard_fini(&g);
}

/* However many sources are forged, all together they get no more than the buckets that there are can give. */
TEST(guard_gives_forged_sources_no_more_than_its_buckets)
{
	struct guard g;
	unsigned answers = 0;
	CHECK_EQ(chime__guard_init(&g, 1, 0, NULL, 0), 0);
	for (unsigned i = 0; i < 200000; i++) {
		chime_addr f = forged();
		answers += chime__guard_judge(&g, &f, CHIME_SEC) == GUARD_ANSWER;
	}
	CHECK_IN(answers, 2 * GUARD_BUCKETS * 9 / 10, 2 * GUARD_BUCKETS);
	chime__guard_fini(&g);
}

/* Two guards have two secrets: which sources share a set cannot be found out by asking another server. */
TEST(guard_has_a_secret_of_its_own)
{
	struct guard a, b;
	CHECK_EQ(chime__guard_init(&a, 1, 0, NULL, 0), 0);
	CHECK_EQ(chime__guard_init(&b, 1, 0, NULL, 0), 0);
	CHECK(memcmp(a.secret, b.secret, sizeof a.secret) != 0);
	CHECK_EQ(judge(&a, "192.0.2.1", 50000, 1), GUARD_ANSWER);
	CHECK_EQ(judge(&b, "192.0.2.1", 50000, 1), GUARD_ANSWER);
	CHECK(memcmp(a.buckets, b.buckets, GUARD_BUCKETS * sizeof *a.buckets) != 0);
	chime__guard_fini(&a);
	chime__guard_fini(&b);
}

/* Neither a unix sender nor none at all is answered by a guard: they have no address to judge. */
TEST(guard_refuses_what_is_no_ip_address)
{
	struct guard g;
	chime_addr none = chime_addr_none(), path;
	CHECK_EQ(chime__guard_init(&g, 1, 0, NULL, 0), 0);
	CHECK_EQ(chime_addr_unix(&path, "/x", 2), 0);
	CHECK_EQ(chime__guard_judge(&g, &none, 1), GUARD_SOURCE);
	CHECK_EQ(chime__guard_judge(&g, &path, 1), GUARD_SOURCE);
	chime__guard_fini(&g);
}

TEST_MAIN()
