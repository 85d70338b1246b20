/* What is around a line on the wire: nothing on most sockets, ICMP's header, IPv4's; and to whom it goes where nobody is connected. */
#include "talk.h"

#include <chime/raw.h>
#include <chime/tipc.h>

#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int talk_wire_connect(struct talk *t, const struct chime_connect_config *config)
{
	struct chime_rdm_config c = CHIME_RDM_CONFIG_INIT;
	c.timeout_ns = config->timeout_ns;
	c.bind = config->bind;
	c.why = config->why;
	c.why_size = config->why_size;
	int err = chime_rdm_connect(&t->rdm, &t->to, &c);
	if (err < 0)
		return err;
	t->fd = chime_rdm_fileno(t->rdm);
	return chime_rdm_set_timeout(t->rdm, 0); /* every wait is a poll on more than it */
}

void talk_wire_close(struct talk *t)
{
	if (!t->rdm)
		return;
	if (chime_rdm_close(t->rdm, CHIME_SEC) == CHIME_ETIMEOUT && t->wire.unsure)
		talk_say(NULL, t->name, "not everything that was sent is known to have arrived", 53);
	chime_rdm_free(&t->rdm);
}

static ssize_t recv_reliable(struct talk *t, void *buf, size_t size)
{
	struct chime_rdm_event ev;
	char text[128];
	for (;;) {
		int err = chime_rdm_receive(t->rdm, &ev);
		if (err < 0)
			return err;
		switch (ev.kind) {
		case CHIME_RDM_MESSAGE:
			if (ev.len > size)
				return -EMSGSIZE;
			t->wire.unsure = false; /* whoever answers has got it */
			memcpy(buf, ev.data, ev.len);
			return (ssize_t)ev.len;
		case CHIME_RDM_UNDELIVERED:
			snprintf(text, sizeof text, "message %u was not acknowledged: %s", ev.id,
				 chime_strerror(ev.why));
			talk_say(NULL, "undelivered", text, strlen(text));
			if (ev.id == t->wire.last_id)
				return ev.why; /* the one whose answer is awaited */
			break;
		case CHIME_RDM_DOWN:
			if (ev.why == 0 && t->wire.unsure)
				return -EPIPE; /* it ended in order, and owes an answer */
			break;
		default:
			break;
		}
	}
}

static ssize_t send_reliable(struct talk *t, const void *bytes, size_t len)
{
	int err = chime_rdm_send(t->rdm, bytes, len, NULL, &t->wire.last_id);
	t->wire.unsure |= err == 0;
	return err < 0 ? err : (ssize_t)len;
}

#define SCTP_MOST 32768 /* of a stream at once: SCTP takes all of it or nothing, and never more than its buffer holds */

int talk_wire_open(struct talk *t)
{
	struct talk_wire *w = &t->wire;
	struct chime_target targets[CHIME_TARGETS];
	chime_addr own;
	w->echo = t->to.scheme == CHIME_ICMP;
	w->raw = chime_type(t->sock) == SOCK_RAW;
	w->id = (uint16_t)getpid();
	bool packets = t->scheme->ip && t->scheme->type == SOCK_DGRAM;
	w->many = packets && chime_getpeername(t->sock, &own) == -ENOTCONN;
	if (!w->many && (!w->raw || w->echo))
		return 0;
	int n = chime_endpoint_resolve(&t->to, false, t->opts.timeout_ns, targets, CHIME_TARGETS);
	if (n < 0)
		return n;
	w->to = targets[0].addr;
	int err = chime_getsockname(t->sock, &own);
	/* A packet to ourselves comes to every raw socket here, ours too. What it calls its port is the protocol. */
	if (err == 0 && w->raw)
		err = chime_addr_set_port(&own, 0);
	for (int i = 0; i < n && err == 0 && w->raw; i++)
		w->heard_by_us |= chime_addr_equal(&targets[i].addr, &own);
	return err;
}

