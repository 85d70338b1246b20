/* scapy and we read each other's packets the same: each side builds, the other describes, and the descriptions are one. */
#include <chime/clock.h>
#include <chime/raw.h>
#include <runner/test.h>

#include <arpa/inet.h>
#include <netinet/icmp6.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define PEER CHIME_SOURCE_DIR "/tests/net/scapy_peer.py"
#define LINE 65536

static char line[LINE], described[LINE];

/* A python3 that has scapy, or the test is skipped. */
static const char *python(void)
{
	static const char *const names[] = { "python3", "/usr/bin/python3" };
	char command[1024];
	for (size_t i = 0; i < 2; i++) {
		snprintf(command, sizeof command, "%s -c 'import scapy.all' >/dev/null 2>&1", names[i]);
		if (system(command) == 0)
			return names[i];
	}
	SKIP("no python3 here has scapy (Debian: python3-scapy)");
}

/* ---- what we see in a packet, in the peer's words ---- */

static size_t at;

__attribute__((format(printf, 1, 2))) static void say(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	at += (size_t)vsnprintf(described + at, sizeof described - at, fmt, ap);
	va_end(ap);
	CHECK(at < sizeof described);
}

static void say_hex(const void *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		say("%02x", ((const unsigned char *)bytes)[i]);
}

static const char *text4(struct in_addr a)
{
	static char text[2][INET_ADDRSTRLEN];
	static int turn;
	turn = !turn;
	return inet_ntop(AF_INET, &a, text[turn], sizeof text[0]);
}

static void say_sources(const void *sources, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		say("%s%s", i ? "," : "", text4(chime_igmp_source(sources, i)));
}

static void describe_ip(const unsigned char *p, size_t len)
{
	struct chime_ipv4 h;
	int err = chime_ipv4_parse(&h, p, len);
	say("ip tos=%d id=%d df=%d mf=%d frag=%d ttl=%d ", h.tos, h.id, h.dont_fragment, h.more_fragments, h.fragment,
	    h.ttl);
	say("proto=%d from=%s to=%s options=", h.protocol, text4(h.from), text4(h.to));
	say_hex(h.options, h.options_len);
	say(" payload=");
	say_hex(h.payload, h.payload_len);
	say(" sum=%d", err == 0);
}

static void describe_icmp(const unsigned char *p, size_t len)
{
	struct chime_icmp h;
	int err = chime_icmp_parse(&h, p, len);
	say("icmp type=%d code=%d id=%d seq=%d payload=", h.type, h.code, h.id, h.seq);
	say_hex(h.payload, h.payload_len);
	say(" sum=%d", err == 0);
}

static void describe_icmp6(const unsigned char *p, size_t len)
{
	struct in6_addr from, to;
	struct chime_icmp h;
	char text[2][INET6_ADDRSTRLEN];
	memcpy(&from, p + 8, 16);
	memcpy(&to, p + 24, 16);
	int err = chime_icmp6_parse(&h, p + 40, len - 40, &from, &to);
	say("icmp6 from=%s to=%s ", inet_ntop(AF_INET6, &from, text[0], sizeof text[0]),
	    inet_ntop(AF_INET6, &to, text[1], sizeof text[1]));
	say("type=%d code=%d id=%d seq=%d payload=", h.type, h.code, h.id, h.seq);
	say_hex(h.payload, h.payload_len);
	say(" sum=%d", err == 0);
}

static void describe_igmp(const unsigned char *p, size_t len)
{
	struct chime_igmp_record r = { .next = 0 };
	struct chime_igmp h;
	int err = chime_igmp_parse(&h, p, len);
	if (h.type == CHIME_IGMP_V3_REPORT) {
		say("igmp type=34 records=%u", h.record_count);
		while (chime_igmp_record_next(&h, &r)) {
			say(" %d/%s/", r.type, text4(r.group));
			say_sources(r.sources, r.source_count);
		}
	} else if (h.version == 3) {
		/* The codes as they stand: what they mean in time is told apart in tests/net/raw.c. */
		say("igmp type=17 v3 group=%s code=%d s=%d qrv=%d qqic=%d sources=", text4(h.group), p[1], h.suppress,
		    h.robustness, p[9]);
		say_sources(h.sources, h.source_count);
	} else {
		int64_t tenths = h.max_response_ns / (CHIME_SEC / 10);
		say("igmp type=%d code=%d group=%s", h.type, (int)tenths, text4(h.group));
	}
	say(" sum=%d", err == 0);
}

static const char *describe(const char *kind, const unsigned char *p, size_t len)
{
	at = 0;
	if (!strcmp(kind, "ip"))
		describe_ip(p, len);
	else if (!strcmp(kind, "icmp"))
		describe_icmp(p, len);
	else if (!strcmp(kind, "icmp6"))
		describe_icmp6(p, len);
	else
		describe_igmp(p, len);
	return described;
}

/* Each line of the peer's says the same of its packet as we do. How many there were. */
static unsigned compare(FILE *from_peer)
{
	static unsigned char packet[LINE / 2];
	unsigned n = 0;
	while (fgets(line, sizeof line, from_peer)) {
		line[strcspn(line, "\n")] = 0;
		char *hex = strchr(line, '\t'), *words = hex ? strchr(hex + 1, '\t') : NULL;
		size_t len = 0;
		if (!words) {
			fprintf(stderr, "the peer said: %s\n", line);
			CHECK(words != NULL);
			return 0;
		}
		*hex++ = 0;
		*words++ = 0;
		for (; hex[2 * len]; len++) {
			unsigned byte;
			CHECK_EQ(sscanf(hex + 2 * len, "%2x", &byte), 1);
			packet[len] = (unsigned char)byte;
		}
		/* against the end of memory of that size */
		unsigned char *copy = malloc(len + !len);
		CHECK(copy != NULL);
		memcpy(copy, packet, len);
		CHECK_STR(describe(line, copy, len), words);
		free(copy);
		n++;
	}
	return n;
}

