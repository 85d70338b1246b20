/*
 * Headers of raw packets: what is built is parsed back, what is wrong is told apart, and nothing is read past the end. A few lines over
 * 600: one header's calls.
 */
#include <chime/clock.h>
#include <chime/error.h>
#include <chime/raw.h>
#include <net/edge.h>
#include <runner/test.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>

static unsigned char packet[70000];

static struct in_addr v4(const char *text)
{
	struct in_addr a;
	CHECK_EQ(inet_pton(AF_INET, text, &a), 1);
	return a;
}

static struct in6_addr v6(const char *text)
{
	struct in6_addr a;
	CHECK_EQ(inet_pton(AF_INET6, text, &a), 1);
	return a;
}

static void fill(unsigned char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (unsigned char)test_random();
}

/* ---- the checksum ---- */

/* As RFC 1071 says it in words: 16-bit words added in ones' complement, an odd byte in front of a zero. */
static uint16_t naive(const unsigned char *p, size_t len)
{
	uint32_t sum = 0;
	for (size_t i = 0; i < len; i += 2) {
		sum += (uint32_t)(p[i] << 8 | (i + 1 < len ? p[i + 1] : 0));
		if (sum > 0xffff)
			sum -= 0xffff;
	}
	return (uint16_t)~sum;
}

/* RFC 1071's own example. */
TEST(checksum_of_the_rfc)
{
	const unsigned char bytes[] = { 0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7 };
	CHECK_EQ(chime_checksum(bytes, sizeof bytes), 0x220d);
	CHECK_EQ(chime_checksum(bytes, 0), 0xffff);
}

/* Every length to 300 at every alignment, of random bytes, all ones and all zeros, gives what the naive sum gives. */
TEST(checksum_equals_the_naive_one)
{
	static unsigned char bytes[400];
	for (int kind = 0; kind < 3; kind++) {
		if (kind == 0)
			fill(bytes, sizeof bytes);
		else
			memset(bytes, kind == 1 ? 0xff : 0, sizeof bytes);
		for (size_t at = 0; at < 16; at++)
			for (size_t len = 0; len <= 300; len++)
				CHECK_EQ(chime_checksum(bytes + at, len), naive(bytes + at, len));
	}
}

/* Longer than any packet, where carries pile up. */
TEST(checksum_of_much)
{
	static unsigned char bytes[(1 << 20) + 7];
	memset(bytes, 0xff, sizeof bytes);
	CHECK_EQ(chime_checksum(bytes, sizeof bytes), naive(bytes, sizeof bytes));
	fill(bytes, sizeof bytes);
	CHECK_EQ(chime_checksum(bytes, sizeof bytes), naive(bytes, sizeof bytes));
}

/* However it is cut into pieces of even length, the sum is the same. */
TEST(checksum_in_pieces)
{
	unsigned char bytes[999];
	fill(bytes, sizeof bytes);
	uint16_t whole = chime_checksum(bytes, sizeof bytes);
	for (int round = 0; round < 300; round++) {
		uint32_t sum = 0;
		size_t at = 0;
		while (at < sizeof bytes) {
			size_t n = test_random() % 60 * 2;
			if (n > sizeof bytes - at)
				n = sizeof bytes - at;
			sum = chime_checksum_add(sum, bytes + at, n);
			at += n;
		}
		CHECK_EQ(chime_checksum_end(sum), whole);
	}
}

/* Bytes with their checksum among them sum up to 0. */
TEST(checksum_in_its_place_gives_zero)
{
	unsigned char bytes[64];
	for (int round = 0; round < 1000; round++) {
		fill(bytes, sizeof bytes);
		bytes[10] = bytes[11] = 0;
		uint16_t sum = chime_checksum(bytes, sizeof bytes);
		bytes[10] = (unsigned char)(sum >> 8);
		bytes[11] = (unsigned char)sum;
		CHECK_EQ(chime_checksum(bytes, sizeof bytes), 0);
	}
}

/* Nothing beyond the last byte is touched. */
TEST(checksum_stays_within_its_bytes)
{
	unsigned char bytes[100];
	fill(bytes, sizeof bytes);
	for (size_t len = 0; len <= sizeof bytes; len++)
		CHECK_EQ(chime_checksum(edge_bytes(bytes, len), len), naive(bytes, len));
}

/* ---- IPv4 ---- */

/* A header that is in every textbook. */
static const unsigned char textbook[] = { 0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11,
					  0xb8, 0x61, 0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7 };

