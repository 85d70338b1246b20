/* A file over a stream: sendfile(2), or reading and sending where that cannot. */
#include "net/sock.h"

#include <chime/msg.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/sendfile.h>
#include <unistd.h>

#define AT_ONCE ((int64_t)1 << 30) /* sendfile(2) takes at most 2 GiB less a page */

struct transfer {
	int file;
	int64_t offset;
	int64_t left; /* < 0: all there is */
	int64_t sent;
	bool seekable;
};

/* Where sendfile(2) cannot. */
struct reading {
	struct transfer *t;
	char piece[16384];
};

static size_t chunk_of(const struct transfer *t, int64_t most)
{
	return (size_t)(t->left >= 0 && t->left < most ? t->left : most);
}

static void account(struct transfer *t, ssize_t n)
{
	t->sent += n;
	if (t->left >= 0)
		t->left -= n;
}

/* sendfile(2) knows no MSG_DONTWAIT: O_NONBLOCK is set for the while of it, as connect does. */
static ssize_t op_sendfile(struct chime_sock *s, int fd, struct chime__call *c)
{
	struct transfer *t = c->buf;
	off64_t at = t->offset + t->sent;
	int begun = chime__nonblock_begin(fd);
	if (begun < 0)
		return begun;
	ssize_t n = sendfile64(fd, t->file, &at, chunk_of(t, AT_ONCE));
	int err = errno;
	chime__nonblock_end(s, fd, begun);
	return n < 0 ? -err : n;
}

static int by_sendfile(struct chime_sock *s, int fd, struct chime__call *c, struct transfer *t)
{
	while (t->left != 0) {
		ssize_t n = chime__sock_run(s, fd, c);
		if (n <= 0)
			return (int)n;
		account(t, n);
	}
	return 0;
}

static ssize_t op_send(struct chime_sock *s, int fd, struct chime__call *c)
{
	(void)s;
	ssize_t n = send(fd, c->buf, c->len, c->flags);
	return n < 0 ? -errno : n;
}

/* Reads a piece, from where it stands if it has no positions; then it may be a pipe, whose writer lets us wait. */
static ssize_t op_read(struct chime_sock *s, int file, struct chime__call *c)
{
	struct reading *g = c->buf;
	const struct transfer *t = g->t;
	struct pollfd p = { file, POLLIN, 0 };
	size_t len = chunk_of(t, sizeof g->piece);
	(void)s;
	int ready = t->seekable ? 1 : poll(&p, 1, 0);
	if (ready <= 0)
		return ready < 0 ? -errno : -EAGAIN;
	ssize_t n = t->seekable ? pread64(file, g->piece, len, t->offset + t->sent) : read(file, g->piece, len);
	return n < 0 ? -errno : n;
}

static int by_reading(struct chime_sock *s, int fd, struct chime__call *c, struct reading *g)
{
	struct transfer *t = g->t;
	while (t->left != 0) {
		c->op = op_read;
		c->events = POLLIN;
		c->buf = g;
		ssize_t got = chime__sock_run(s, t->file, c);
		if (got <= 0)
			return (int)got;
		c->op = op_send;
		chime__call_flags(c, MSG_NOSIGNAL, POLLOUT);
		for (ssize_t done = 0; done < got;) {
			c->buf = g->piece + done;
			c->len = (size_t)(got - done);
			ssize_t n = chime__sock_run(s, fd, c);
			if (n < 0)
				return (int)n;
			done += n;
			account(t, n);
		}
	}
	return 0;
}

/* What sendfile(2) says of files that it cannot read; others, of sockets too, are the answer. */
static bool cannot_map(int err)
{
	return err == -EINVAL || err == -ENOSYS || err == -ESPIPE || err == -EOVERFLOW || err == -EOPNOTSUPP;
}

static int transfer(struct chime_sock *s, int fd, struct transfer *t)
{
	struct chime__call c = { .op = op_sendfile, .buf = t, .events = POLLOUT };
	t->seekable = lseek64(t->file, 0, SEEK_CUR) >= 0;
	if (!t->seekable && errno != ESPIPE)
		return -errno;
	if (!t->seekable && t->offset != 0)
		return -ESPIPE;
	/* The end of a pipe that is written to is never ready to be read: it would be waited for. */
	int flags = t->seekable ? 0 : fcntl(t->file, F_GETFL);
	if (flags < 0 || (flags & O_ACCMODE) == O_WRONLY)
		return flags < 0 ? -errno : -EBADF;
	int err = t->seekable ? by_sendfile(s, fd, &c, t) : -ESPIPE;
	if (err < 0 && t->sent == 0 && cannot_map(err)) {
		struct reading g;
		g.t = t;
		err = by_reading(s, fd, &c, &g);
	}
	if (t->seekable && lseek64(t->file, t->offset + t->sent, SEEK_SET) < 0 && err == 0)
		err = -errno;
	return err;
}

int chime_sendfile(chime_sock *s, int file, int64_t offset, int64_t count, int64_t *sent)
{
	struct transfer t = { file, offset, count, 0, false };
	sigset_t pipe, old, pending;
	int err, fd = -1;
	if (s->type != SOCK_STREAM || offset < 0 || chime_timeout(s) == 0)
		err = -EINVAL;
	else
		err = fd = chime__sock_enter(s);
	if (fd >= 0) {
		/* sendfile(2) knows no MSG_NOSIGNAL either: what it raises is taken back, unless it was there before. */
		sigemptyset(&pipe);
		sigaddset(&pipe, SIGPIPE);
		sigpending(&pending);
		pthread_sigmask(SIG_BLOCK, &pipe, &old);
		err = transfer(s, fd, &t);
		if (err == -EPIPE && !sigismember(&pending, SIGPIPE)) {
			struct timespec now = { 0, 0 };
			while (sigtimedwait(&pipe, NULL, &now) < 0 && errno == EINTR)
				;
		}
		pthread_sigmask(SIG_SETMASK, &old, NULL);
		chime__sock_leave(s);
	}
	if (sent)
		*sent = t.sent;
	return err < 0 ? chime__sock_failed(s, ACT_SENDFILE, err, NULL) : 0;
}
