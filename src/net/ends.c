/* The two ends of a socket: its own address and its peer's; connections made and taken. */
#include "net/sock.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <unistd.h>

int chime_bind(chime_sock *s, const chime_addr *at)
{
	int fd = chime__sock_enter(s);
	if (fd < 0)
		return chime__sock_failed(s, ACT_BIND, fd, at);
	int err = bind(fd, &at->u.sa, at->len) < 0 ? -errno : 0;
	chime__sock_leave(s);
	return err < 0 ? chime__sock_failed(s, ACT_BIND, err, at) : 0;
}

int chime_listen(chime_sock *s, int backlog)
{
	int fd = chime__sock_enter(s);
	if (fd < 0)
		return chime__sock_failed(s, ACT_LISTEN, fd, NULL);
	int err = listen(fd, backlog > 0 ? backlog : 0) < 0 ? -errno : 0;
	chime__sock_leave(s);
	return err < 0 ? chime__sock_failed(s, ACT_LISTEN, err, NULL) : 0;
}

int chime_shutdown(chime_sock *s, int how)
{
	int fd = chime__sock_enter(s);
	if (fd < 0)
		return chime__sock_failed(s, ACT_SHUTDOWN, fd, NULL);
	int err = shutdown(fd, how) < 0 ? -errno : 0;
	chime__sock_leave(s);
	return err < 0 ? chime__sock_failed(s, ACT_SHUTDOWN, err, NULL) : 0;
}

/* ---- accept ---- */

static bool listens(int fd)
{
	int yes = 0;
	socklen_t len = sizeof(yes);
	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &yes, &len) < 0 || yes;
}

/*
 * accept(2) knows no MSG_DONTWAIT, so we look first; the lock keeps the threads of one handle from taking each other's
 * connection in between and then sleeping where no close can wake them. A thread that finds it taken comes again; one that does not
 * wait would take that for an answer, and looks until there is nobody to accept.
 */
static ssize_t op_accept(struct chime_sock *s, int fd, struct chime__call *c)
{
	struct pollfd p = { fd, POLLIN, 0 };
	chime_addr peer;
	ssize_t n = -EAGAIN;
	peer.len = sizeof(peer.u);
	while (pthread_mutex_trylock(&s->accept_lock) != 0) {
		if (atomic_load_explicit(&s->timeout_ns, memory_order_relaxed) != 0 || poll(&p, 1, 0) <= 0)
			return n;
		sched_yield();
	}
	int ready = poll(&p, 1, 0);
	if (ready < 0) {
		n = -errno; /* a signal, just now */
	} else if (ready > 0 || !listens(fd)) {
		n = accept4(fd, &peer.u.sa, &peer.len, c->flags);
		if (n < 0)
			n = -errno;
	}
	pthread_mutex_unlock(&s->accept_lock);
	if (n >= 0 && c->from && chime_addr_from(c->from, &peer.u.sa, peer.len) < 0)
		*c->from = chime_addr_none();
	return n;
}

int chime_accept(chime_sock *s, chime_sock **out, chime_addr *peer)
{
	int64_t timeout_ns = chime_default_timeout();
	*out = NULL;
	int fd = chime__sock_enter(s);
	if (fd < 0)
		return chime__sock_failed(s, ACT_ACCEPT, fd, NULL);
	struct chime__call c = { .op = op_accept,
				 .events = POLLIN,
				 .flags = SOCK_CLOEXEC | (timeout_ns >= 0 ? SOCK_NONBLOCK : 0),
				 .from = peer };
	ssize_t n = chime__sock_run(s, fd, &c);
	chime__sock_leave(s);
	if (n < 0)
		return chime__sock_failed(s, ACT_ACCEPT, (int)n, NULL);
	*out = chime__sock_new((int)n, s->family, s->type, s->proto, timeout_ns);
	if (*out)
		return 0;
	close((int)n);
	return chime__sock_failed(s, ACT_ACCEPT, -ENOMEM, NULL);
}

/* ---- connect ---- */

