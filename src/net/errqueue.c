/* Time stamps of the kernel, and the error queue that tells transmit stamps, zero-copy completions and errors. */
#include "net/newer.h"
#include "net/sock.h"

#include <chime/errqueue.h>

#include <errno.h>
#include <linux/errqueue.h>
#include <linux/if_packet.h>
#include <linux/net_tstamp.h>
#include <poll.h>
#include <string.h>

/* Newer than some headers: Linux 6.2. */
#define OPT_ID_TCP (1 << 16) /* SOF_TIMESTAMPING_OPT_ID_TCP */

static bool is_ip(const struct chime_sock *s)
{
	return s->family == AF_INET || s->family == AF_INET6;
}

int chime_timestamping(chime_sock *s, unsigned flags)
{
	const unsigned known =
		CHIME_STAMP_RX | CHIME_STAMP_TX | CHIME_STAMP_TX_SCHED | CHIME_STAMP_TX_ACK | CHIME_STAMP_HARDWARE;
	const unsigned sends = CHIME_STAMP_TX | CHIME_STAMP_TX_SCHED | CHIME_STAMP_TX_ACK;
	unsigned sof = 0;
	bool stream = is_ip(s) && s->type == SOCK_STREAM && s->proto != IPPROTO_SCTP;
	if (flags & ~known || (flags & CHIME_STAMP_TX_ACK && !stream))
		return chime__sock_failed(s, ACT_TIMESTAMPING, -EINVAL, NULL);
	if (flags & CHIME_STAMP_RX)
		sof |= SOF_TIMESTAMPING_RX_SOFTWARE;
	if (flags & CHIME_STAMP_TX)
		sof |= SOF_TIMESTAMPING_TX_SOFTWARE;
	if (flags & CHIME_STAMP_TX_SCHED)
		sof |= SOF_TIMESTAMPING_TX_SCHED;
	if (flags & CHIME_STAMP_TX_ACK)
		sof |= SOF_TIMESTAMPING_TX_ACK;
	if (flags & CHIME_STAMP_HARDWARE) {
		sof |= SOF_TIMESTAMPING_RAW_HARDWARE;
		if (flags & CHIME_STAMP_RX)
			sof |= SOF_TIMESTAMPING_RX_HARDWARE;
		if (flags & CHIME_STAMP_TX)
			sof |= SOF_TIMESTAMPING_TX_HARDWARE;
	}
	if (flags)
		sof |= SOF_TIMESTAMPING_SOFTWARE;
	/* Numbers, and no copy of the data: what was sent need not be told again. */
	if (flags & sends)
		sof |= SOF_TIMESTAMPING_OPT_ID | SOF_TIMESTAMPING_OPT_TSONLY;
	/* Else a stream would count from what is not acknowledged yet, instead of from here. */
	int err = -EINVAL;
	if (flags & sends && stream)
		err = chime_setsockopt_int(s, SOL_SOCKET, SO_TIMESTAMPING, (int)(sof | OPT_ID_TCP));
	if (err == -EINVAL)
		err = chime_setsockopt_int(s, SOL_SOCKET, SO_TIMESTAMPING, (int)sof);
	return err < 0 ? chime__sock_failed(s, ACT_TIMESTAMPING, err, NULL) : 0;
}

ssize_t chime_recv_stamped(chime_sock *s, void *buf, size_t len, int flags, struct chime_stamps *stamps,
			   chime_addr *from)
{
	char room[512]; /* for what other options put beside it */
	struct chime_msg m = { .control = { room, sizeof room, 0 } };
	struct chime_cmsg c = { 0 };
	*stamps = (struct chime_stamps){ 0, 0 };
	ssize_t n = chime_recvmsg(s, buf, len, flags, &m);
	if (from)
		*from = m.addr;
	while (n >= 0 && chime_control_next(&m.control, &c))
		chime_cmsg_stamps(&c, stamps);
	if (n >= 0)
		chime_control_close_fds(&m.control);
	return n;
}

/* ---- the queue ---- */

static bool is_extended(const struct chime_cmsg *c)
{
	return (c->level == IPPROTO_IP && c->type == IP_RECVERR) ||
	       (c->level == IPPROTO_IPV6 && c->type == IPV6_RECVERR) ||
	       (c->level == SOL_PACKET && c->type == PACKET_TX_TIMESTAMP);
}

/* Who complains stands behind the error. */
static void read_offender(const struct chime_cmsg *c, chime_addr *out)
{
	struct sockaddr_in6 room;
	size_t len = c->len - sizeof(struct sock_extended_err);
	memset(&room, 0, sizeof room);
	memcpy(&room, (const char *)c->data + sizeof(struct sock_extended_err), len < sizeof room ? len : sizeof room);
	socklen_t size = room.sin6_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof room;
	if ((room.sin6_family == AF_INET || room.sin6_family == AF_INET6) && len >= size)
		chime_addr_from(out, (struct sockaddr *)&room, size);
}