/* Each field is read from its place; the payload, which is not there, is told as cut. */
TEST(ipv4_is_read)
{
	struct chime_ipv4 h;
	CHECK_EQ(chime_ipv4_parse(&h, textbook, sizeof textbook), CHIME_ESHORT);
	CHECK_EQ(h.header_len, 20);
	CHECK_EQ(h.total_len, 0x73);
	CHECK_EQ(h.payload_len, 0);
	CHECK_EQ(h.checksum, 0xb861);
	CHECK_EQ(h.ttl, 64);
	CHECK_EQ(h.protocol, IPPROTO_UDP);
	CHECK_EQ(h.id, 0);
	CHECK(h.dont_fragment && !h.more_fragments);
	CHECK_EQ(h.from.s_addr, v4("192.168.0.1").s_addr);
	CHECK_EQ(h.to.s_addr, v4("192.168.0.199").s_addr);
	CHECK_PTR(h.options, NULL);
}

/* And built to the byte. */
TEST(ipv4_is_built)
{
	struct chime_ipv4 h = { .ttl = 64, .protocol = IPPROTO_UDP, .dont_fragment = true };
	unsigned char payload[0x73 - 20] = { 1, 2, 3 };
	h.from = v4("192.168.0.1");
	h.to = v4("192.168.0.199");
	h.payload = payload;
	h.payload_len = sizeof payload;
	CHECK_EQ(chime_ipv4_build(&h, packet, sizeof packet), 0x73);
	CHECK_MEM(packet, textbook, sizeof textbook);
	CHECK_MEM(packet + 20, payload, sizeof payload);
}

static void random_ipv4(struct chime_ipv4 *h, const unsigned char *options, const unsigned char *payload)
{
	uint64_t r = test_random();
	*h = (struct chime_ipv4){ .tos = (uint8_t)r,
				  .ttl = (uint8_t)(r >> 8),
				  .protocol = (uint8_t)(r >> 16),
				  .id = (uint16_t)(r >> 24),
				  .dont_fragment = r >> 40 & 1,
				  .more_fragments = r >> 41 & 1,
				  .fragment = (uint16_t)((r >> 42 & 0x1fff) * 8),
				  .options = options,
				  .options_len = test_random() % 11 * 4,
				  .payload = payload,
				  .payload_len = test_random() % 3000 };
	h->from.s_addr = (uint32_t)test_random();
	h->to.s_addr = (uint32_t)test_random();
}

/* What is built is parsed back the same, field by field, and its checksum holds; behind it may stand anything. */
TEST(ipv4_built_is_parsed_back)
{
	static unsigned char options[40], payload[3000];
	for (int round = 0; round < 3000; round++) {
		struct chime_ipv4 h, back;
		fill(options, sizeof options);
		fill(payload, 64);
		random_ipv4(&h, options, payload);
		ssize_t n = chime_ipv4_build(&h, packet, sizeof packet);
		CHECK_EQ(n, (ssize_t)(20 + h.options_len + h.payload_len));
		CHECK_EQ(chime_ipv4_parse(&back, packet, (size_t)n + test_random() % 50), 0);
		CHECK_EQ(back.tos, h.tos);
		CHECK_EQ(back.ttl, h.ttl);
		CHECK_EQ(back.protocol, h.protocol);
		CHECK_EQ(back.id, h.id);
		CHECK_EQ(back.dont_fragment, h.dont_fragment);
		CHECK_EQ(back.more_fragments, h.more_fragments);
		CHECK_EQ(back.fragment, h.fragment);
		CHECK_EQ(back.from.s_addr, h.from.s_addr);
		CHECK_EQ(back.to.s_addr, h.to.s_addr);
		CHECK_EQ(back.total_len, n);
		CHECK_EQ(back.options_len, h.options_len);
		CHECK_EQ(back.payload_len, h.payload_len);
		if (h.options_len)
			CHECK_MEM(back.options, options, h.options_len);
		CHECK_MEM(back.payload, payload, h.payload_len);
	}
}

/* Every beginning of a packet, set against a page that cannot be read, is short, until all of the header is there. */
TEST(ipv4_cut_anywhere)
{
	const unsigned char options[8] = { 7, 7, 4 };
	struct chime_ipv4 h = { .ttl = 1, .options = options, .options_len = 8, .payload = "hello", .payload_len = 5 };
	ssize_t n = chime_ipv4_build(&h, packet, sizeof packet);
	CHECK_EQ(n, 33);
	for (size_t len = 0; len < 33; len++) {
		CHECK_EQ(chime_ipv4_parse(&h, edge_bytes(packet, len), len), CHIME_ESHORT);
		CHECK_EQ(h.header_len, len < 28 ? 0 : 28);
		CHECK_EQ(h.payload_len, len < 28 ? 0 : len - 28);
	}
	CHECK_EQ(chime_ipv4_parse(&h, edge_bytes(packet, 33), 33), 0);
}

