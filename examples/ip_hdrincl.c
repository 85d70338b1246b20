/*
 * Sends a packet whose IP header is made here, field by field (IP_HDRINCL, raw(7)).
 * usage: ip_hdrincl [-s FROM] [-t TTL] [-T TOS] [-i ID] [-d] [-r] [-p PROTOCOL] TO TEXT
 *   -d  may not be fragmented       -r  with a record route option for nine hops
 *   -p  what it carries (default 253): 1 makes TEXT the payload of an ICMP echo request
 * FROM 0.0.0.0 and ID 0 are filled in by the kernel, total length and checksum always.
 */
#include <chime/raw.h>
#include <chime/sock.h>

#include <arpa/inet.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int usage(void)
{
	fprintf(stderr, "usage: ip_hdrincl [-s FROM] [-t TTL] [-T TOS] [-i ID] [-d] [-r] [-p PROTOCOL] TO TEXT\n");
	return 2;
}

/* A field of the header: whether text is a number up to most. */
static bool number(const char *text, int most, int *out)
{
	char more;
	return sscanf(text, "%5d%c", out, &more) == 1 && *out >= 0 && *out <= most;
}

/* Header, options, and what it carries, into packet. */
static ssize_t build(struct chime_ipv4 *h, const char *words, bool route, void *packet, size_t size)
{
	static unsigned char options[CHIME_IPV4_OPTIONS], message[65536];
	const unsigned char hops[1 + 9 * 4] = { 4 }; /* the first place is the fourth byte */
	struct chime_icmp echo = { .type = ICMP_ECHO, .id = (uint16_t)getpid(), .seq = 1 };
	h->payload = words;
	h->payload_len = strlen(words);
	if (h->protocol == IPPROTO_ICMP) {
		echo.payload = words;
		echo.payload_len = strlen(words);
		ssize_t n = chime_icmp_build(&echo, message, sizeof message);
		if (n < 0)
			return n;
		h->payload = message;
		h->payload_len = (size_t)n;
	}
	if (route) {
		ssize_t n = chime_ipv4_option_add(options, sizeof options, 0, IPOPT_RR, hops, sizeof hops);
		h->options = options;
		h->options_len = n > 0 ? (size_t)n : 0;
	}
	return chime_ipv4_build(h, packet, size);
}

int main(int argc, char **argv)
{
	static unsigned char packet[65536];
	struct chime_ipv4 h = { .ttl = 0 };
	int ttl = 64, tos = 0, id = 0, protocol = 253;
	bool route = false;
	chime_addr to;
	chime_sock *s = NULL;
	for (int c; (c = getopt(argc, argv, "s:t:T:i:drp:")) != -1;) {
		switch (c) {
		case 's':
			if (inet_pton(AF_INET, optarg, &h.from) != 1)
				return usage();
			break;
		case 't':
			if (!number(optarg, 255, &ttl))
				return usage();
			break;
		case 'T':
			if (!number(optarg, 255, &tos))
				return usage();
			break;
		case 'i':
			if (!number(optarg, 65535, &id))
				return usage();
			break;
		case 'd':
			h.dont_fragment = true;
			break;
		case 'r':
			route = true;
			break;
		case 'p':
			if (!number(optarg, 255, &protocol))
				return usage();
			break;
		default:
			return usage();
		}
	}
	if (argc - optind != 2 || chime_addr_ip(&to, AF_INET, argv[optind], 0) < 0)
		return usage();
	h.to = to.u.in.sin_addr;
	h.ttl = (uint8_t)ttl;
	h.tos = (uint8_t)tos;
	h.id = (uint16_t)id;
	h.protocol = (uint8_t)protocol;
	ssize_t n = build(&h, argv[optind + 1], route, packet, sizeof packet);
	int err = n < 0 ? (int)n : chime_open(&s, AF_INET, SOCK_RAW, IPPROTO_RAW);
	if (err == 0 && (n = chime_sendto(s, packet, (size_t)n, 0, &to)) < 0)
		err = (int)n;
	chime_free(&s);
	if (err < 0) {
		fprintf(stderr, "%s: %s\n", argv[optind], chime_strerror(err));
		return 3;
	}
	printf("sent %zd bytes\n", n);
	return 0;
}
