/* Messages on raw sockets: IPv4's header off, ICMP's off and on. */
#include "server/envelope.h"

#include <chime/error.h>

#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <stdio.h>

int chime__envelope_open(struct envelope *e, struct op_msg *m)
{
	const void *payload;
	size_t len;
	int err = chime_raw_payload(e->family, SOCK_RAW, m->data, m->len, NULL, &payload, &len);
	if (err == 0 && e->icmp) {
		/* IPv6's checksum was looked at by the kernel (RFC 3542 3.1), IPv4's by nobody yet. */
		err = e->family == AF_INET6 ? chime_icmp6_parse(&e->asked, payload, len, NULL, NULL)
					    : chime_icmp_parse(&e->asked, payload, len);
		if (err == 0 && (e->asked.type != (e->family == AF_INET6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO)))
			err = -EAGAIN;
		payload = e->asked.payload;
		len = e->asked.payload_len;
	}
	if (err < 0)
		return err;
	m->data += (const unsigned char *)payload - m->data;
	m->len = len;
	return 0;
}

void chime__envelope_begin(const struct envelope *e, const struct op_msg *m, struct chime_reply *r)
{
	unsigned front = e->icmp;
	size_t taken = front * CHIME_ICMP_HEADER;
	reply_init(r, m->buf->iov + front, BUF_IOVS - front, m->buf->scratch + taken, BUF_SCRATCH - taken);
}

/* The checksum over header and pieces: one that begins at an odd byte has its words the other way round (RFC 1071 2 (B)). */
static uint16_t checksum(const unsigned char header[CHIME_ICMP_HEADER], const struct iovec *iov, unsigned n)
{
	uint32_t sum = chime_checksum_add(0, header, CHIME_ICMP_HEADER);
	size_t at = 0;
	for (unsigned i = 0; i < n; i++) {
		uint32_t part = chime_checksum_add(0, iov[i].iov_base, iov[i].iov_len);
		part = (part >> 16) + (part & 0xffff);
		part = (part >> 16) + (part & 0xffff);
		if (at % 2)
			part = (part & 0xff) << 8 | part >> 8;
		sum = (sum >> 16) + (sum & 0xffff) + part;
		at += iov[i].iov_len;
	}
	return chime_checksum_end(sum);
}

void chime__envelope_end(const struct envelope *e, const struct op_msg *m, struct chime_reply *r)
{
	unsigned char *header = m->buf->scratch;
	const struct chime_icmp reply = { .type = (uint8_t)(e->family == AF_INET6 ? ICMP6_ECHO_REPLY : ICMP_ECHOREPLY),
					  .id = e->asked.id,
					  .seq = e->asked.seq };
	chime_icmp6_build(&reply, header, CHIME_ICMP_HEADER, NULL,
			  NULL); /* without a checksum: IPv6's is the kernel's */
	if (e->family == AF_INET) {
		uint16_t sum = checksum(header, r->iov, r->n);
		header[2] = (unsigned char)(sum >> 8);
		header[3] = (unsigned char)sum;
	}
	r->iov--; /* chime__envelope_begin() left it free */
	r->iov[0] = (struct iovec){ header, CHIME_ICMP_HEADER };
	r->n++;
	r->bytes += CHIME_ICMP_HEADER;
}

bool chime__kernel_echoes(int family)
{
	int ignored = 0;
	FILE *f = fopen(family == AF_INET6 ? "/proc/sys/net/ipv6/icmp/echo_ignore_all"
					   : "/proc/sys/net/ipv4/icmp_echo_ignore_all",
			"re");
	if (f && fscanf(f, "%d", &ignored) != 1)
		ignored = 0;
	if (f)
		fclose(f);
	return !ignored;
}
