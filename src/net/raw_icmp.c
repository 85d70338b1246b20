/* ICMP (RFC 792) and ICMPv6 (RFC 4443): eight bytes of header, read and built, the checksum over all. */
#include <chime/error.h>
#include <chime/raw.h>

#include "net/bytes.h"

#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <string.h>
#include <sys/socket.h>

/* Longer than any IP packet can carry. */
#define TOO_LONG 65536

static uint32_t pseudo(const struct in6_addr *from, const struct in6_addr *to, size_t len)
{
	return from && to ? chime_checksum_ipv6(from, to, IPPROTO_ICMPV6, (uint32_t)len) : 0;
}

static int parse(struct chime_icmp *out, const void *bytes, size_t len, bool check, uint32_t sum)
{
	const unsigned char *p = bytes;
	*out = (struct chime_icmp){ .type = 0 };
	if (len < CHIME_ICMP_HEADER)
		return CHIME_ESHORT;
	*out = (struct chime_icmp){ .type = p[0],
				    .code = p[1],
				    .checksum = get16(p + 2),
				    .id = get16(p + 4),
				    .seq = get16(p + 6),
				    .payload = p + CHIME_ICMP_HEADER,
				    .payload_len = len - CHIME_ICMP_HEADER };
	if (check && chime_checksum_end(chime_checksum_add(sum, p, len)) != 0)
		return CHIME_ECHECKSUM;
	return 0;
}

int chime_icmp_parse(struct chime_icmp *out, const void *bytes, size_t len)
{
	return parse(out, bytes, len, true, 0);
}

int chime_icmp6_parse(struct chime_icmp *out, const void *bytes, size_t len, const struct in6_addr *from,
		      const struct in6_addr *to)
{
	return parse(out, bytes, len, from && to, pseudo(from, to, len));
}

static ssize_t build(const struct chime_icmp *h, void *buf, size_t size)
{
	unsigned char *p = buf;
	if (h->payload_len > TOO_LONG - 1 - CHIME_ICMP_HEADER)
		return -EMSGSIZE;
	size_t len = CHIME_ICMP_HEADER + h->payload_len;
	if (size < len)
		return -ENOBUFS;
	if (h->payload_len)
		memmove(p + CHIME_ICMP_HEADER, h->payload, h->payload_len);
	p[0] = h->type;
	p[1] = h->code;
	put16(p + 2, 0);
	put16(p + 4, h->id);
	put16(p + 6, h->seq);
	return (ssize_t)len;
}

ssize_t chime_icmp_build(const struct chime_icmp *h, void *buf, size_t size)
{
	ssize_t len = build(h, buf, size);
	if (len > 0)
		put16((unsigned char *)buf + 2, chime_checksum(buf, (size_t)len));
	return len;
}

ssize_t chime_icmp6_build(const struct chime_icmp *h, void *buf, size_t size, const struct in6_addr *from,
			  const struct in6_addr *to)
{
	ssize_t len = build(h, buf, size);
	if (len > 0 && from && to) {
		uint32_t sum = chime_checksum_add(pseudo(from, to, (size_t)len), buf, (size_t)len);
		put16((unsigned char *)buf + 2, chime_checksum_end(sum));
	}
	return len;
}

/* ---- names ---- */

struct name {
	uint8_t type;
	const char *text;
};

static const struct name names4[] = {
	{ ICMP_ECHOREPLY, "echo reply" },
	{ ICMP_DEST_UNREACH, "destination unreachable" },
	{ ICMP_SOURCE_QUENCH, "source quench" },
	{ ICMP_REDIRECT, "redirect" },
	{ ICMP_ECHO, "echo request" },
	{ ICMP_ROUTERADVERT, "router advertisement" },
	{ ICMP_ROUTERSOLICIT, "router solicitation" },
	{ ICMP_TIME_EXCEEDED, "time exceeded" },
	{ ICMP_PARAMETERPROB, "parameter problem" },
	{ ICMP_TIMESTAMP, "timestamp request" },
	{ ICMP_TIMESTAMPREPLY, "timestamp reply" },
	{ 0, NULL },
};

static const struct name names6[] = {
	{ ICMP6_DST_UNREACH, "destination unreachable" },
	{ ICMP6_PACKET_TOO_BIG, "packet too big" },
	{ ICMP6_TIME_EXCEEDED, "time exceeded" },
	{ ICMP6_PARAM_PROB, "parameter problem" },
	{ ICMP6_ECHO_REQUEST, "echo request" },
	{ ICMP6_ECHO_REPLY, "echo reply" },
	{ MLD_LISTENER_QUERY, "listener query" },
	{ MLD_LISTENER_REPORT, "listener report" },
	{ MLD_LISTENER_REDUCTION, "listener done" },
	{ ND_ROUTER_SOLICIT, "router solicitation" },
	{ ND_ROUTER_ADVERT, "router advertisement" },
	{ ND_NEIGHBOR_SOLICIT, "neighbour solicitation" },
	{ ND_NEIGHBOR_ADVERT, "neighbour advertisement" },
	{ ND_REDIRECT, "redirect" },
	{ 143, "listener report v2" }, /* RFC 3810; no header has it */
	{ 0, NULL },
};

const char *chime_icmp_name(int family, uint8_t type)
{
	if (family != AF_INET && family != AF_INET6)
		return NULL;
	for (const struct name *n = family == AF_INET ? names4 : names6; n->text; n++)
		if (n->type == type)
			return n->text;
	return NULL;
}
