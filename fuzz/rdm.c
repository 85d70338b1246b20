/*
 * Property: whatever packets come from the network, the user-space carrier of chime_rdm bears them, lets in no more peers than it may,
 * hands over only messages of a size that there is, and has forgotten everybody when they are ended.
 *
 * The input is a row of packets: a byte for the source, a byte of flags, two for the length, and the bytes. Flags help them in:
 * PORTS and TAG put the header right, COOKIE sends the cookie that the source was given, SIGN makes the checksum good, LATER lets time pass.
 */
#include "fuzz/fuzz.h"
#include "src/net/rdm_user.h"

#include <chime/clock.h>

#define SOURCES 8
#define PEERS 4
#define COOKIE_ROOM 1024

enum flags {
	PORTS = 1,
	TAG = 2,
	COOKIE = 4,
	SIGN = 8,
	LATER = 16,
};

static struct source {
	unsigned char tag[4], cookie[COOKIE_ROOM];
	size_t cookie_len;
} sources[SOURCES];

static chime_rdm *server;
static chime_endpoint at;
static int64_t now_ns;

/* Keeps what an INIT ACK hands out: the tag, and the cookie. */
static void on_packet(void *arg, chime_rdm *r, const chime_addr *wire, const void *packet, size_t len)
{
	const unsigned char *p = packet;
	unsigned n = (unsigned)(chime_addr_port(wire) - 1000) % SOURCES;
	(void)arg;
	(void)r;
	if (len < 32 || p[12] != 2)
		return;
	memcpy(sources[n].tag, p + 16, 4);
	for (size_t i = 32; i + 4 <= len;) {
		size_t size = (size_t)(p[i + 2] << 8 | p[i + 3]);
		if (size < 4 || i + size > len)
			return;
		if (p[i] == 0 && p[i + 1] == 7 && size - 4 <= COOKIE_ROOM) {
			memcpy(sources[n].cookie, p + i + 4, size - 4);
			sources[n].cookie_len = size - 4;
		}
		i += (size + 3) & ~(size_t)3;
	}
}

static void take_all(void)
{
	struct chime_rdm_event ev;
	while (chime_rdm_receive(server, &ev) == 0) {
		if (ev.kind != CHIME_RDM_MESSAGE)
			continue;
		MUST(ev.len > 0 && ev.len <= CHIME_RDM_MAX);
		struct chime_rdm_peer peer = ev.peer;
		int err = chime_rdm_send(server, ev.data, ev.len, &peer, NULL);
		MUST(err <= 0);
	}
}

static void send_one(unsigned n, unsigned flags, const uint8_t *bytes, size_t len)
{
	static unsigned char packet[65536];
	chime_addr from;
	memset(packet, 0, 16);
	memcpy(packet, bytes, len);
	if (flags & PORTS) {
		packet[0] = 0x12;
		packet[1] = (unsigned char)n;
		packet[2] = (unsigned char)(at.port >> 8);
		packet[3] = (unsigned char)at.port;
	}
	if (flags & TAG)
		memcpy(packet + 4, sources[n].tag, 4);
	if (flags & COOKIE) { /* in front of the chunks */
		size_t size = sources[n].cookie_len + 4, padded = (size + 3) & ~(size_t)3;
		size_t rest = len > 12 ? len - 12 : 0;
		memmove(packet + 12 + padded, packet + 12, rest);
		memset(packet + 12, 0, padded);
		packet[12] = 10;
		packet[14] = (unsigned char)(size >> 8);
		packet[15] = (unsigned char)size;
		memcpy(packet + 16, sources[n].cookie, sources[n].cookie_len);
		len = 12 + padded + rest;
	}
	if (flags & SIGN && len >= 12) {
		memset(packet + 8, 0, 4);
		chime__rdm_user_sign(packet, len);
	}
	if (flags & LATER)
		now_ns += 50 * CHIME_MSEC;
	MUST(chime_addr_ip(&from, AF_INET, "192.0.2.1", 1000 + (int)n) == 0);
	chime__rdm_user_packet(server, &from, packet, len, now_ns);
}

static bool open_server(void)
{
	struct chime_rdm_config config = CHIME_RDM_CONFIG_INIT;
	if (chime_rdm_available(CHIME_RDM_USER) < 0)
		return false;
	config.timeout_ns = 0;
	config.peers_max = PEERS;
	config.answers_only = true;
	MUST(chime_endpoint_parse(&at, "rdm://127.0.0.1:0?udp=0&carrier=user", NULL, NULL, NULL) == 0);
	MUST(chime_rdm_serve(&server, &at, &config) == 0);
	chime__rdm_user_tap(on_packet, NULL);
	now_ns = chime_now_mono();
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct chime_rdm_stats stats;
	if (!server && !open_server())
		return 0;
	now_ns += CHIME_SEC; /* the sources' rate is not what is asked here */
	memset(sources, 0, sizeof sources);
	while (len >= 4) {
		size_t size = (size_t)(bytes[2] << 8 | bytes[3]);
		if (size > len - 4)
			size = len - 4;
		send_one(bytes[0] % SOURCES, bytes[1], bytes + 4, size);
		take_all();
		chime_rdm_stats(server, &stats);
		MUST(stats.associations <= PEERS);
		bytes += 4 + size;
		len -= 4 + size;
	}
	(void)chime_rdm_end(server, NULL, true);
	take_all();
	chime_rdm_stats(server, &stats);
	MUST(stats.associations == 0);
	return 0;
}