/* Each thing that can be wrong with a header has its own code. */
TEST(ipv4_wrong_headers_are_told_apart)
{
	struct chime_ipv4 h = { .ttl = 1, .payload = "hello", .payload_len = 5 };
	unsigned char bad[25];
	CHECK_EQ(chime_ipv4_build(&h, packet, sizeof packet), 25);
	memcpy(bad, packet, 25);
	bad[0] = 0x65;
	CHECK_EQ(chime_ipv4_parse(&h, bad, 25), CHIME_EVERSION);
	bad[0] = 0x44;
	CHECK_EQ(chime_ipv4_parse(&h, bad, 25), CHIME_ELENGTH);
	bad[0] = 0x47;
	CHECK_EQ(chime_ipv4_parse(&h, bad, 25), CHIME_ESHORT);
	memcpy(bad, packet, 25);
	bad[3] = 19;
	CHECK_EQ(chime_ipv4_parse(&h, bad, 25), CHIME_ELENGTH);
	CHECK_EQ(h.header_len, 0);
	memcpy(bad, packet, 25);
	bad[3] = 26;
	CHECK_EQ(chime_ipv4_parse(&h, bad, 25), CHIME_ECHECKSUM);
	for (unsigned bit = 0; bit < 20 * 8; bit++) {
		memcpy(bad, packet, 25);
		bad[bit / 8] ^= (unsigned char)(1 << bit % 8);
		CHECK_NE(chime_ipv4_parse(&h, bad, 25), 0);
	}
	/* the fields are there all the same */
	memcpy(bad, packet, 25);
	bad[8] = 2;
	CHECK_EQ(chime_ipv4_parse(&h, bad, 25), CHIME_ECHECKSUM);
	CHECK_EQ(h.ttl, 2);
	CHECK_EQ(h.payload_len, 5);
}

/* What the header has no room for is refused, and so is a buffer that is too small; the longest packet there is is built. */
TEST(ipv4_does_not_build_what_cannot_be)
{
	static unsigned char payload[65536];
	struct chime_ipv4 h = { .ttl = 1, .payload = payload, .payload_len = 65536 - 20 };
	CHECK_EQ(chime_ipv4_build(&h, packet, sizeof packet), -EMSGSIZE);
	h.payload_len--;
	CHECK_EQ(chime_ipv4_build(&h, packet, sizeof packet), 65535);
	CHECK_EQ(chime_ipv4_build(&h, packet, 65534), -ENOBUFS);
	h = (struct chime_ipv4){ .fragment = 4 };
	CHECK_EQ(chime_ipv4_build(&h, packet, sizeof packet), -EINVAL);
	h = (struct chime_ipv4){ .options = payload, .options_len = 41 };
	CHECK_EQ(chime_ipv4_build(&h, packet, sizeof packet), -EINVAL);
	h = (struct chime_ipv4){ .ttl = 0 };
	CHECK_EQ(chime_ipv4_build(&h, packet, 19), -ENOBUFS);
	CHECK_EQ(chime_ipv4_build(&h, packet, 20), 20);
	CHECK_EQ(chime_ipv4_parse(&h, packet, 20), 0); /* a header alone is a packet */
	CHECK_EQ(h.header_len, 20);
	CHECK_EQ(h.payload_len, 0);
}

/* Options are padded with zeros to whole words, whatever stood there. */
TEST(ipv4_options_are_padded)
{
	struct chime_ipv4 h = { .options = "\x07\x05\x04\x01\x02", .options_len = 5, .payload = "x", .payload_len = 1 };
	memset(packet, 0xff, 60);
	CHECK_EQ(chime_ipv4_build(&h, packet, sizeof packet), 29);
	CHECK_MEM(packet + 20, "\x07\x05\x04\x01\x02\0\0\0x", 9);
	CHECK_EQ(chime_ipv4_parse(&h, packet, 29), 0);
	CHECK_EQ(h.options_len, 8);
}

/* A payload that lies in the buffer already, before or behind its place, arrives whole. */
TEST(ipv4_payload_may_lie_in_the_buffer)
{
	for (size_t at = 0; at < 60; at++) {
		struct chime_ipv4 h = { .payload = packet + at, .payload_len = 500 };
		unsigned char wanted[500];
		fill(packet, 600);
		memcpy(wanted, packet + at, 500);
		CHECK_EQ(chime_ipv4_build(&h, packet, sizeof packet), 520);
		CHECK_MEM(packet + 20, wanted, 500);
	}
}

