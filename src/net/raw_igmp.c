/* IGMP of all versions (RFC 1112, 2236, 3376): read, with the group records of v3 walked, and built. */
#include <chime/clock.h>
#include <chime/error.h>
#include <chime/raw.h>

#include "net/bytes.h"

#include <errno.h>
#include <string.h>

#define SHORT 8     /* v1, v2, and the head of a v3 report */
#define V3_QUERY 12 /* without sources */
#define RECORD 8    /* without sources */
#define TENTH (CHIME_SEC / 10)

/* ---- v3's codes of times: up to 127 as they are, then a mantissa and an exponent (RFC 3376 4.1.1) ---- */

static int64_t decode(uint8_t code)
{
	return code < 128 ? code : (int64_t)((code & 15) | 16) << ((code >> 4 & 7) + 3);
}

/* The least code that stands for at least value; -1: none. */
static int encode(int64_t value)
{
	if (value < 128)
		return (int)value;
	for (int code = 128; code < 256; code++)
		if (decode((uint8_t)code) >= value)
			return code;
	return -1;
}

static int64_t units(int64_t ns, int64_t unit)
{
	return ns / unit + (ns % unit > 0);
}

/* ---- reading ---- */

/* The record at p: its length, 0: it is cut. */
static size_t record_len(const unsigned char *p, size_t left)
{
	if (left < RECORD)
		return 0;
	size_t len = RECORD + (size_t)get16(p + 2) * 4 + (size_t)p[1] * 4;
	return len <= left ? len : 0;
}

static int parse_query(struct chime_igmp *out, const unsigned char *p, size_t len)
{
	if (len < V3_QUERY) {
		if (len > SHORT) /* RFC 3376 7.1: to be ignored */
			return CHIME_ELENGTH;
		out->version = p[1] ? 2 : 1;
		out->max_response_ns = p[1] * TENTH;
		return 0;
	}
	out->version = 3;
	out->max_response_ns = decode(p[1]) * TENTH;
	out->suppress = p[8] & 8;
	out->robustness = p[8] & 7;
	out->interval_ns = decode(p[9]) * CHIME_SEC;
	out->source_count = get16(p + 10);
	out->sources = p + V3_QUERY;
	return out->source_count > (len - V3_QUERY) / 4 ? CHIME_ESHORT : 0;
}

static int parse_report(struct chime_igmp *out, const unsigned char *p, size_t len)
{
	size_t at = SHORT;
	out->version = 3;
	out->group.s_addr = 0;
	out->record_count = get16(p + 6);
	out->records = p + SHORT;
	for (unsigned i = 0; i < out->record_count; i++) {
		size_t takes = record_len(p + at, len - at);
		if (takes == 0)
			return CHIME_ESHORT;
		at += takes;
	}
	out->records_len = at - SHORT;
	return 0;
}

int chime_igmp_parse(struct chime_igmp *out, const void *bytes, size_t len)
{
	const unsigned char *p = bytes;
	int err = 0;
	*out = (struct chime_igmp){ .type = 0 };
	if (len < SHORT)
		return CHIME_ESHORT;
	*out = (struct chime_igmp){ .type = p[0], .checksum = get16(p + 2) };
	memcpy(&out->group, p + 4, 4);
	switch (out->type) {
	case CHIME_IGMP_QUERY:
		err = parse_query(out, p, len);
		break;
	case CHIME_IGMP_V1_REPORT:
		out->version = 1;
		break;
	case CHIME_IGMP_V2_REPORT:
	case CHIME_IGMP_LEAVE:
		out->version = 2;
		break;
	case CHIME_IGMP_V3_REPORT:
		err = parse_report(out, p, len);
		break;
	default:
		break;
	}
	if (err < 0) {
		*out = (struct chime_igmp){ .type = 0 };
		return err;
	}
	return chime_checksum(p, len) == 0 ? 0 : CHIME_ECHECKSUM;
}

bool chime_igmp_record_next(const struct chime_igmp *h, struct chime_igmp_record *r)
{
	const unsigned char *p = h->records;
	size_t at = r->next;
	if (at >= h->records_len)
		return false;
	p += at;
	*r = (struct chime_igmp_record){ .type = p[0],
					 .source_count = get16(p + 2),
					 .sources = p + RECORD,
					 .aux_len = p[1] * 4u,
					 .next = at + record_len(p, h->records_len - at) };
	memcpy(&r->group, p + 4, 4);
	r->aux = p + RECORD + (size_t)r->source_count * 4;
	return true;
}

