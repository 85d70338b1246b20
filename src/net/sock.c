/* A chime_sock's life: made, timed, closed, freed; and the sentence of its last failure. */
#include "net/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

static _Atomic int64_t default_timeout_ns = CHIME_FOREVER;

int chime_set_default_timeout(int64_t timeout_ns)
{
	if (timeout_ns < CHIME_FOREVER)
		return -EINVAL;
	atomic_store(&default_timeout_ns, timeout_ns);
	return 0;
}

int64_t chime_default_timeout(void)
{
	return atomic_load(&default_timeout_ns);
}

int chime__set_nonblock(int fd, bool on)
{
	int value = on;
	return ioctl(fd, FIONBIO, &value) < 0 ? -errno : 0;
}

int chime__nonblock_begin(int fd)
{
	int flags = fcntl(fd, F_GETFL);
	if (flags < 0)
		return -errno;
	if (flags & O_NONBLOCK)
		return 0;
	int err = chime__set_nonblock(fd, true);
	return err < 0 ? err : 1;
}

/* Another thread may have set a limit meanwhile, whose O_NONBLOCK is not ours to take away. */
void chime__nonblock_end(struct chime_sock *s, int fd, int begun)
{
	if (begun != 1)
		return;
	chime__set_nonblock(fd, false);
	if (atomic_load(&s->timeout_ns) >= 0)
		chime__set_nonblock(fd, true);
}

/* ---- making ---- */

struct chime_sock *chime__sock_new(int fd, int family, int type, int proto, int64_t timeout_ns)
{
	struct chime_sock *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	atomic_init(&s->fd, fd);
	atomic_init(&s->timeout_ns, timeout_ns);
	atomic_init(&s->wake, -1);
	atomic_init(&s->generation, atomic_load_explicit(&chime__fork_generation, memory_order_relaxed));
	s->family = family;
	s->type = type;
	s->proto = proto;
	pthread_mutex_init(&s->accept_lock, NULL);
	pthread_mutex_init(&s->about_lock, NULL);
	return s;
}

int chime_open(chime_sock **out, int family, int type, int proto)
{
	int64_t timeout_ns = chime_default_timeout();
	*out = NULL;
	if (type & (SOCK_NONBLOCK | SOCK_CLOEXEC))
		return -EINVAL;
	int fd = socket(family, type | SOCK_CLOEXEC | (timeout_ns >= 0 ? SOCK_NONBLOCK : 0), proto);
	if (fd < 0)
		return -errno;
	*out = chime__sock_new(fd, family, type, proto, timeout_ns);
	if (*out)
		return 0;
	close(fd);
	return -ENOMEM;
}

static int fd_option(int fd, int name, int *value)
{
	socklen_t len = sizeof(*value);
	return getsockopt(fd, SOL_SOCKET, name, value, &len) < 0 ? -errno : 0;
}

int chime_from_fd(chime_sock **out, int fd)
{
	int family, type, proto, err;
	int64_t timeout_ns = chime_default_timeout();
	*out = NULL;
	if ((err = fd_option(fd, SO_DOMAIN, &family)) < 0 || (err = fd_option(fd, SO_TYPE, &type)) < 0 ||
	    (err = fd_option(fd, SO_PROTOCOL, &proto)) < 0)
		return err;
	if (timeout_ns >= 0) {
		if ((err = chime__set_nonblock(fd, true)) < 0)
			return err;
	} else {
		int flags = fcntl(fd, F_GETFL);
		if (flags < 0)
			return -errno;
		if (flags & O_NONBLOCK)
			timeout_ns = 0;
	}
	*out = chime__sock_new(fd, family, type, proto, timeout_ns);
	return *out ? 0 : -ENOMEM;
}

