/*
 * Property: whatever bytes stand where a header should, parsing stays within them (a page behind them cannot be read), what it
 * shows lies within them, and what was found right is built again to the same bytes. The checksum is what a naive one says.
 */
#include "fuzz/fuzz.h"
#include "net/edge.h"

#include <chime/error.h>
#include <chime/raw.h>

static unsigned char again[70000];

static void must_lie_within(const void *view, size_t view_len, const unsigned char *p, size_t len)
{
	const unsigned char *v = view;
	MUST(!view_len || (v >= p && v <= p + len && view_len <= (size_t)(p + len - v)));
}

static void try_ipv4(const unsigned char *p, size_t len)
{
	struct chime_ipv4 h;
	struct chime_ipv4_option o = { .next = 0 };
	int err = chime_ipv4_parse(&h, p, len);
	must_lie_within(h.payload, h.payload_len, p, len);
	must_lie_within(h.options, h.options_len, p, len);
	MUST(err != 0 || h.header_len >= CHIME_IPV4_HEADER);
	for (size_t at = 0; chime_ipv4_option_next(&h, &o) == 1; at = o.next) {
		must_lie_within(o.data, o.len, p, len);
		MUST(o.next > at && o.next <= h.options_len);
	}
	if (err != 0 || p[6] & 0x80 || h.payload_len + h.header_len != h.total_len)
		return; /* the reserved bit is not kept */
	MUST(chime_ipv4_build(&h, again, sizeof again) == (ssize_t)h.total_len);
	again[10] = p[10]; /* a checksum of 0 may be written as 0xffff too */
	again[11] = p[11];
	MUST(!memcmp(again, p, h.total_len));
	MUST(chime_checksum(again, h.header_len) == 0);
}

static void try_icmp(const unsigned char *p, size_t len)
{
	static const struct in6_addr from = { .s6_addr = { 0xfe, 0x80, [15] = 1 } }, to = { .s6_addr = { [15] = 1 } };
	struct chime_icmp h;
	int err = chime_icmp_parse(&h, p, len);
	must_lie_within(h.payload, h.payload_len, p, len);
	if (err == CHIME_ESHORT)
		return;
	MUST(chime_icmp_build(&h, again, sizeof again) == (ssize_t)len);
	MUST(!memcmp(again, p, 2) && !memcmp(again + 4, p + 4, len - 4));
	MUST(chime_icmp_parse(&h, again, len) == 0);
	MUST(chime_icmp6_parse(&h, p, len, NULL, NULL) == 0);
	MUST(chime_icmp6_build(&h, again, sizeof again, &from, &to) == (ssize_t)len);
	MUST(chime_icmp6_parse(&h, again, len, &from, &to) == 0);
}

static void try_igmp(const unsigned char *p, size_t len)
{
	struct chime_igmp h, back;
	struct chime_igmp_record r = { .next = 0 };
	unsigned records = 0;
	ssize_t n = 0;
	int err = chime_igmp_parse(&h, p, len);
	must_lie_within(h.sources, (size_t)h.source_count * 4, p, len);
	while (chime_igmp_record_next(&h, &r)) {
		struct in_addr sources[70000 / 4];
		must_lie_within(r.sources, (size_t)r.source_count * 4, p, len);
		must_lie_within(r.aux, r.aux_len, p, len);
		for (unsigned i = 0; i < r.source_count; i++)
			sources[i] = chime_igmp_source(r.sources, i);
		n = chime_igmp_report_add(again, sizeof again, (size_t)n, r.type, r.group, sources, r.source_count);
		MUST(n > 0 && chime_igmp_parse(&back, again, (size_t)n) == 0 && back.record_count == ++records);
	}
	MUST(records == h.record_count);
	if (err != 0 || h.version == 0)
		return;
	n = chime_igmp_build(&h, again, sizeof again);
	MUST(n >= 8 && chime_igmp_parse(&back, again, (size_t)n) == 0);
	MUST(back.type == h.type && back.version == h.version && back.max_response_ns == h.max_response_ns);
	MUST(back.interval_ns == h.interval_ns && back.source_count == h.source_count);
}

static void try_checksum(const unsigned char *p, size_t len)
{
	uint32_t sum = 0;
	for (size_t i = 0; i < len; i += 2)
		sum += (uint32_t)(p[i] << 8 | (i + 1 < len ? p[i + 1] : 0));
	while (sum >> 16)
		sum = (sum >> 16) + (sum & 0xffff);
	MUST(chime_checksum(p, len) == (uint16_t)~sum);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	if (len < 1 || len > EDGE_ROOM - 2)
		return 0;
	const unsigned char *p = (const unsigned char *)edge_bytes(bytes + 1, len - 1);
	len--;
	switch (bytes[0] & 3) {
	case 0:
		try_ipv4(p, len);
		break;
	case 1:
		try_icmp(p, len);
		break;
	case 2:
		try_igmp(p, len);
		break;
	default:
		try_checksum(p, len);
		break;
	}
	return 0;
}
