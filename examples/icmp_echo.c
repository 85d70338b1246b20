/*
 * Asks a host for echoes by ICMP and tells when each answer came, by the kernel's clock: ping(8) in small.
 * usage: icmp_echo HOST [COUNT [INTERVAL]]      (COUNT 4, INTERVAL 1s; exit 1 if one was not answered within a second)
 */
#include <chime/connect.h>
#include <chime/errqueue.h>
#include <chime/raw.h>

#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PAYLOAD 56 /* bytes: as ping has it */

static chime_sock *s;
static bool six, raw;

/* Sends the request number seq; the time in its payload is for nobody but whoever looks at the wire. */
static int ask(uint16_t id, uint16_t seq, int64_t now)
{
	unsigned char payload[PAYLOAD] = { 0 }, packet[CHIME_ICMP_HEADER + PAYLOAD];
	struct chime_icmp h = { .type = (uint8_t)(six ? ICMP6_ECHO_REQUEST : ICMP_ECHO), .id = id, .seq = seq };
	memcpy(payload, &now, sizeof now);
	h.payload = payload;
	h.payload_len = sizeof payload;
	ssize_t n = six ? chime_icmp6_build(&h, packet, sizeof packet, NULL, NULL)
			: chime_icmp_build(&h, packet, sizeof packet);
	return n < 0 ? (int)n : (int)chime_send(s, packet, (size_t)n, 0);
}

/* Waits for the answer to request seq: its length, and when the kernel had it; CHIME_ETIMEOUT. */
static ssize_t answer(uint16_t id, uint16_t seq, int64_t *at, chime_addr *from, int *ttl)
{
	unsigned char packet[2048];
	for (;;) {
		struct chime_stamps stamps;
		struct chime_ipv4 ip;
		struct chime_icmp h;
		const void *message;
		size_t len;
		ssize_t n = chime_recv_stamped(s, packet, sizeof packet, 0, &stamps, from);
		if (n < 0)
			return n;
		*at = stamps.software_ns ? stamps.software_ns : chime_now_real();
		if (chime_raw_payload(chime_family(s), chime_type(s), packet, (size_t)n, &ip, &message, &len) < 0)
			continue;
		*ttl = ip.header_len ? ip.ttl : -1;
		if ((six ? chime_icmp6_parse(&h, message, len, NULL, NULL) : chime_icmp_parse(&h, message, len)) < 0)
			continue;
		/* A datagram socket gets its own alone; a raw one all that come to this machine. */
		if (h.type == (six ? ICMP6_ECHO_REPLY : ICMP_ECHOREPLY) && h.seq == seq && (!raw || h.id == id))
			return (ssize_t)len;
	}
}

int main(int argc, char **argv)
{
	char text[300], why[512], who[CHIME_ADDR_TEXT];
	struct chime_connect_config config = CHIME_CONNECT_CONFIG_INIT;
	int64_t interval = CHIME_SEC;
	chime_endpoint to;
	int count = 4, lost = 0, ttl;
	char more;
	config.why = why;
	config.why_size = sizeof why;
	snprintf(text, sizeof text, argc > 1 && strchr(argv[1], ':') ? "icmp://[%s]" : "icmp://%s",
		 argc > 1 ? argv[1] : "");
	if (argc < 2 || chime_endpoint_parse(&to, text, NULL, NULL, NULL) < 0 ||
	    (argc > 2 && (sscanf(argv[2], "%6d%c", &count, &more) != 1 || count < 1)) ||
	    (argc > 3 && chime_duration_parse(argv[3], &interval) < 0)) {
		fprintf(stderr, "usage: icmp_echo HOST [COUNT [INTERVAL]]\n");
		return 2;
	}
	int err = chime_connect_endpoint(&s, &to, &config);
	if (err < 0) {
		fprintf(stderr, "%s\n", why);
		return 3;
	}
	six = chime_family(s) == AF_INET6;
	raw = chime_type(s) == SOCK_RAW;
	chime_timestamping(s, CHIME_STAMP_RX);
	chime_set_timeout(s, CHIME_SEC);
	for (int i = 1; i <= count; i++) {
		int64_t sent = chime_now_real(), at;
		uint16_t id = (uint16_t)getpid(), seq = (uint16_t)i;
		chime_addr from;
		ssize_t n = ask(id, seq, sent);
		if (n >= 0)
			n = answer(id, seq, &at, &from, &ttl);
		if (n < 0) {
			printf("seq=%d: %s\n", i, chime_strerror((int)n));
			lost++;
			continue;
		}
		chime_addr_set_port(&from, 0);
		chime_addr_print(&from, who, sizeof who);
		who[strlen(who) - 2] = 0; /* without the port */
		printf("%zd bytes from %s: seq=%d", n, who, i);
		if (ttl >= 0)
			printf(" ttl=%d", ttl);
		printf(" time=%.3f ms\n", (double)(at - sent) / 1e6);
		fflush(stdout);
		if (i < count)
			usleep((useconds_t)(interval / CHIME_USEC));
	}
	chime_free(&s);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fprintf(stderr, "icmp_echo: standard output cannot be written\n");
		return 3;
	}
	return lost > 0;
}