int chime_socketpair(chime_sock *out[2], int family, int type, int proto)
{
	int64_t timeout_ns = chime_default_timeout();
	int fd[2];
	out[0] = out[1] = NULL;
	if (type & (SOCK_NONBLOCK | SOCK_CLOEXEC))
		return -EINVAL;
	if (socketpair(family, type | SOCK_CLOEXEC | (timeout_ns >= 0 ? SOCK_NONBLOCK : 0), proto, fd) < 0)
		return -errno;
	for (int i = 0; i < 2; i++)
		out[i] = chime__sock_new(fd[i], family, type, proto, timeout_ns);
	if (out[0] && out[1])
		return 0;
	for (int i = 0; i < 2; i++) {
		if (out[i])
			chime_free(&out[i]);
		else
			close(fd[i]);
	}
	return -ENOMEM;
}

int chime_dup(chime_sock *s, chime_sock **out)
{
	*out = NULL;
	int fd = chime__sock_enter(s);
	if (fd < 0)
		return chime__sock_failed(s, ACT_DUP, fd, NULL);
	int err = 0, copy = chime_fd_dup(fd);
	if (copy < 0) {
		err = copy;
	} else {
		*out = chime__sock_new(copy, s->family, s->type, s->proto, chime_timeout(s));
		if (!*out) {
			close(copy);
			err = -ENOMEM;
		}
	}
	chime__sock_leave(s);
	return err < 0 ? chime__sock_failed(s, ACT_DUP, err, NULL) : 0;
}

int chime_fd_dup(int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return copy < 0 ? -errno : copy;
}

/* ---- ending ---- */

int chime_fd_close(int fd)
{
	return close(fd) < 0 && errno != ECONNRESET && errno != EINTR ? -errno : 0;
}

int chime__sock_finish(struct chime_sock *s)
{
	int fd = atomic_exchange(&s->fd, -1), wake = atomic_exchange(&s->wake, -1), err = 0;
	if (fd >= 0)
		err = chime_fd_close(fd);
	if (wake >= 0)
		close(wake);
	return err;
}

int chime_close(chime_sock *s)
{
	chime__sock_own(s);
	/* Counted in, so that the wake descriptor stays while it is written to. */
	atomic_fetch_add(&s->calls, 1);
	if (!(atomic_fetch_or(&s->calls, SOCK_CLOSED) & SOCK_CLOSED))
		chime__sock_wake(s);
	int err = chime__sock_leave(s);
	return err < 0 ? chime__sock_failed(s, ACT_CLOSE, err, NULL) : 0;
}

int chime_detach(chime_sock *s)
{
	chime__sock_own(s);
	atomic_fetch_add(&s->calls, 1);
	bool ours = !(atomic_fetch_or(&s->calls, SOCK_CLOSED) & SOCK_CLOSED);
	int fd = ours ? atomic_exchange(&s->fd, -1) : -1;
	if (ours)
		chime__sock_wake(s);
	chime__sock_leave(s);
	return fd >= 0 ? fd : chime__sock_failed(s, ACT_DETACH, CHIME_ECLOSED, NULL);
}

void chime_free(chime_sock **ps)
{
	if (!ps || !*ps)
		return;
	struct chime_sock *s = *ps;
	chime_close(s);
	pthread_mutex_destroy(&s->accept_lock);
	pthread_mutex_destroy(&s->about_lock);
	free(s);
	*ps = NULL;
}

/* ---- what it is ---- */

int chime_fileno(const chime_sock *s)
{
	return chime__sock_is_closed(s) ? -1 : atomic_load(&s->fd);
}

int chime_family(const chime_sock *s)
{
	return s->family;
}

int chime_type(const chime_sock *s)
{
	return s->type;
}

int chime_proto(const chime_sock *s)
{
	return s->proto;
}

/* ---- the time limit ---- */

int chime_set_timeout(chime_sock *s, int64_t timeout_ns)
{
	if (timeout_ns < CHIME_FOREVER)
		return chime__sock_failed(s, ACT_SET_TIMEOUT, -EINVAL, NULL);
	int fd = chime__sock_enter(s);
	if (fd < 0)
		return chime__sock_failed(s, ACT_SET_TIMEOUT, fd, NULL);
	int64_t before = atomic_exchange(&s->timeout_ns, timeout_ns); /* in front: chime__nonblock_end() looks at it */
	int err = chime__set_nonblock(fd, timeout_ns >= 0);
	if (err < 0)
		atomic_store(&s->timeout_ns, before);
	chime__sock_leave(s);
	return err < 0 ? chime__sock_failed(s, ACT_SET_TIMEOUT, err, NULL) : 0;
}