/* Options are added and walked: no-ops told, the end ends, lengths that lead out refused. */
TEST(ipv4_options)
{
	unsigned char buf[40];
	struct chime_ipv4 h = { .options = buf };
	struct chime_ipv4_option o = { .type = 0 };
	ssize_t n = chime_ipv4_option_add(buf, sizeof buf, 0, 1, NULL, 0);
	CHECK_EQ(n, 1);
	n = chime_ipv4_option_add(buf, sizeof buf, (size_t)n, 7, "\x04\0\0\0\0", 5);
	CHECK_EQ(n, 8);
	n = chime_ipv4_option_add(buf, sizeof buf, (size_t)n, 148, "\0\0", 2);
	CHECK_EQ(n, 12);
	n = chime_ipv4_option_add(buf, sizeof buf, (size_t)n, 0, NULL, 0);
	CHECK_EQ(n, 13);
	h.options_len = (size_t)n;
	CHECK_EQ(chime_ipv4_option_next(&h, &o), 1);
	CHECK_EQ(o.type, 1);
	CHECK_EQ(chime_ipv4_option_next(&h, &o), 1);
	CHECK_EQ(o.type, 7);
	CHECK_EQ(o.len, 5);
	CHECK_MEM(o.data, "\x04\0\0\0\0", 5);
	CHECK_EQ(chime_ipv4_option_next(&h, &o), 1);
	CHECK_EQ(o.type, 148);
	CHECK_EQ(o.len, 2);
	CHECK_EQ(chime_ipv4_option_next(&h, &o), 0);
	CHECK_EQ(chime_ipv4_option_next(&h, &o), 0);
	CHECK_EQ(chime_ipv4_option_add(buf, sizeof buf, 36, 7, "123", 3), -ENOBUFS);
	CHECK_EQ(chime_ipv4_option_add(buf, sizeof buf, 36, 7, "12", 2), 40);
	CHECK_EQ(chime_ipv4_option_add(buf, sizeof buf, 40, 1, NULL, 0), -ENOBUFS);
	CHECK_EQ(chime_ipv4_option_add(buf, sizeof buf, 0, 7, buf, SIZE_MAX - 1), -ENOBUFS);
	CHECK_EQ(chime_ipv4_option_add(buf, sizeof buf, 41, 1, NULL, 0), -ENOBUFS);
	unsigned char large[64];
	CHECK_EQ(chime_ipv4_option_add(large, sizeof large, 36, 7, "123", 3),
		 -ENOBUFS); /* 40 is the most, in whatever room */
	CHECK_EQ(chime_ipv4_option_add(large, sizeof large, 41, 1, NULL, 0), -ENOBUFS);
	static const unsigned char bad[][3] = { { 7 }, { 7, 0 }, { 7, 1 }, { 7, 4, 0 } };
	static const size_t lens[] = { 1, 2, 2, 3 };
	for (size_t i = 0; i < 4; i++) {
		h.options = edge_bytes(bad[i], lens[i]);
		h.options_len = lens[i];
		o = (struct chime_ipv4_option){ .next = 0 };
		CHECK_EQ(chime_ipv4_option_next(&h, &o), CHIME_ELENGTH);
	}
}

/* ---- ICMP ---- */

/* An echo of both families is built and parsed back; a wrong bit anywhere is a wrong checksum. */
TEST(icmp_built_is_parsed_back)
{
	struct in6_addr from = v6("2001:db8::1"), to = v6("2001:db8::2");
	static unsigned char payload[1500];
	for (int round = 0; round < 2000; round++) {
		bool six = round & 1;
		struct chime_icmp back, h = { .type = six ? ICMP6_ECHO_REQUEST : ICMP_ECHO,
					      .code = (uint8_t)test_random(),
					      .id = (uint16_t)test_random(),
					      .seq = (uint16_t)test_random(),
					      .payload = payload,
					      .payload_len = test_random() % sizeof payload };
		fill(payload, 100);
		ssize_t n = six ? chime_icmp6_build(&h, packet, sizeof packet, &from, &to)
				: chime_icmp_build(&h, packet, sizeof packet);
		CHECK_EQ(n, (ssize_t)(8 + h.payload_len));
		for (int bad = 0; bad < 2; bad++) {
			if (bad)
				packet[test_random() % (size_t)n] ^= (unsigned char)(1 << test_random() % 8);
			int err = six ? chime_icmp6_parse(&back, packet, (size_t)n, &from, &to)
				      : chime_icmp_parse(&back, packet, (size_t)n);
			CHECK_EQ(err, bad ? CHIME_ECHECKSUM : 0);
			if (bad)
				continue;
			CHECK_EQ(back.type, h.type);
			CHECK_EQ(back.code, h.code);
			CHECK_EQ(back.id, h.id);
			CHECK_EQ(back.seq, h.seq);
			CHECK_EQ(back.payload_len, h.payload_len);
			CHECK_MEM(back.payload, payload, h.payload_len);
		}
	}
}

