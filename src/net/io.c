/* Sending and receiving. Every call first tries without waiting; only one that must wait pays for more than that. */
#include "net/came.h"
#include "net/direct.h"
#include "net/sock.h"

#include <errno.h>
#include <poll.h>

void chime__call_flags(struct chime__call *c, int flags, short events)
{
	c->flags = flags | MSG_DONTWAIT;
	c->events = flags & MSG_OOB && events == POLLIN ? POLLPRI : events;
	/* The error queue is never waited for, not by the kernel either. */
	c->no_wait = flags & (MSG_DONTWAIT | MSG_ERRQUEUE);
}

bool chime__does_all(const chime_sock *s, int flags)
{
	return s->type == SOCK_STREAM && !(flags & (MSG_DONTWAIT | MSG_ERRQUEUE)) &&
	       atomic_load_explicit(&s->timeout_ns, memory_order_relaxed) < 0;
}

/*
 * Runs c until len bytes at buf are done, with one limit for all; first is what the first try at them gave. 0, or why not
 * (the end of a stream is CHIME_EEOF); *done counts either way. cut: the caller answers with a count, so that a signal
 * ends it once there is something to count.
 */
static int run_whole(struct chime_sock *s, int fd, struct chime__call *c, const void *buf, size_t len, bool cut,
		     ssize_t first, size_t *done)
{
	*done = 0;
	for (ssize_t n = first;; n = c->op(s, fd, c)) {
		n = chime__sock_go_on(s, fd, c, n);
		if (n < 0)
			return (int)n;
		/* MSG_TRUNC: a message's whole length, of which no more than the room was stored. */
		*done += (size_t)n < c->len ? (size_t)n : c->len;
		if (*done == len)
			return 0;
		if (n == 0)
			return CHIME_EEOF;
		c->buf = (char *)(uintptr_t)buf + *done;
		c->len = len - *done;
		c->partial = cut;
	}
}

/* The result of a call that answers with a count: what was done before an error counts more than the error. */
static ssize_t as_count(int err, size_t done)
{
	return done > 0 || err == CHIME_EEOF ? (ssize_t)done : err;
}

static ssize_t done_by(chime_sock *s, enum chime__act act, ssize_t n, const chime_addr *about)
{
	return __builtin_expect(n < 0, 0) ? chime__sock_failed(s, act, (int)n, about) : n;
}

/* ---- sending ---- */

ssize_t chime__fast_opened(const struct chime_sock *s, struct chime__call *c, ssize_t first)
{
	if (!(c->flags & MSG_FASTOPEN) || (first < 0 && first != -EINPROGRESS))
		return first;
	c->flags &= ~MSG_FASTOPEN;
	c->to = NULL;
	if (c->no_wait || atomic_load_explicit(&s->timeout_ns, memory_order_relaxed) == 0)
		return first;
	return first == -EINPROGRESS ? -EAGAIN : first;
}

static ssize_t op_send(struct chime_sock *s, int fd, struct chime__call *c)
{
	(void)s;
	ssize_t n = c->to ? sendto(fd, c->buf, c->len, c->flags, &c->to->u.sa, c->to->len)
			  : send(fd, c->buf, c->len, c->flags);
	return n < 0 ? -errno : n;
}

/* What the first try at sending left to do. */
static __attribute__((noinline)) ssize_t send_more(struct chime_sock *s, int fd, const void *buf, size_t len, int flags,
						   const chime_addr *to, ssize_t first)
{
	struct chime__call c = { .op = op_send, .buf = (void *)(uintptr_t)buf, .len = len, .to = to };
	chime__call_flags(&c, flags | chime__no_signal(s), POLLOUT);
	first = chime__fast_opened(s, &c, first);
	if (!chime__does_all(s, flags))
		return chime__sock_go_on(s, fd, &c, first);
	size_t done;
	int err = run_whole(s, fd, &c, buf, len, true, first, &done);
	if (done > 0)
		chime__sock_keep(s, err);
	return as_count(err, done);
}

ssize_t chime_send(chime_sock *s, const void *buf, size_t len, int flags)
{
	int fd = chime__sock_enter(s);
	if (fd < 0)
		return chime__sock_failed(s, ACT_SEND, fd, NULL);
	ssize_t n = direct_send(fd, buf, len, flags | chime__no_signal(s) | MSG_DONTWAIT);
	if (__builtin_expect(n != (ssize_t)len, 0))
		n = send_more(s, fd, buf, len, flags, NULL, n);
	chime__sock_leave(s);
	return done_by(s, ACT_SEND, n, NULL);
}