struct in_addr chime_igmp_source(const void *sources, unsigned n)
{
	struct in_addr a;
	memcpy(&a, (const unsigned char *)sources + (size_t)n * 4, 4);
	return a;
}

/* ---- building ---- */

static void put_checksum(unsigned char *p, size_t len)
{
	put16(p + 2, 0);
	put16(p + 2, chime_checksum(p, len));
}

/* The code of the response time of a query; -1: it cannot be said. */
static int response_code(const struct chime_igmp *h)
{
	int64_t tenths = units(h->max_response_ns, TENTH);
	if (h->max_response_ns < 0)
		return -1;
	switch (h->version) {
	case 1:
		return 0;
	case 2: /* 0 would be version 1 */
		return tenths > 255 ? -1 : tenths > 0 ? (int)tenths : 1;
	case 3:
		return encode(tenths);
	default:
		return -1;
	}
}

ssize_t chime_igmp_build(const struct chime_igmp *h, void *buf, size_t size)
{
	unsigned char *p = buf;
	bool query = h->type == CHIME_IGMP_QUERY, long_query = query && h->version == 3;
	int code = query ? response_code(h) : 0;
	int interval = long_query && h->interval_ns >= 0 ? encode(units(h->interval_ns, CHIME_SEC))
		       : long_query                      ? -1
							 : 0;
	if (code < 0 || interval < 0 || h->robustness > 7)
		return -EINVAL;
	if (long_query && h->source_count > UINT16_MAX)
		return -EMSGSIZE;
	size_t len = long_query ? V3_QUERY + (size_t)h->source_count * 4 : SHORT;
	if (size < len)
		return -ENOBUFS;
	if (long_query && h->source_count)
		memmove(p + V3_QUERY, h->sources, (size_t)h->source_count * 4);
	p[0] = h->type;
	p[1] = (unsigned char)code;
	if (h->type == CHIME_IGMP_V3_REPORT)
		memset(p + 4, 0, 4);
	else
		memcpy(p + 4, &h->group, 4);
	if (long_query) {
		p[8] = (unsigned char)((h->suppress ? 8 : 0) | h->robustness);
		p[9] = (unsigned char)interval;
		put16(p + 10, h->source_count);
	}
	put_checksum(p, len);
	return (ssize_t)len;
}

ssize_t chime_igmp_report_add(void *buf, size_t size, size_t len, uint8_t type, struct in_addr group,
			      const struct in_addr *sources, unsigned count)
{
	unsigned char *p = buf;
	if (len == 0) {
		const struct chime_igmp head = { .type = CHIME_IGMP_V3_REPORT };
		ssize_t n = chime_igmp_build(&head, buf, size);
		if (n < 0)
			return n;
		len = (size_t)n;
	}
	if (len < SHORT || p[0] != CHIME_IGMP_V3_REPORT)
		return -EINVAL;
	if (count > UINT16_MAX || get16(p + 6) == UINT16_MAX)
		return -EMSGSIZE;
	size_t takes = RECORD + (size_t)count * 4;
	if (len > size || takes > size - len)
		return -ENOBUFS;
	p += len;
	if (count)
		memmove(p + RECORD, sources, (size_t)count * 4);
	p[0] = type;
	p[1] = 0;
	put16(p + 2, count);
	memcpy(p + 4, &group, 4);
	p = buf;
	put16(p + 6, get16(p + 6) + 1u);
	put_checksum(p, len + takes);
	return (ssize_t)(len + takes);
}

/* ---- names ---- */

const char *chime_igmp_name(uint8_t type)
{
	switch (type) {
	case CHIME_IGMP_QUERY:
		return "query";
	case CHIME_IGMP_V1_REPORT:
		return "v1 report";
	case CHIME_IGMP_V2_REPORT:
		return "v2 report";
	case CHIME_IGMP_LEAVE:
		return "leave";
	case CHIME_IGMP_V3_REPORT:
		return "v3 report";
	default:
		return NULL;
	}
}

const char *chime_igmp_change_name(uint8_t type)
{
	static const char *const names[] = { NULL,         "is include", "is exclude", "to include",
					     "to exclude", "allow",      "block" };
	return type < sizeof names / sizeof *names ? names[type] : NULL;
}
