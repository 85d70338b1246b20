/* The IPv4 header (RFC 791): read from bytes, its options walked, and built. */
#include <chime/error.h>
#include <chime/raw.h>

#include "net/bytes.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define DONT_FRAGMENT 0x4000
#define MORE_FRAGMENTS 0x2000
#define OFFSET 0x1fff /* in units of 8 bytes */

int chime_ipv4_parse(struct chime_ipv4 *out, const void *bytes, size_t len)
{
	const unsigned char *p = bytes;
	*out = (struct chime_ipv4){ .header_len = 0 };
	if (len < 1)
		return CHIME_ESHORT;
	if (p[0] >> 4 != 4)
		return CHIME_EVERSION;
	size_t header_len = (size_t)(p[0] & 15) * 4;
	if (header_len < CHIME_IPV4_HEADER)
		return CHIME_ELENGTH;
	if (len < header_len)
		return CHIME_ESHORT;
	out->tos = p[1];
	out->total_len = get16(p + 2);
	out->id = get16(p + 4);
	out->dont_fragment = get16(p + 6) & DONT_FRAGMENT;
	out->more_fragments = get16(p + 6) & MORE_FRAGMENTS;
	out->fragment = (uint16_t)((get16(p + 6) & OFFSET) * 8);
	out->ttl = p[8];
	out->protocol = p[9];
	out->checksum = get16(p + 10);
	memcpy(&out->from, p + 12, 4);
	memcpy(&out->to, p + 16, 4);
	out->options_len = header_len - CHIME_IPV4_HEADER;
	out->options = out->options_len ? p + CHIME_IPV4_HEADER : NULL;
	if (out->total_len < header_len)
		return CHIME_ELENGTH;
	size_t whole = out->total_len - header_len, there = len - header_len;
	out->payload = p + header_len;
	out->payload_len = whole < there ? whole : there;
	out->header_len = header_len;
	bool right = chime_checksum(p, header_len) == 0;
	if (whole > there)
		return right ? CHIME_ESHORT : CHIME_ECHECKSUM;
	return right ? 0 : CHIME_ECHECKSUM;
}

ssize_t chime_ipv4_build(const struct chime_ipv4 *h, void *buf, size_t size)
{
	unsigned char *p = buf;
	size_t padded = (h->options_len + 3) / 4 * 4, header_len = CHIME_IPV4_HEADER + padded;
	if (h->options_len > CHIME_IPV4_OPTIONS || h->fragment % 8)
		return -EINVAL;
	if (h->payload_len > 65535 - header_len)
		return -EMSGSIZE;
	size_t total_len = header_len + h->payload_len;
	if (size < total_len)
		return -ENOBUFS;
	unsigned char options[CHIME_IPV4_OPTIONS] = { 0 };
	if (h->options_len)
		memcpy(options, h->options, h->options_len);
	if (h->payload_len)
		memmove(p + header_len, h->payload, h->payload_len);
	memcpy(p + CHIME_IPV4_HEADER, options, padded);
	p[0] = (unsigned char)(4 << 4 | header_len / 4);
	p[1] = h->tos;
	put16(p + 2, (unsigned)total_len);
	put16(p + 4, h->id);
	put16(p + 6,
	      (h->dont_fragment ? DONT_FRAGMENT : 0u) | (h->more_fragments ? MORE_FRAGMENTS : 0u) | h->fragment / 8u);
	p[8] = h->ttl;
	p[9] = h->protocol;
	put16(p + 10, 0);
	memcpy(p + 12, &h->from, 4);
	memcpy(p + 16, &h->to, 4);
	put16(p + 10, chime_checksum(p, header_len));
	return (ssize_t)total_len;
}

/* ---- options: one byte, or type, length of all of it, data ---- */

static bool one_byte(uint8_t type)
{
	return type <= 1; /* the end of the list, and the no-op */
}

int chime_ipv4_option_next(const struct chime_ipv4 *h, struct chime_ipv4_option *o)
{
	const unsigned char *p = h->options;
	size_t at = o->next, left = at < h->options_len ? h->options_len - at : 0;
	if (left == 0 || p[at] == 0) {
		o->next = h->options_len;
		return 0;
	}
	o->type = p[at];
	o->data = NULL;
	o->len = 0;
	if (one_byte(o->type)) {
		o->next = at + 1;
		return 1;
	}
	if (left < 2 || p[at + 1] < 2 || p[at + 1] > left)
		return CHIME_ELENGTH;
	o->data = p + at + 2;
	o->len = p[at + 1] - 2u;
	o->next = at + p[at + 1];
	return 1;
}

ssize_t chime_ipv4_option_add(void *buf, size_t size, size_t used, uint8_t type, const void *data, size_t len)
{
	unsigned char *p = buf;
	size_t most = size < CHIME_IPV4_OPTIONS ? size : CHIME_IPV4_OPTIONS;
	size_t takes = one_byte(type) ? 1 : len > CHIME_IPV4_OPTIONS ? len : len + 2;
	if (used > most || takes > most - used)
		return -ENOBUFS;
	p[used] = type;
	if (!one_byte(type)) {
		p[used + 1] = (unsigned char)takes;
		if (len)
			memmove(p + used + 2, data, len);
	}
	return (ssize_t)(used + takes);
}

int chime_raw_payload(int family, int type, const void *bytes, size_t len, struct chime_ipv4 *ip, const void **payload,
		      size_t *payload_len)
{
	struct chime_ipv4 own = { .header_len = 0 }, *h = ip ? ip : &own;
	*h = own;
	*payload = bytes;
	*payload_len = len;
	if (family != AF_INET || type != SOCK_RAW)
		return 0;
	int err = chime_ipv4_parse(h, bytes, len);
	*payload = h->payload;
	*payload_len = h->payload_len;
	/* The kernel looked at the checksum before it wrote its address into options (record route, timestamp). */
	if (err == CHIME_ECHECKSUM)
		err = h->header_len + h->payload_len < h->total_len ? CHIME_ESHORT : 0;
	return err;
}
