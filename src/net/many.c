/* Many messages in one system call: recvmmsg and sendmmsg, and the kernel's cutting and joining of UDP datagrams. */
#include "net/came.h"
#include "net/newer.h"
#include "net/sock.h"

#include <chime/msg.h>

#include <errno.h>
#include <netinet/udp.h>
#include <poll.h>
#include <string.h>

#define BATCH 64 /* messages whose headers stand on the stack */

struct many {
	struct chime_packet *p;
	size_t n;
};

static ssize_t recv_batch(int fd, struct chime_packet *p, size_t n, int flags)
{
	struct mmsghdr h[BATCH];
	memset(h, 0, n * sizeof h[0]);
	for (size_t i = 0; i < n; i++) {
		h[i].msg_hdr.msg_iov = p[i].iov;
		h[i].msg_hdr.msg_iovlen = p[i].iovs;
		h[i].msg_hdr.msg_name = &p[i].msg.addr.u;
		h[i].msg_hdr.msg_namelen = sizeof p[i].msg.addr.u;
		h[i].msg_hdr.msg_control = p[i].msg.control.buf;
		h[i].msg_hdr.msg_controllen = p[i].msg.control.size;
	}
	int got = recvmmsg(fd, h, (unsigned)n, flags, NULL);
	if (got < 0)
		return -errno;
	for (int i = 0; i < got; i++) {
		struct chime_msg *m = &p[i].msg;
		p[i].bytes = h[i].msg_len;
		chime__addr_came(&m->addr, h[i].msg_hdr.msg_namelen);
		m->control.len = h[i].msg_hdr.msg_controllen;
		m->flags = h[i].msg_hdr.msg_flags & ~MSG_CMSG_CLOEXEC;
	}
	return got;
}

static ssize_t send_batch(int fd, struct chime_packet *p, size_t n, int flags)
{
	struct mmsghdr h[BATCH];
	memset(h, 0, n * sizeof h[0]);
	for (size_t i = 0; i < n; i++) {
		h[i].msg_hdr.msg_iov = p[i].iov;
		h[i].msg_hdr.msg_iovlen = p[i].iovs;
		if (p[i].msg.addr.len > 0) {
			h[i].msg_hdr.msg_name = &p[i].msg.addr.u;
			h[i].msg_hdr.msg_namelen = p[i].msg.addr.len;
		}
		if (p[i].msg.control.len > 0) {
			h[i].msg_hdr.msg_control = p[i].msg.control.buf;
			h[i].msg_hdr.msg_controllen = p[i].msg.control.len;
		}
	}
	int sent = sendmmsg(fd, h, (unsigned)n, flags);
	if (sent < 0)
		return -errno;
	for (int i = 0; i < sent; i++)
		p[i].bytes = h[i].msg_len;
	return sent;
}

/* Batch after batch while they are full. *late: an error behind the first message, 0 none. */
static ssize_t in_batches(int fd, struct chime__call *c, ssize_t (*batch)(int, struct chime_packet *, size_t, int),
			  ssize_t *late)
{
	const struct many *w = c->buf;
	size_t done = 0;
	while (done < w->n) {
		size_t want = w->n - done < BATCH ? w->n - done : BATCH;
		ssize_t n = batch(fd, w->p + done, want, c->flags);
		if (n < 0 && done > 0)
			*late = n;
		if (n < 0)
			return done > 0 ? (ssize_t)done : n;
		done += (size_t)n;
		if ((size_t)n < want)
			break;
	}
	return (ssize_t)done;
}

static ssize_t op_recv_many(struct chime_sock *s, int fd, struct chime__call *c)
{
	ssize_t late = 0, n = chime__sock_untold(s, c->flags);
	if (n == 0)
		n = in_batches(fd, c, recv_batch, &late);
	chime__sock_keep(s, late);
	return n;
}

static ssize_t op_send_many(struct chime_sock *s, int fd, struct chime__call *c)
{
	ssize_t late;
	(void)s;
	return in_batches(fd, c, send_batch, &late); /* the system itself forgets errors behind the first */
}

static ssize_t many(chime_sock *s, struct chime__call *c, enum chime__act act, int flags, short events)
{
	int fd = chime__sock_enter(s);
	if (fd < 0)
		return chime__sock_failed(s, act, fd, NULL);
	chime__call_flags(c, flags, events);
	ssize_t n = chime__sock_run(s, fd, c);
	chime__sock_leave(s);
	return n < 0 ? chime__sock_failed(s, act, (int)n, NULL) : n;
}

ssize_t chime_recv_many(chime_sock *s, struct chime_packet *p, size_t n, int flags)
{
	struct many w = { p, n };
	struct chime__call c = { .op = op_recv_many, .buf = &w };
	return many(s, &c, ACT_RECV_MANY, (flags & ~MSG_WAITALL) | chime__cloexec_flag(s), POLLIN);
}

ssize_t chime_send_many(chime_sock *s, struct chime_packet *p, size_t n, int flags)
{
	struct many w = { p, n };
	struct chime__call c = { .op = op_send_many, .buf = &w };
	return many(s, &c, ACT_SEND_MANY, flags | chime__no_signal(s), POLLOUT);
}

/* ---- segments ---- */

ssize_t chime_send_segments(chime_sock *s, const void *buf, size_t len, uint16_t size, int flags, const chime_addr *to)
{
	char room[CMSG_SPACE(sizeof size)];
	struct chime_msg m = { .addr = to ? *to : chime_addr_none() };
	struct iovec iov = { (void *)(uintptr_t)buf, len };
	if (size == 0)
		return chime__sock_failed(s, ACT_SENDMSG, -EINVAL, to);
	chime_control_init(&m.control, room, sizeof room);
	chime_control_add_segment(&m.control, size);
	return chime_sendmsg(s, &iov, 1, flags, &m);
}

int chime_set_gro(chime_sock *s, bool on)
{
	return chime_setsockopt_int(s, SOL_UDP, UDP_GRO, on);
}

ssize_t chime_recv_segments(chime_sock *s, void *buf, size_t len, size_t *size, int flags, chime_addr *from)
{
	char room[256]; /* for what other options put beside it */
	struct chime_msg m = { .control = { room, sizeof room, 0 } };
	struct chime_cmsg c = { 0 };
	int bytes = 0;
	ssize_t n = chime_recvmsg(s, buf, len, flags, &m);
	*size = n > 0 ? (size_t)n : 0;
	if (from)
		*from = m.addr;
	while (n >= 0 && chime_control_next(&m.control, &c))
		if (chime_cmsg_segment(&c, &bytes) && bytes > 0)
			*size = (size_t)bytes;
	if (n >= 0)
		chime_control_close_fds(&m.control);
	return n;
}