/* ICMPv6's sum goes over the addresses: other ones, another sum; without them it is neither counted nor looked at. */
TEST(icmp6_checksum_is_over_the_addresses)
{
	struct in6_addr from = v6("fe80::1"), to = v6("fe80::2"), other = v6("fe80::3");
	struct chime_icmp h = { .type = ICMP6_ECHO_REPLY, .id = 1, .seq = 2, .payload = "abc", .payload_len = 3 };
	CHECK_EQ(chime_icmp6_build(&h, packet, sizeof packet, &from, &to), 11);
	CHECK_EQ(chime_icmp6_parse(&h, packet, 11, &from, &to), 0);
	CHECK_EQ(chime_icmp6_parse(&h, packet, 11, &to, &from), 0); /* a sum does not know the order */
	CHECK_EQ(chime_icmp6_parse(&h, packet, 11, &from, &other), CHIME_ECHECKSUM);
	CHECK_EQ(chime_icmp6_parse(&h, packet, 11, NULL, NULL), 0);
	CHECK_EQ(chime_icmp6_parse(&h, packet, 11, &from, NULL), 0); /* one alone is none */
	h.payload = "abc";
	CHECK_EQ(chime_icmp6_build(&h, packet, sizeof packet, NULL, NULL), 11);
	CHECK_EQ(packet[2] << 8 | packet[3], 0);
}

/* Every beginning of a message against a page that cannot be read. */
TEST(icmp_cut_anywhere)
{
	struct chime_icmp h = { .type = ICMP_ECHO, .payload = "0123456789", .payload_len = 10 };
	CHECK_EQ(chime_icmp_build(&h, packet, sizeof packet), 18);
	for (size_t len = 0; len <= 18; len++)
		CHECK_EQ(chime_icmp_parse(&h, edge_bytes(packet, len), len), len < 8    ? CHIME_ESHORT
									     : len < 18 ? CHIME_ECHECKSUM
											: 0);
	h = (struct chime_icmp){ .type = ICMP_ECHO, .payload = packet, .payload_len = 65536 };
	CHECK_EQ(chime_icmp_build(&h, packet, sizeof packet), -EMSGSIZE);
	h.payload_len = 65535 - 7;
	CHECK_EQ(chime_icmp_build(&h, packet, sizeof packet), -EMSGSIZE);
	h.payload_len--;
	CHECK_EQ(chime_icmp_build(&h, packet, sizeof packet), 65535);
	h.payload_len = 10;
	CHECK_EQ(chime_icmp_build(&h, packet, 17), -ENOBUFS);
	CHECK_EQ(chime_icmp_build(&h, packet, 18), 18);
}

/* A payload that lies in the buffer already arrives whole. */
TEST(icmp_payload_may_lie_in_the_buffer)
{
	for (size_t at = 0; at < 20; at++) {
		struct chime_icmp h = { .type = ICMP_ECHO, .payload = packet + at, .payload_len = 500 };
		unsigned char wanted[500];
		fill(packet, 600);
		memcpy(wanted, packet + at, 500);
		CHECK_EQ(chime_icmp_build(&h, packet, sizeof packet), 508);
		CHECK_MEM(packet + 8, wanted, 500);
	}
}