/* connect(2) without sleeping, O_NONBLOCK left as it was found. */
static int connect_now(struct chime_sock *s, int fd, const chime_addr *to)
{
	int begun = chime__nonblock_begin(fd);
	if (begun < 0)
		return begun;
	int err = connect(fd, &to->u.sa, to->len) < 0 ? -errno : 0;
	chime__nonblock_end(s, fd, begun);
	return err;
}

/*
 * How an attempt ended that poll calls ended. The TCP family keeps it open, in a way, until connect(2) is called again: that
 * one says yes, and only the one after it EISCONN.
 */
static int connect_result(struct chime_sock *s, int fd, const chime_addr *to)
{
	int err = 0;
	socklen_t len = sizeof(err);
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		return -errno;
	if (err != 0 || (s->family != AF_INET && s->family != AF_INET6))
		return -err;
	err = connect_now(s, fd, to);
	return err == -EISCONN ? 0 : err == -EALREADY ? -EAGAIN : err;
}

/*
 * Begins the attempt, then asks how it ended: an attempt is never begun twice, whatever interrupts the wait. One that an earlier call
 * began is waited for by a handle that blocks, as connect(2) does it. The -EAGAIN of a unix listener without room begins nothing, and
 * is tried again.
 */
static ssize_t op_connect(struct chime_sock *s, int fd, struct chime__call *c)
{
	if (c->under_way)
		return connect_result(s, fd, c->to);
	int err = connect_now(s, fd, c->to);
	if (err == -EALREADY && atomic_load_explicit(&s->timeout_ns, memory_order_relaxed) < 0)
		err = -EINPROGRESS;
	if (err != -EINPROGRESS && err != -EINTR)
		return err;
	c->under_way = true;
	/* Near peers have answered by now; but who does not wait is told what connect(2) said. */
	struct pollfd p = { fd, POLLOUT, 0 };
	if (atomic_load_explicit(&s->timeout_ns, memory_order_relaxed) == 0 || poll(&p, 1, 0) <= 0)
		return -EAGAIN;
	return connect_result(s, fd, c->to);
}

static int connect_quietly(chime_sock *s, const chime_addr *to)
{
	int fd = chime__sock_enter(s);
	if (fd < 0)
		return fd;
	struct chime__call c = { .op = op_connect, .events = POLLOUT, .to = to };
	int err = (int)chime__sock_run(s, fd, &c);
	if (err == 0 || c.under_way)
		atomic_store_explicit(&s->untold, 0, memory_order_relaxed); /* of the connection before */
	chime__sock_leave(s);
	return err == -EAGAIN && c.under_way ? -EINPROGRESS : err;
}

int chime_connect(chime_sock *s, const chime_addr *to)
{
	int err = connect_quietly(s, to);
	return err < 0 ? chime__sock_failed(s, ACT_CONNECT, err, to) : 0;
}

int chime_connect_ex(chime_sock *s, const chime_addr *to)
{
	int err = chime_connect(s, to);
	if (err == CHIME_ETIMEOUT)
		return EAGAIN;
	return err == CHIME_ECLOSED ? EBADF : -err;
}

/* ---- names ---- */

typedef int name_fn(int fd, struct sockaddr *sa, socklen_t *len);

static int name_of(chime_sock *s, enum chime__act act, name_fn *name, chime_addr *out)
{
	chime_addr a;
	a.len = sizeof(a.u);
	int fd = chime__sock_enter(s);
	if (fd < 0)
		return chime__sock_failed(s, act, fd, NULL);
	int err = name(fd, &a.u.sa, &a.len) < 0 ? -errno : 0;
	chime__sock_leave(s);
	if (err == 0)
		err = chime_addr_from(out, &a.u.sa, a.len);
	return err < 0 ? chime__sock_failed(s, act, err, NULL) : 0;
}

static int own_name(int fd, struct sockaddr *sa, socklen_t *len)
{
	return getsockname(fd, sa, len);
}

static int peer_name(int fd, struct sockaddr *sa, socklen_t *len)
{
	return getpeername(fd, sa, len);
}

int chime_getsockname(chime_sock *s, chime_addr *out)
{
	return name_of(s, ACT_GETSOCKNAME, own_name, out);
}

int chime_getpeername(chime_sock *s, chime_addr *out)
{
	return name_of(s, ACT_GETPEERNAME, peer_name, out);
}