static ssize_t send_echo(struct talk *t, const void *bytes, size_t len)
{
	struct talk_wire *w = &t->wire;
	bool six = chime_family(t->sock) == AF_INET6;
	struct chime_icmp request = { .type = (uint8_t)(six ? ICMP6_ECHO_REQUEST : ICMP_ECHO),
				      .id = w->id,
				      .seq = (uint16_t)(w->seq + 1),
				      .payload = bytes,
				      .payload_len = len };
	unsigned char *packet = malloc(CHIME_ICMP_HEADER + len);
	if (!packet)
		return -ENOMEM;
	ssize_t n = six ? chime_icmp6_build(&request, packet, CHIME_ICMP_HEADER + len, NULL, NULL)
			: chime_icmp_build(&request, packet, CHIME_ICMP_HEADER + len);
	if (n > 0)
		n = chime_send(t->sock, packet, (size_t)n, 0);
	free(packet);
	if (n < 0)
		return n;
	w->seq++;
	return (ssize_t)len;
}

ssize_t talk_wire_send(struct talk *t, const void *bytes, size_t len)
{
	struct talk_wire *w = &t->wire;
	if (t->rdm)
		return send_reliable(t, bytes, len);
	if (w->echo)
		return send_echo(t, bytes, len);
	if (w->many)
		return chime_sendto(t->sock, bytes, len, 0, &w->to);
	if (t->to.scheme == CHIME_SCTP && len > SCTP_MOST)
		len = SCTP_MOST;
	ssize_t n = chime_send(t->sock, bytes, len, 0);
	w->own_copy = n >= 0 && w->heard_by_us;
	return n;
}

/* What of a packet is the message: its length, at *at; -EAGAIN: the packet is not for us. */
static ssize_t take_off(struct talk *t, const unsigned char *packet, size_t len, const void **at)
{
	struct talk_wire *w = &t->wire;
	int family = chime_family(t->sock);
	struct chime_icmp h;
	*at = packet;
	if (chime_raw_payload(family, chime_type(t->sock), packet, len, NULL, at, &len) < 0)
		return -EAGAIN;
	if (!w->echo) {
		bool own = w->own_copy && len == t->answer.line_len && !memcmp(*at, t->answer.line, len);
		if (own)
			w->own_copy = false;
		return own ? -EAGAIN : (ssize_t)len;
	}
	int err = family == AF_INET6 ? chime_icmp6_parse(&h, *at, len, NULL, NULL) : chime_icmp_parse(&h, *at, len);
	/* The kernel has given a datagram socket an id of its own, and what comes to it is its. */
	if (err < 0 || h.type != (family == AF_INET6 ? ICMP6_ECHO_REPLY : ICMP_ECHOREPLY) || (w->raw && h.id != w->id))
		return -EAGAIN;
	w->former = h.seq != w->seq;
	*at = h.payload;
	return (ssize_t)h.payload_len;
}

ssize_t talk_wire_recv(struct talk *t, void *buf, size_t size)
{
	struct talk_wire *w = &t->wire;
	const void *at;
	if (t->to.scheme == CHIME_TIPC_RDM)
		return chime_tipc_recv(t->sock, buf, size, NULL, &w->returned);
	if (t->rdm)
		return recv_reliable(t, buf, size);
	for (;;) {
		ssize_t n =
			w->many ? chime_recvfrom(t->sock, buf, size, 0, &w->from) : chime_recv(t->sock, buf, size, 0);
		if (n < 0 || (!w->raw && !w->echo))
			return n;
		n = take_off(t, buf, (size_t)n, &at);
		if (n >= 0) {
			memmove(buf, at, (size_t)n);
			return n;
		}
	}
}

const char *talk_wire_who(const struct talk *t, const char *label, char *buf, size_t size)
{
	char who[CHIME_ADDR_TEXT];
	if (!t->wire.many)
		return label;
	chime_addr_print(&t->wire.from, who, sizeof who);
	snprintf(buf, size, "%s, from %s", label, who);
	return buf;
}