int64_t chime_timeout(const chime_sock *s)
{
	return atomic_load(&s->timeout_ns);
}

int chime_set_blocking(chime_sock *s, bool blocking)
{
	return chime_set_timeout(s, blocking ? CHIME_FOREVER : 0);
}

bool chime_blocking(const chime_sock *s)
{
	return chime_timeout(s) != 0;
}

/* ---- the last failure ---- */

static const char *const act_names[ACTS] = {
	[ACT_BIND] = "bind",
	[ACT_LISTEN] = "listen",
	[ACT_ACCEPT] = "accept",
	[ACT_CONNECT] = "connect",
	[ACT_SHUTDOWN] = "shutdown",
	[ACT_GETSOCKNAME] = "getsockname",
	[ACT_GETPEERNAME] = "getpeername",
	[ACT_SEND] = "send",
	[ACT_SENDALL] = "sendall",
	[ACT_SENDTO] = "sendto",
	[ACT_RECV] = "recv",
	[ACT_RECVFROM] = "recvfrom",
	[ACT_RECV_EXACT] = "recv_exact",
	[ACT_SENDMSG] = "sendmsg",
	[ACT_RECVMSG] = "recvmsg",
	[ACT_SEND_FDS] = "send_fds",
	[ACT_RECV_FDS] = "recv_fds",
	[ACT_SEND_MANY] = "send_many",
	[ACT_RECV_MANY] = "recv_many",
	[ACT_SENDFILE] = "sendfile",
	[ACT_RECV_QUEUED] = "recv_queued",
	[ACT_TIMESTAMPING] = "timestamping",
	[ACT_JOIN_GROUP] = "join",
	[ACT_LEAVE_GROUP] = "leave",
	[ACT_GETSOCKOPT] = "getsockopt",
	[ACT_SETSOCKOPT] = "setsockopt",
	[ACT_SET_TIMEOUT] = "set_timeout",
	[ACT_SET_INHERITABLE] = "set_inheritable",
	[ACT_INHERITABLE] = "inheritable",
	[ACT_DUP] = "dup",
	[ACT_DETACH] = "detach",
	[ACT_CLOSE] = "close",
};

#define LAST_HAS_ADDRESS ((uint64_t)1 << 48)

/* Two numbers in one store, so that a failure (-EAGAIN is one, and a fast one) costs nearly nothing. */
int chime__sock_failed(struct chime_sock *s, enum chime__act act, int code, const chime_addr *about)
{
	uint64_t last = (uint64_t)act << 32 | (uint32_t)code;
	if (!about) {
		atomic_store_explicit(&s->last, last, memory_order_relaxed);
		return code;
	}
	chime__sock_own(s);
	pthread_mutex_lock(&s->about_lock);
	s->about = *about;
	atomic_store_explicit(&s->last, last | LAST_HAS_ADDRESS, memory_order_relaxed);
	pthread_mutex_unlock(&s->about_lock);
	return code;
}

size_t chime_last_error(const chime_sock *cs, char *buf, size_t size)
{
	struct chime_sock *s = (struct chime_sock *)(uintptr_t)cs; /* only the lock is written to */
	char text[CHIME_ADDR_TEXT] = "";
	chime__sock_own(s);
	pthread_mutex_lock(&s->about_lock);
	uint64_t last = atomic_load_explicit(&s->last, memory_order_relaxed);
	chime_addr about = s->about;
	pthread_mutex_unlock(&s->about_lock);
	if (last == 0) {
		if (size > 0)
			buf[0] = 0;
		return 0;
	}
	if (last & LAST_HAS_ADDRESS)
		chime_addr_print(&about, text, sizeof(text));
	int n = snprintf(buf, size, "%s%s%s: %s", act_names[last >> 32 & 0xffff], text[0] ? " " : "", text,
			 chime_strerror((int)(uint32_t)last));
	return n > 0 ? (size_t)n : 0;
}
