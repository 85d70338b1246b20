/* Envelopes of raw sockets' messages: taken off what comes, put around what goes, and nothing answered that is no request. */
#include "server/envelope.h"

#include "runner/test.h"

#include <chime/error.h>

#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <stdlib.h>

static struct buf_pool pool;

/* A received message of a socket that gives these bytes. */
static struct op_msg received(const void *bytes, size_t len)
{
	if (!pool.room)
		chime__buf_pool_init(&pool, 70000, 4);
	struct buf *b = chime__buf_get(&pool);
	CHECK(b != NULL);
	memcpy(b->data, bytes, len);
	return (struct op_msg){ .buf = b, .data = b->data, .len = len };
}

static void forget(struct op_msg *m)
{
	buf_unref(m->buf);
	chime__buf_pool_fini(&pool);
	memset(&pool, 0, sizeof pool);
}

/* An ICMP message as a socket of the family gives it: behind an IPv4 header, or alone. */
static size_t packet(unsigned char *buf, size_t size, int family, uint8_t type, const void *payload, size_t len)
{
	unsigned char inner[2000];
	struct chime_icmp icmp = { .type = type, .id = 77, .seq = 88, .payload = payload, .payload_len = len };
	if (family == AF_INET6)
		return (size_t)chime_icmp6_build(&icmp, buf, size, NULL, NULL);
	struct chime_ipv4 ip = { .ttl = 5, .protocol = IPPROTO_ICMP, .payload = inner };
	ip.payload_len = (size_t)chime_icmp_build(&icmp, inner, sizeof inner);
	return (size_t)chime_ipv4_build(&ip, buf, size);
}

/* An echo request's payload is the message; the reply put around an answer in pieces of any length has its id, seq and a right sum. */
TEST(envelope_of_an_echo)
{
	static const size_t cuts[][3] = { { 4, 0, 0 }, { 1, 1, 2 }, { 3, 0, 1 }, { 1, 3, 0 }, { 0, 0, 0 } };
	unsigned char bytes[2100], reply[200];
	for (int six = 0; six < 2; six++)
		for (size_t c = 0; c < sizeof cuts / sizeof *cuts; c++) {
			int family = six ? AF_INET6 : AF_INET;
			struct envelope e = { .raw = true, .icmp = true, .family = family };
			struct chime_reply r;
			struct chime_icmp back;
			size_t n = packet(bytes, sizeof bytes, family, six ? ICMP6_ECHO_REQUEST : ICMP_ECHO, "abcd", 4),
			       len = 0;
			struct op_msg m = received(bytes, n);
			CHECK_EQ(chime__envelope_open(&e, &m), 0);
			CHECK_EQ(m.len, 4);
			CHECK_MEM(m.data, "abcd", 4);
			chime__envelope_begin(&e, &m, &r);
			for (size_t i = 0, at = 0; i < 3; at += cuts[c][i++])
				CHECK_EQ(chime_reply_add(&r, m.data + at, cuts[c][i]), 0);
			chime__envelope_end(&e, &m, &r);
			for (unsigned i = 0; i < r.n; i++) {
				memcpy(reply + len, r.iov[i].iov_base, r.iov[i].iov_len);
				len += r.iov[i].iov_len;
			}
			size_t answered = cuts[c][0] + cuts[c][1] + cuts[c][2];
			CHECK_EQ(len, r.bytes);
			CHECK_EQ(len, CHIME_ICMP_HEADER + answered);
			CHECK_EQ(six ? chime_icmp6_parse(&back, reply, len, NULL, NULL)
				     : chime_icmp_parse(&back, reply, len),
				 0);
			CHECK_EQ(back.type, six ? ICMP6_ECHO_REPLY : ICMP_ECHOREPLY);
			CHECK_EQ(back.id, 77);
			CHECK_EQ(back.seq, 88);
			CHECK_MEM(back.payload, "abcd", answered);
			forget(&m);
		}
}

/* Replies and errors are no requests; a wrong checksum and a header that is cut are told as what they are. */
TEST(envelope_opens_requests_alone)
{
	unsigned char bytes[2100];
	for (int type = 0; type < 256; type++)
		for (int six = 0; six < 2; six++) {
			int family = six ? AF_INET6 : AF_INET;
			struct envelope e = { .raw = true, .icmp = true, .family = family };
			size_t n = packet(bytes, sizeof bytes, family, (uint8_t)type, "abcd", 4);
			struct op_msg m = received(bytes, n);
			bool request = type == (six ? ICMP6_ECHO_REQUEST : ICMP_ECHO);
			CHECK_EQ(chime__envelope_open(&e, &m), request ? 0 : -EAGAIN);
			forget(&m);
		}
	struct envelope e = { .raw = true, .icmp = true, .family = AF_INET };
	size_t n = packet(bytes, sizeof bytes, AF_INET, ICMP_ECHO, "abcd", 4);
	bytes[n - 1] ^= 1;
	struct op_msg m = received(bytes, n);
	CHECK_EQ(chime__envelope_open(&e, &m), CHIME_ECHECKSUM);
	forget(&m);
	m = received(bytes, 22);
	CHECK_EQ(chime__envelope_open(&e, &m), CHIME_ESHORT);
	forget(&m);
}

/* ip://: IPv4's header comes off, options too; IPv6 gives none; what is answered goes out as it is. Sockets that are not raw are left alone. */
TEST(envelope_of_a_protocol)
{
	const unsigned char options[4] = { 148, 4 };
	unsigned char bytes[200];
	struct chime_ipv4 ip = {
		.ttl = 1, .protocol = 253, .options = options, .options_len = 4, .payload = "hello", .payload_len = 5
	};
	size_t n = (size_t)chime_ipv4_build(&ip, bytes, sizeof bytes);
	struct envelope four = { .raw = true, .family = AF_INET }, six = { .raw = true, .family = AF_INET6 },
			none = { .raw = false };
	struct chime_reply r;
	struct op_msg m = received(bytes, n);
	CHECK_EQ(chime__envelope_open(&four, &m), 0);
	CHECK_EQ(m.len, 5);
	CHECK_MEM(m.data, "hello", 5);
	chime__envelope_begin(&four, &m, &r);
	CHECK_EQ(chime_reply_add(&r, m.data, m.len), 0);
	CHECK_EQ(r.n, 1);
	CHECK_EQ(r.bytes, 5);
	forget(&m);
	m = received(bytes, n);
	CHECK_EQ(chime__envelope_open(&six, &m), 0);
	CHECK_EQ(chime__envelope_open(&none, &m), 0);
	CHECK_EQ(m.len, n);
	forget(&m);
}

TEST_MAIN()