/* What scapy builds is read as scapy reads it, checksums included. */
TEST_LIMIT(raw_reads_what_scapy_builds, 60)
{
	char command[1024];
	snprintf(command, sizeof command, "%s " PEER " make %llu 400", python(), (unsigned long long)test_seed());
	FILE *peer = popen(command, "re");
	CHECK(peer != NULL);
	CHECK_EQ(compare(peer), 400);
	CHECK_EQ(pclose(peer), 0);
}

/* ---- what we build ---- */

static unsigned char built[4096];

static ssize_t build_ip(void)
{
	static unsigned char options[40], payload[500];
	ssize_t n = 0;
	uint64_t r = test_random();
	for (size_t i = 0; i < sizeof payload; i++)
		payload[i] = (unsigned char)test_random();
	if (r & 1)
		n = chime_ipv4_option_add(options, sizeof options, 0, 7, "\x04\0\0\0\0", 5);
	if (r & 2)
		n = chime_ipv4_option_add(options, sizeof options, (size_t)n, 148, "\0\0", 2);
	struct chime_ipv4 h = { .tos = (uint8_t)(r >> 8),
				.ttl = (uint8_t)(r >> 16),
				.protocol = 253,
				.id = (uint16_t)(r >> 24),
				.dont_fragment = r & 4,
				.more_fragments = r & 8,
				.fragment = (uint16_t)(r & 16 ? (r >> 40 & 0x1fff) * 8 : 0),
				.from.s_addr = (uint32_t)test_random(),
				.to.s_addr = (uint32_t)test_random(),
				.options = options,
				.options_len = (size_t)n,
				.payload = payload,
				.payload_len = test_random() % sizeof payload };
	return chime_ipv4_build(&h, built, sizeof built);
}

static ssize_t build_icmp(bool six)
{
	unsigned char payload[200];
	for (size_t i = 0; i < sizeof payload; i++)
		payload[i] = (unsigned char)test_random();
	struct chime_icmp h = { .type = (uint8_t)(six ? ICMP6_ECHO_REQUEST : 8),
				.id = (uint16_t)test_random(),
				.seq = (uint16_t)test_random(),
				.payload = payload,
				.payload_len = test_random() % sizeof payload };
	if (!six)
		return chime_icmp_build(&h, built, sizeof built);
	struct in6_addr from, to;
	inet_pton(AF_INET6, "2001:db8::1", &from);
	inet_pton(AF_INET6, "2001:db8::ffff:2", &to);
	memset(built, 0, 40);
	built[0] = 0x60;
	built[6] = IPPROTO_ICMPV6;
	built[7] = 64;
	memcpy(built + 8, &from, 16);
	memcpy(built + 24, &to, 16);
	ssize_t n = chime_icmp6_build(&h, built + 40, sizeof built - 40, &from, &to);
	built[4] = (unsigned char)(n >> 8);
	built[5] = (unsigned char)n;
	return n + 40;
}

static ssize_t build_igmp(void)
{
	struct in_addr sources[6];
	ssize_t n = 0;
	for (unsigned i = 0; i < 6; i++)
		sources[i].s_addr = (uint32_t)test_random();
	if (test_random() & 1) {
		for (unsigned i = 0, records = 1 + test_random() % 5; i < records; i++)
			n = chime_igmp_report_add(built, sizeof built, (size_t)n, (uint8_t)(1 + test_random() % 6),
						  sources[0], sources, (unsigned)(test_random() % 6));
		return n;
	}
	static const struct chime_igmp kinds[] = {
		{ .type = CHIME_IGMP_QUERY, .version = 3, .robustness = 2, .interval_ns = 125 * CHIME_SEC },
		{ .type = CHIME_IGMP_QUERY, .version = 2, .max_response_ns = CHIME_SEC },
		{ .type = CHIME_IGMP_QUERY, .version = 1 },
		{ .type = CHIME_IGMP_V1_REPORT },
		{ .type = CHIME_IGMP_V2_REPORT },
		{ .type = CHIME_IGMP_LEAVE },
	};
	struct chime_igmp h = kinds[test_random() % 6];
	h.group = sources[0];
	h.sources = sources;
	h.source_count = h.version == 3 ? test_random() % 6 : 0;
	return chime_igmp_build(&h, built, sizeof built);
}

/* What we build scapy reads as we do, and it comes to the same checksums. */
TEST_LIMIT(raw_builds_what_scapy_reads, 60)
{
	static const char *const kinds[] = { "ip", "icmp", "icmp6", "igmp" };
	char path[512], command[2048];
	snprintf(path, sizeof path, "%s/packets", test_dir());
	FILE *packets = fopen(path, "we");
	CHECK(packets != NULL);
	for (int i = 0; i < 400; i++) {
		ssize_t n = i % 4 == 0 ? build_ip() : i % 4 == 3 ? build_igmp() : build_icmp(i % 4 == 2);
		CHECK(n > 0);
		fprintf(packets, "%s ", kinds[i % 4]);
		for (ssize_t k = 0; k < n; k++)
			fprintf(packets, "%02x", built[k]);
		fputc('\n', packets);
	}
	CHECK_EQ(fclose(packets), 0);
	snprintf(command, sizeof command, "%s " PEER " read <%s", python(), path);
	FILE *peer = popen(command, "re");
	CHECK(peer != NULL);
	CHECK_EQ(compare(peer), 400);
	CHECK_EQ(pclose(peer), 0);
}

TEST_MAIN()