bool chime_cmsg_queued(const struct chime_cmsg *c, struct chime_queued *q)
{
	struct sock_extended_err e;
	if (!is_extended(c) || c->len < sizeof e)
		return false;
	*q = (struct chime_queued){ .stamps = q->stamps, .offender = chime_addr_none(), .about = q->about };
	memcpy(&e, c->data, sizeof e);
	q->origin = e.ee_origin;
	if (e.ee_origin == SO_EE_ORIGIN_TIMESTAMPING) {
		q->kind = CHIME_QUEUED_STAMP;
		q->number = q->last = e.ee_data;
		q->stage = e.ee_info == SCM_TSTAMP_SCHED ? CHIME_STAMP_TX_SCHED
			   : e.ee_info == SCM_TSTAMP_ACK ? CHIME_STAMP_TX_ACK
							 : CHIME_STAMP_TX;
		return true;
	}
	if (e.ee_origin == SO_EE_ORIGIN_ZEROCOPY) {
		q->kind = CHIME_QUEUED_ZEROCOPY;
		q->number = e.ee_info;
		q->last = e.ee_data;
		q->copied = e.ee_code & SO_EE_CODE_ZEROCOPY_COPIED;
		return true;
	}
	q->kind = CHIME_QUEUED_ERROR;
	q->error = e.ee_errno < 4096 ? -(int)e.ee_errno : -EPROTO; /* a code is -errno, whatever stands there */
	q->icmp_type = e.ee_type;
	q->icmp_code = e.ee_code;
	q->info = e.ee_info;
	read_offender(c, &q->offender);
	return true;
}

/* Other sockets take the flag for nothing, and would give their data. */
static bool has_queue(const struct chime_sock *s)
{
	return s->family == AF_PACKET || (is_ip(s) && s->proto != IPPROTO_SCTP);
}

static ssize_t op_queue(struct chime_sock *s, int fd, struct chime__call *c)
{
	char data[1], room[512];
	struct chime_queued *q = c->buf;
	struct iovec iov = { data, sizeof data };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room };
	struct chime_cmsg m = { 0 };
	chime_addr about;
	bool told = false;
	h.msg_name = &about.u;
	h.msg_namelen = sizeof about.u;
	if (recvmsg(fd, &h, c->flags | MSG_ERRQUEUE) < 0) {
		int err = errno;
		/* An end of both directions is always "ready": nothing will come any more. */
		struct pollfd p = { fd, 0, 0 };
		if (err == EAGAIN && s->type == SOCK_STREAM && c->timed && poll(&p, 1, 0) > 0 && p.revents & POLLHUP)
			return -EPIPE;
		return -err;
	}
	memset(q, 0, sizeof *q);
	q->offender = q->about = chime_addr_none();
	struct chime_control got = { room, sizeof room, h.msg_controllen };
	while (chime_control_next(&got, &m)) {
		chime_cmsg_stamps(&m, &q->stamps);
		told |= chime_cmsg_queued(&m, q);
	}
	if (!told)
		return -EBADMSG;
	if (q->kind == CHIME_QUEUED_ERROR && h.msg_namelen > 0 && h.msg_namelen <= sizeof about.u)
		chime_addr_from(&q->about, &about.u.sa, h.msg_namelen);
	return 0;
}

int chime_recv_queued(chime_sock *s, struct chime_queued *out, int flags)
{
	int fd = has_queue(s) ? chime__sock_enter(s) : -EOPNOTSUPP;
	if (fd < 0)
		return chime__sock_failed(s, ACT_RECV_QUEUED, fd, NULL);
	/* No event is asked for: poll tells POLLERR, which an entry in the queue is, in any case. */
	struct chime__call c = { .op = op_queue, .buf = out };
	chime__call_flags(&c, flags & ~MSG_ERRQUEUE, 0);
	int err = (int)chime__sock_run(s, fd, &c);
	chime__sock_leave(s);
	return err < 0 ? chime__sock_failed(s, ACT_RECV_QUEUED, err, NULL) : 0;
}

/* ---- zero-copy ---- */

static ssize_t op_zerocopy(struct chime_sock *s, int fd, struct chime__call *c)
{
	(void)s;
	ssize_t n = send(fd, c->buf, c->len, c->flags);
	return n < 0 ? -errno : n;
}

ssize_t chime_send_zerocopy(chime_sock *s, const void *buf, size_t len, int flags)
{
	int fd = chime__sock_enter(s);
	if (fd < 0)
		return chime__sock_failed(s, ACT_SEND, fd, NULL);
	struct chime__call c = { .op = op_zerocopy, .buf = (void *)(uintptr_t)buf, .len = len };
	chime__call_flags(&c, flags | chime__no_signal(s) | MSG_ZEROCOPY, POLLOUT);
	ssize_t n = chime__sock_run(s, fd, &c);
	chime__sock_leave(s);
	return n < 0 ? chime__sock_failed(s, ACT_SEND, (int)n, NULL) : n;
}