ssize_t chime_sendto(chime_sock *s, const void *buf, size_t len, int flags, const chime_addr *to)
{
	int fd = chime__sock_enter(s);
	if (fd < 0)
		return chime__sock_failed(s, ACT_SENDTO, fd, to);
	ssize_t n = sendto(fd, buf, len, flags | chime__no_signal(s) | MSG_DONTWAIT, &to->u.sa, to->len);
	if (__builtin_expect(n != (ssize_t)len, 0))
		n = send_more(s, fd, buf, len, flags, to, n < 0 ? -errno : n);
	chime__sock_leave(s);
	return done_by(s, ACT_SENDTO, n, to);
}

int chime_sendall(chime_sock *s, const void *buf, size_t len, int flags, size_t *sent)
{
	size_t done = 0;
	int err, fd = chime__sock_enter(s);
	if (fd < 0) {
		err = fd;
	} else {
		struct chime__call c = { .op = op_send, .buf = (void *)(uintptr_t)buf, .len = len };
		chime__call_flags(&c, flags | chime__no_signal(s), POLLOUT);
		err = run_whole(s, fd, &c, buf, len, false, op_send(s, fd, &c), &done);
		chime__sock_leave(s);
	}
	if (sent)
		*sent = done;
	return (int)done_by(s, ACT_SENDALL, err, NULL);
}

/* ---- receiving ---- */

static ssize_t op_recv(struct chime_sock *s, int fd, struct chime__call *c)
{
	(void)s;
	if (!c->from) {
		ssize_t n = recv(fd, c->buf, c->len, c->flags);
		return n < 0 ? -errno : n;
	}
	socklen_t len = sizeof(c->from->u);
	ssize_t n = recvfrom(fd, c->buf, c->len, c->flags, &c->from->u.sa, &len);
	chime__addr_came(c->from, n < 0 ? 0 : len);
	return n < 0 ? -errno : n;
}

/* What the first try at receiving left to do. */
static __attribute__((noinline)) ssize_t recv_more(struct chime_sock *s, int fd, void *buf, size_t len, int flags,
						   chime_addr *from, ssize_t first)
{
	struct chime__call c = { .op = op_recv, .buf = buf, .len = len, .from = from };
	chime__call_flags(&c, flags, POLLIN);
	if (!(flags & MSG_WAITALL) || !chime__does_all(s, flags))
		return chime__sock_go_on(s, fd, &c, first);
	if (flags & MSG_PEEK) {
		/* What is peeked at stays, so it cannot be put together here: the kernel waits, and no close wakes it. */
		c.flags = flags;
		return chime__sock_go_on(s, fd, &c, -EAGAIN);
	}
	size_t done;
	int err = run_whole(s, fd, &c, buf, len, true, first, &done);
	if (done > 0)
		chime__sock_keep(s, err);
	return as_count(err, done);
}

ssize_t chime_recv(chime_sock *s, void *buf, size_t len, int flags)
{
	int fd = chime__sock_enter(s);
	if (fd < 0)
		return chime__sock_failed(s, ACT_RECV, fd, NULL);
	ssize_t n = chime__sock_untold(s, flags);
	if (n == 0) {
		n = direct_recv(fd, buf, len, flags | MSG_DONTWAIT);
		if (__builtin_expect(n < 0 || flags & MSG_WAITALL, 0))
			n = recv_more(s, fd, buf, len, flags, NULL, n);
	}
	chime__sock_leave(s);
	return done_by(s, ACT_RECV, n, NULL);
}

ssize_t chime_recvfrom(chime_sock *s, void *buf, size_t len, int flags, chime_addr *from)
{
	int fd = chime__sock_enter(s);
	if (fd < 0)
		return chime__sock_failed(s, ACT_RECVFROM, fd, NULL);
	struct chime__call c = { .op = op_recv, .buf = buf, .len = len, .flags = flags | MSG_DONTWAIT, .from = from };
	ssize_t n = chime__sock_untold(s, flags);
	if (n == 0) {
		n = op_recv(s, fd, &c);
		if (__builtin_expect(n < 0 || flags & MSG_WAITALL, 0))
			n = recv_more(s, fd, buf, len, flags, from, n);
	} else if (from) {
		*from = chime_addr_none();
	}
	chime__sock_leave(s);
	return done_by(s, ACT_RECVFROM, n, NULL);
}

int chime_recv_exact(chime_sock *s, void *buf, size_t len, int flags, size_t *got)
{
	size_t done = 0;
	int err, fd = -1;
	if (flags & MSG_PEEK)
		err = -EINVAL;
	else
		err = fd = chime__sock_enter(s);
	if (fd >= 0) {
		struct chime__call c = { .op = op_recv, .buf = buf, .len = len };
		chime__call_flags(&c, flags, POLLIN);
		err = len == 0 ? 0 : chime__sock_untold(s, flags);
		if (err == 0 && len > 0)
			err = run_whole(s, fd, &c, buf, len, false, op_recv(s, fd, &c), &done);
		chime__sock_leave(s);
	}
	if (got)
		*got = done;
	return (int)done_by(s, ACT_RECV_EXACT, err, NULL);
}
