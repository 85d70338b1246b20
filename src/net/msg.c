/* Whole messages, scattered and gathered, with what goes beside the data. */
#include "net/came.h"
#include "net/sock.h"

#include <chime/msg.h>

#include <errno.h>
#include <poll.h>

/* The buffers of one call, and how far they are done. */
struct gather {
	const struct iovec *iov;
	size_t iovs;
	size_t skip; /* of the first buffer */
	struct iovec part;
	struct chime_msg *m; /* NULL: nothing beside the data, or it has gone */
	int flags;           /* those of all parts */
};

static size_t total_of(const struct gather *g)
{
	size_t sum = 0;
	for (size_t i = 0; i < g->iovs; i++)
		if (__builtin_add_overflow(sum, g->iov[i].iov_len, &sum))
			return SIZE_MAX;
	return sum;
}

static void advance(struct gather *g, size_t n)
{
	g->skip += n;
	while (g->iovs > 0 && g->skip >= g->iov->iov_len) {
		g->skip -= g->iov->iov_len;
		g->iov++;
		g->iovs--;
	}
}

/* The buffers that are left, without touching the caller's array: a buffer half done goes alone. */
static void fill(struct gather *g, struct msghdr *h)
{
	h->msg_iov = (struct iovec *)(uintptr_t)g->iov;
	h->msg_iovlen = g->iovs;
	if (g->skip > 0) {
		g->part.iov_base = (char *)g->iov->iov_base + g->skip;
		g->part.iov_len = g->iov->iov_len - g->skip;
		h->msg_iov = &g->part;
		h->msg_iovlen = 1;
	}
}

static void forget(struct chime_msg *m)
{
	if (!m)
		return;
	m->addr = chime_addr_none();
	m->control.len = 0;
	m->flags = 0;
}

/* One limit for all parts; what was done before an error counts more than the error. */
static ssize_t run_parts(struct chime_sock *s, int fd, struct chime__call *c, struct gather *g, bool sends,
			 ssize_t first)
{
	size_t total = total_of(g), done = 0;
	for (ssize_t n = first;; n = c->op(s, fd, c)) {
		n = chime__sock_go_on(s, fd, c, n);
		if (n < 0 && done > 0)
			chime__sock_keep(s, n);
		if (n < 0)
			return done > 0 ? (ssize_t)done : n;
		done += (size_t)n;
		if (n == 0 || done >= total || (!sends && g->m && (g->m->control.len > 0 || g->flags & MSG_CTRUNC)))
			return (ssize_t)done;
		if (sends)
			g->m = NULL;
		advance(g, (size_t)n);
		c->partial = true;
	}
}

/* ---- receiving ---- */

static ssize_t op_recvmsg(struct chime_sock *s, int fd, struct chime__call *c)
{
	struct gather *g = c->buf;
	struct chime_msg *m = g->m;
	struct msghdr h = { 0 };
	fill(g, &h);
	if (m) {
		h.msg_name = &m->addr.u;
		h.msg_namelen = sizeof m->addr.u;
		h.msg_control = m->control.buf;
		h.msg_controllen = m->control.size;
	}
	ssize_t n = recvmsg(fd, &h, c->flags | chime__cloexec_flag(s));
	if (n < 0)
		return -errno;
	g->flags |= h.msg_flags;
	if (m) {
		chime__addr_came(&m->addr, h.msg_namelen);
		m->control.len = h.msg_controllen;
	}
	return n;
}

static ssize_t recv_msg(chime_sock *s, int fd, const struct iovec *iov, size_t iovs, int flags, struct chime_msg *m)
{
	struct gather g = { .iov = iov, .iovs = iovs, .m = m };
	struct chime__call c = { .op = op_recvmsg, .buf = &g };
	chime__call_flags(&c, flags, POLLIN);
	bool all = flags & MSG_WAITALL && chime__does_all(s, flags);
	ssize_t n = chime__sock_untold(s, flags);
	if (n < 0) {
		forget(m);
		return n;
	}
	if (all && flags & MSG_PEEK) {
		c.flags = flags; /* what is peeked at cannot be put together here: the kernel waits */
		n = chime__sock_run(s, fd, &c);
	} else {
		n = op_recvmsg(s, fd, &c);
		if (all)
			n = run_parts(s, fd, &c, &g, false, n);
		else if (n < 0)
			n = chime__sock_go_on(s, fd, &c, n);
	}
	if (n < 0)
		forget(m);
	else if (m)
		m->flags = g.flags & ~MSG_CMSG_CLOEXEC;
	return n;
}

ssize_t chime_recvmsg_into(chime_sock *s, const struct iovec *iov, size_t iovs, int flags, struct chime_msg *m)
{
	int fd = chime__sock_enter(s);
	if (fd < 0) {
		forget(m);
		return chime__sock_failed(s, ACT_RECVMSG, fd, NULL);
	}
	ssize_t n = recv_msg(s, fd, iov, iovs, flags, m);
	chime__sock_leave(s);
	return n < 0 ? chime__sock_failed(s, ACT_RECVMSG, (int)n, NULL) : n;
}

ssize_t chime_recvmsg(chime_sock *s, void *buf, size_t len, int flags, struct chime_msg *m)
{
	struct iovec iov = { buf, len };
	return chime_recvmsg_into(s, &iov, 1, flags, m);
}

/* ---- sending ---- */

static ssize_t op_sendmsg(struct chime_sock *s, int fd, struct chime__call *c)
{
	struct gather *g = c->buf;
	const struct chime_msg *m = g->m;
	struct msghdr h = { 0 };
	(void)s;
	fill(g, &h);
	if (m && m->addr.len > 0) {
		h.msg_name = (void *)(uintptr_t)&m->addr.u;
		h.msg_namelen = m->addr.len;
	}
	if (m && m->control.len > 0) {
		h.msg_control = m->control.buf;
		h.msg_controllen = m->control.len;
	}
	ssize_t n = sendmsg(fd, &h, c->flags);
	return n < 0 ? -errno : n;
}

ssize_t chime_sendmsg(chime_sock *s, const struct iovec *iov, size_t iovs, int flags, const struct chime_msg *m)
{
	const chime_addr *to = m && m->addr.len > 0 ? &m->addr : NULL;
	int fd = chime__sock_enter(s);
	if (fd < 0)
		return chime__sock_failed(s, ACT_SENDMSG, fd, to);
	struct gather g = { .iov = iov, .iovs = iovs, .m = (struct chime_msg *)(uintptr_t)m };
	struct chime__call c = { .op = op_sendmsg, .buf = &g };
	chime__call_flags(&c, flags | chime__no_signal(s), POLLOUT);
	ssize_t n = chime__fast_opened(s, &c, op_sendmsg(s, fd, &c));
	if (chime__does_all(s, flags))
		n = run_parts(s, fd, &c, &g, true, n);
	else if (n < 0)
		n = chime__sock_go_on(s, fd, &c, n);
	chime__sock_leave(s);
	return n < 0 ? chime__sock_failed(s, ACT_SENDMSG, (int)n, to) : n;
}