/* Types have names, and unknown ones none. */
TEST(icmp_names)
{
	static const struct {
		int family;
		uint8_t type;
		const char *name;
	} rows[] = {
		{ AF_INET, 0, "echo reply" },
		{ AF_INET, 3, "destination unreachable" },
		{ AF_INET, 4, "source quench" },
		{ AF_INET, 5, "redirect" },
		{ AF_INET, 8, "echo request" },
		{ AF_INET, 9, "router advertisement" },
		{ AF_INET, 10, "router solicitation" },
		{ AF_INET, 11, "time exceeded" },
		{ AF_INET, 12, "parameter problem" },
		{ AF_INET, 13, "timestamp request" },
		{ AF_INET, 14, "timestamp reply" },
		{ AF_INET6, 1, "destination unreachable" },
		{ AF_INET6, 2, "packet too big" },
		{ AF_INET6, 3, "time exceeded" },
		{ AF_INET6, 4, "parameter problem" },
		{ AF_INET6, 128, "echo request" },
		{ AF_INET6, 129, "echo reply" },
		{ AF_INET6, 130, "listener query" },
		{ AF_INET6, 131, "listener report" },
		{ AF_INET6, 132, "listener done" },
		{ AF_INET6, 133, "router solicitation" },
		{ AF_INET6, 134, "router advertisement" },
		{ AF_INET6, 135, "neighbour solicitation" },
		{ AF_INET6, 136, "neighbour advertisement" },
		{ AF_INET6, 137, "redirect" },
		{ AF_INET6, 143, "listener report v2" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		CHECK_STR(chime_icmp_name(rows[i].family, rows[i].type), rows[i].name);
	CHECK_PTR(chime_icmp_name(AF_INET, 250), NULL);
	CHECK_PTR(chime_icmp_name(AF_INET6, 8), NULL);
	CHECK_PTR(chime_icmp_name(AF_UNIX, 8), NULL);
	CHECK_STR(chime_igmp_name(0x22), "v3 report");
	CHECK_PTR(chime_igmp_name(1), NULL);
	CHECK_STR(chime_igmp_change_name(3), "to include");
	CHECK_PTR(chime_igmp_change_name(0), NULL);
	CHECK_PTR(chime_igmp_change_name(7), NULL);
}

/* ---- IGMP ---- */

/* A v2 report to the byte, as a host sends it. */
TEST(igmp_of_a_real_host)
{
	const unsigned char report[] = { 0x16, 0x00, 0xf9, 0xf6, 0xef, 0x01, 0x01, 0x07 };
	struct chime_igmp h;
	CHECK_EQ(chime_igmp_parse(&h, report, sizeof report), 0);
	CHECK_EQ(h.type, CHIME_IGMP_V2_REPORT);
	CHECK_EQ(h.version, 2);
	CHECK_EQ(h.group.s_addr, v4("239.1.1.7").s_addr);
}

/* Messages of each kind are built and parsed back the same. */
TEST(igmp_built_is_parsed_back)
{
	struct in_addr sources[3] = { v4("10.0.0.1"), v4("10.0.0.2"), v4("10.0.0.3") };
	const struct chime_igmp rows[] = {
		{ .type = CHIME_IGMP_QUERY, .version = 1 },
		{ .type = CHIME_IGMP_QUERY, .version = 2, .max_response_ns = 10 * CHIME_SEC },
		{ .type = CHIME_IGMP_QUERY, .version = 2, .max_response_ns = CHIME_SEC / 10, .group = v4("239.1.2.3") },
		{ .type = CHIME_IGMP_QUERY,
		  .version = 3,
		  .max_response_ns = 10 * CHIME_SEC,
		  .interval_ns = 125 * CHIME_SEC,
		  .robustness = 2 },
		{ .type = CHIME_IGMP_QUERY,
		  .version = 3,
		  .group = v4("232.1.1.1"),
		  .suppress = true,
		  .robustness = 7,
		  .interval_ns = 31744 * CHIME_SEC,
		  .max_response_ns = 31744 * CHIME_SEC / 10,
		  .sources = sources,
		  .source_count = 3 },
		{ .type = CHIME_IGMP_QUERY, .version = 3, .robustness = 4 }, /* no bit of one is the other's */
		{ .type = CHIME_IGMP_QUERY, .version = 3, .suppress = true },
		{ .type = CHIME_IGMP_QUERY, .version = 2, .max_response_ns = 255 * CHIME_SEC / 10 },
		{ .type = CHIME_IGMP_V1_REPORT, .version = 1, .group = v4("224.0.0.251") },
		{ .type = CHIME_IGMP_V2_REPORT, .version = 2, .group = v4("224.0.0.251") },
		{ .type = CHIME_IGMP_LEAVE, .version = 2, .group = v4("224.0.0.251") },
		{ .type = CHIME_IGMP_V3_REPORT, .version = 3 },
		{ .type = 0x13, .version = 0, .group = v4("1.2.3.4") },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const struct chime_igmp *h = &rows[i];
		struct chime_igmp back;
		ssize_t n = chime_igmp_build(h, packet, sizeof packet);
		CHECK(n >= 8);
		for (size_t len = 0; len < (size_t)n; len++)
			CHECK_NE(chime_igmp_parse(&back, edge_bytes(packet, len), len), 0);
		CHECK_EQ(chime_igmp_parse(&back, edge_bytes(packet, (size_t)n), (size_t)n), 0);
		CHECK_EQ(back.type, h->type);
		CHECK_EQ(back.version, h->version);
		CHECK_EQ(back.group.s_addr, h->group.s_addr);
		CHECK_EQ(back.max_response_ns, h->max_response_ns);
		CHECK_EQ(back.interval_ns, h->interval_ns);
		CHECK_EQ(back.suppress, h->suppress);
		CHECK_EQ(back.robustness, h->robustness);
		CHECK_EQ(back.source_count, h->source_count);
		for (unsigned k = 0; k < h->source_count; k++)
			CHECK_EQ(chime_igmp_source(back.sources, k).s_addr, sources[k].s_addr);
		CHECK_EQ(chime_igmp_build(h, packet, (size_t)n - 1), -ENOBUFS);
	}
}

/* Times that version 3 cannot say exactly come back as the next longer one, never a shorter. */
TEST(igmp_times_are_rounded_up)
{
	for (int64_t s = 1; s <= 31744; s += s < 2000 ? 1 : 97) {
		struct chime_igmp back, h = { .type = CHIME_IGMP_QUERY,
					      .version = 3,
					      .interval_ns = s * CHIME_SEC - 1,
					      .max_response_ns = s * CHIME_SEC / 10 };
		CHECK_EQ(chime_igmp_build(&h, packet, sizeof packet), 12);
		CHECK_EQ(chime_igmp_parse(&back, packet, 12), 0);
		CHECK_IN(back.interval_ns, h.interval_ns, h.interval_ns + h.interval_ns / 16 + CHIME_SEC);
		CHECK_IN(back.max_response_ns, h.max_response_ns,
			 h.max_response_ns + h.max_response_ns / 16 + CHIME_SEC);
	}
	const struct chime_igmp bad[] = {
		{ .type = CHIME_IGMP_QUERY, .version = 3, .interval_ns = 31745 * CHIME_SEC },
		{ .type = CHIME_IGMP_QUERY, .version = 3, .interval_ns = -1 },
		{ .type = CHIME_IGMP_QUERY, .version = 3, .robustness = 8 },
		{ .type = CHIME_IGMP_QUERY, .version = 2, .max_response_ns = 255 * CHIME_SEC / 10 + 1 },
		{ .type = CHIME_IGMP_QUERY, .version = 2, .max_response_ns = -1 },
		{ .type = CHIME_IGMP_QUERY, .version = 3, .max_response_ns = -1 },
		{ .type = CHIME_IGMP_QUERY, .version = 4 },
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		CHECK_EQ(chime_igmp_build(&bad[i], packet, sizeof packet), -EINVAL);
	const struct chime_igmp many = {
		.type = CHIME_IGMP_QUERY, .version = 3, .sources = packet, .source_count = 65536
	};
	CHECK_EQ(chime_igmp_build(&many, packet, sizeof packet), -EMSGSIZE);
}

/* A v3 report grows record by record, is whole after each, and is walked again with all its sources. */
TEST(igmp_report_of_many_records)
{
	struct in_addr sources[40];
	unsigned char *copy;
	ssize_t len = 0;
	memset(packet, 0xff, sizeof packet);
	for (unsigned i = 0; i < 40; i++)
		sources[i].s_addr = htonl(0x0a000000 + i);
	for (unsigned i = 0; i < 40; i++) {
		struct in_addr group = { .s_addr = htonl(0xef000000 + i) };
		len = chime_igmp_report_add(packet, sizeof packet, (size_t)len, (uint8_t)(1 + i % 6), group, sources,
					    i);
		CHECK(len > 0);
		struct chime_igmp h;
		CHECK_EQ(chime_igmp_parse(&h, packet, (size_t)len), 0);
		CHECK_EQ(h.record_count, i + 1);
		CHECK_EQ(h.records_len, len - 8);
		CHECK_EQ(h.group.s_addr, 0);
	}
	copy = (unsigned char *)edge_bytes(packet, (size_t)len);
	struct chime_igmp h;
	struct chime_igmp_record r = { .next = 0 };
	CHECK_EQ(chime_igmp_parse(&h, copy, (size_t)len), 0);
	for (unsigned i = 0; i < 40; i++) {
		CHECK(chime_igmp_record_next(&h, &r));
		CHECK_EQ(r.type, 1 + i % 6);
		CHECK_EQ(ntohl(r.group.s_addr), 0xef000000 + i);
		CHECK_EQ(r.source_count, i);
		CHECK_EQ(r.aux_len, 0);
		for (unsigned k = 0; k < i; k++)
			CHECK_EQ(chime_igmp_source(r.sources, k).s_addr, sources[k].s_addr);
	}
	CHECK(!chime_igmp_record_next(&h, &r));
	memset(packet + len, 0, 8); /* what stands behind the records is none of them */
	CHECK_EQ(chime_igmp_parse(&h, packet, (size_t)len + 8), 0);
	CHECK_EQ(h.records_len, len - 8);
	for (size_t n = 0; n < (size_t)len; n++)
		CHECK_EQ(chime_igmp_parse(&h, edge_bytes(packet, n), n), CHIME_ESHORT);
	/* a record more than there is */
	packet[7]++;
	CHECK_EQ(chime_igmp_parse(&h, packet, (size_t)len), CHIME_ESHORT);
	CHECK_EQ(h.record_count, 0);
	CHECK_EQ(chime_igmp_report_add(packet, (size_t)len + 7, (size_t)len, 1, sources[0], NULL, 0), -ENOBUFS);
	CHECK_EQ(chime_igmp_report_add(packet, (size_t)len - 1, (size_t)len, 1, sources[0], NULL, 0), -ENOBUFS);
	CHECK_EQ(chime_igmp_report_add(packet, sizeof packet, 7, 1, sources[0], NULL, 0), -EINVAL);
	const struct chime_igmp query = { .type = CHIME_IGMP_QUERY, .version = 3 };
	unsigned char other[32];
	CHECK_EQ(chime_igmp_build(&query, other, sizeof other), 12);
	CHECK_EQ(chime_igmp_report_add(other, sizeof other, 12, 1, sources[0], NULL, 0), -EINVAL);
	memcpy(other, packet, 8);
	other[6] = other[7] = 0xff;
	CHECK_EQ(chime_igmp_report_add(other, sizeof other, 8, 1, sources[0], NULL, 0), -EMSGSIZE);
	other[7] = 0xfe;
	CHECK_EQ(chime_igmp_report_add(other, sizeof other, 8, 1, sources[0], NULL, 0), 16);
	const struct chime_igmp grouped = { .type = CHIME_IGMP_V3_REPORT, .group = v4("239.1.2.3") };
	CHECK_EQ(chime_igmp_build(&grouped, other, sizeof other), 8);
	CHECK_EQ(chime_igmp_parse(&h, other, 8), 0); /* where others have a group, a report has the count */
	CHECK_EQ(h.record_count, 0);
	CHECK_EQ(chime_igmp_report_add(packet, sizeof packet, 0, 1, sources[0], sources, 65536), -EMSGSIZE);
}

/* Auxiliary data, which nobody sends, is stepped over and shown. */
TEST(igmp_records_with_auxiliary_data)
{
	const unsigned char bytes[] = { 0x22, 0, 0,   0,   0,   0,   0,   2,   4,   2,   0, 1, 239, 0, 0,   1, 10, 0,
					0,    1, 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 3, 0, 0,   0, 239, 0, 0,  2 };
	struct chime_igmp h;
	struct chime_igmp_record r = { .next = 0 };
	CHECK_EQ(chime_igmp_parse(&h, bytes, sizeof bytes), CHIME_ECHECKSUM);
	CHECK_EQ(h.record_count, 2);
	CHECK(chime_igmp_record_next(&h, &r));
	CHECK_EQ(r.aux_len, 8);
	CHECK_MEM(r.aux, "abcdefgh", 8);
	CHECK(chime_igmp_record_next(&h, &r));
	CHECK_EQ(r.group.s_addr, v4("239.0.0.2").s_addr);
	CHECK(!chime_igmp_record_next(&h, &r));
}

/* A query between the lengths of version 2 and 3 is none (RFC 3376 7.1). */
TEST(igmp_query_of_no_version)
{
	unsigned char bytes[12] = { 0x11 };
	struct chime_igmp h;
	for (size_t len = 9; len < 12; len++)
		CHECK_EQ(chime_igmp_parse(&h, bytes, len), CHIME_ELENGTH);
	bytes[11] = 1;
	CHECK_EQ(chime_igmp_parse(&h, bytes, 12), CHIME_ESHORT);
}

/* Only IPv4's raw sockets give the header, and only there is it taken off. */
TEST(raw_payload_is_found)
{
	struct chime_ipv4 h = { .ttl = 9, .protocol = 253, .payload = "hello", .payload_len = 5 }, ip;
	const void *payload;
	size_t len;
	CHECK_EQ(chime_ipv4_build(&h, packet, sizeof packet), 25);
	CHECK_EQ(chime_raw_payload(AF_INET, SOCK_RAW, packet, 25, &ip, &payload, &len), 0);
	CHECK_EQ(len, 5);
	CHECK_MEM(payload, "hello", 5);
	CHECK_EQ(ip.ttl, 9);
	CHECK_EQ(chime_raw_payload(AF_INET6, SOCK_RAW, packet, 25, &ip, &payload, &len), 0);
	CHECK_EQ(len, 25);
	CHECK_EQ(ip.header_len, 0);
	CHECK_EQ(chime_raw_payload(AF_INET, SOCK_DGRAM, packet, 25, NULL, &payload, &len), 0);
	CHECK_EQ(len, 25);
	CHECK_EQ(chime_raw_payload(AF_INET, SOCK_RAW, packet, 10, NULL, &payload, &len), CHIME_ESHORT);
}

/* A payload that is cut short is told, also where the header's checksum, which is not looked at, is another. */
TEST(raw_payload_cut_short)
{
	struct chime_ipv4 h = { .ttl = 9, .protocol = 253, .payload = "hello", .payload_len = 5 }, ip;
	const void *payload;
	size_t len;
	CHECK_EQ(chime_ipv4_build(&h, packet, sizeof packet), 25);
	for (int wrong = 0; wrong < 2; wrong++) {
		packet[10] = (unsigned char)(packet[10] ^ wrong);
		CHECK_EQ(chime_raw_payload(AF_INET, SOCK_RAW, packet, 23, &ip, &payload, &len), CHIME_ESHORT);
		CHECK_EQ(ip.header_len, 20);
		CHECK_EQ(len, 3);
		CHECK_MEM(payload, "hel", 3);
		CHECK_EQ(chime_raw_payload(AF_INET, SOCK_RAW, packet, 25, &ip, &payload, &len), 0);
		CHECK_EQ(len, 5);
	}
}

TEST_MAIN()
