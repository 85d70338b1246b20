/* A unix socket's file: bound without a moment of too many permissions, replaced only when dead, removed only when ours. */
#include "server/path.h"

#include "server/holder.h"

#include <chime/clock.h>
#include <chime/error.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TRIES 16                /* binds, while others come and go on the path */
#define LOCK_NS (1 * CHIME_SEC) /* others hold the lock for some system calls only */

enum found {
	FOUND_NOTHING,
	FOUND_ALIVE,
	FOUND_STALE,
	FOUND_OTHER, /* no socket */
	FOUND_HIDDEN /* cannot be told */
};

struct place {
	chime_addr at;
	char path[sizeof((struct sockaddr_un *)0)->sun_path + 1];
	char dir[sizeof((struct sockaddr_un *)0)->sun_path + 1];
	char *why;
	size_t why_size;
};

static void place_init(struct place *p, const char *path, size_t len)
{
	memcpy(p->path, path, len);
	p->path[len] = 0;
	const char *slash = strrchr(p->path, '/');
	size_t dir_len = slash ? (size_t)(slash - p->path) : 0;
	if (dir_len)
		memcpy(p->dir, p->path, dir_len);
	else
		p->dir[dir_len++] = slash ? '/' : '.';
	p->dir[dir_len] = 0;
}

static int say(const struct place *p, int err, const char *cause)
{
	char text[CHIME_ADDR_TEXT];
	chime_addr_print(&p->at, text, sizeof text);
	if (p->why_size)
		snprintf(p->why, p->why_size, "bind %s: %s", text, cause);
	return err;
}

/* The cause of a failed bind, with what the directory has to do with it. */
static int say_error(const struct place *p, int err)
{
	char cause[300];
	struct stat st;
	if (err == -ENOENT || (err == -ENOTDIR && stat(p->dir, &st) < 0))
		snprintf(cause, sizeof cause, "the directory %s does not exist", p->dir);
	else if (err == -ENOTDIR)
		snprintf(cause, sizeof cause, "%s is not a directory", p->dir);
	else if ((err == -EACCES || err == -EPERM) && stat(p->dir, &st) == 0)
		snprintf(cause, sizeof cause, "permission denied, the directory %s is not writable for user %u", p->dir,
			 (unsigned)geteuid());
	else
		snprintf(cause, sizeof cause, "%s", chime_strerror(err));
	return say(p, err, cause);
}

/* A listener says who it is to whoever connects; this it notices, so it is asked only when /proc does not know. */
static void ask_listener(struct holder *h, const chime_addr *at)
{
	static const int types[] = { SOCK_STREAM, SOCK_SEQPACKET };
	for (unsigned i = 0; !h->pid && i < 2; i++) {
		struct ucred cred;
		socklen_t len = sizeof cred;
		int fd = socket(AF_UNIX, types[i] | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (fd < 0)
			return;
		if (connect(fd, &at->u.sa, at->len) == 0 && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 &&
		    cred.pid > 0) {
			h->pid = cred.pid;
			chime__holder_name(h);
		}
		close(fd);
	}
}

/* 0: it is worth another try. */
static int say_alive(const struct place *p, int64_t *until_ns)
{
	char held[128], cause[160];
	struct holder h;
	chime__holder_of_unix(&h, &p->at);
	if (chime__holder_goes(&h, until_ns))
		return 0;
	if (!h.pid)
		ask_listener(&h, &p->at);
	chime__holder_print(&h, held, sizeof held);
	snprintf(cause, sizeof cause, "address in use, %s", held);
	return say(p, -EADDRINUSE, cause);
}

static int say_other(const struct place *p)
{
	struct stat st;
	const char *kind = "a file";
	if (lstat(p->path, &st) == 0)
		kind = S_ISDIR(st.st_mode)   ? "a directory"
		       : S_ISLNK(st.st_mode) ? "a symbolic link"
		       : S_ISREG(st.st_mode) ? "a plain file"
					     : "a file that is no socket";
	char cause[80];
	snprintf(cause, sizeof cause, "%s stands there, which is never replaced", kind);
	return say(p, -EEXIST, cause);
}

static enum found look(const struct place *p)
{
	struct stat st;
	if (lstat(p->path, &st) < 0)
		return errno == ENOENT ? FOUND_NOTHING : FOUND_HIDDEN;
	if (!S_ISSOCK(st.st_mode))
		return FOUND_OTHER;
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return FOUND_HIDDEN;
	int err = connect(fd, &p->at.u.sa, p->at.len) < 0 ? errno : 0;
	close(fd);
	switch (err) {
	case ECONNREFUSED:
		return FOUND_STALE;
	case ENOENT:
		return FOUND_NOTHING;
	case EACCES: /* connecting is not ours to do; whether it is alive stays open */
		return FOUND_HIDDEN;
	default:
		return FOUND_ALIVE;
	}
}

/* The directory's lock: a descriptor, or -errno. */
static int lock_dir(const char *dir)
{
	int64_t deadline_ns = chime_now_mono() + LOCK_NS;
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		int err = -errno;
		if ((err != -EWOULDBLOCK && err != -EINTR) || chime_now_mono() > deadline_ns) {
			close(fd);
			return err;
		}
		nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
	}
	return fd;
}

/* Removes the file if, under the lock, it is still stale. 0 also where nothing is there any more. */
static int remove_stale(const struct place *p)
{
	int err = 0, lock = lock_dir(p->dir);
	if (lock < 0) {
		char cause[160];
		snprintf(cause, sizeof cause,
			 "a stale socket file stands there, and the directory cannot be locked to replace it (%s)",
			 chime_strerror(lock));
		return say(p, -EADDRINUSE, cause);
	}
	if (look(p) == FOUND_STALE && unlink(p->path) < 0 && errno != ENOENT)
		err = say_error(p, -errno);
	close(lock);
	return err;
}

/* Pins the file that was just bound, and gives it the bits of mode that the umask took. */
static int claim_file(struct path_claim *out, const struct place *p, int64_t mode)
{
	struct stat st;
	char link[40];
	out->pin = open(p->path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (out->pin < 0)
		return -errno;
	int err = fstat(out->pin, &st) < 0 ? -errno : !S_ISSOCK(st.st_mode) ? -EEXIST : 0;
	if (err == 0) {
		out->dev = st.st_dev;
		out->ino = st.st_ino;
	}
	if (err == 0 && mode >= 0 && (st.st_mode & 07777) != (mode_t)mode) {
		/* By way of the pin: a link that was put there meanwhile is not followed. */
		snprintf(link, sizeof link, "/proc/self/fd/%d", out->pin);
		if (chmod(link, (mode_t)mode) < 0)
			err = -errno;
	}
	return err;
}

int chime__path_bind(struct path_claim *out, int fd, const chime_addr *at, int64_t mode, char *why, size_t why_size)
{
	struct place p = { .at = *at, .why = why, .why_size = why_size };
	size_t len = at->len - offsetof(struct sockaddr_un, sun_path);
	*out = (struct path_claim){ .pin = -1 };
	int64_t until_ns = 0;
	place_init(&p, at->u.un.sun_path, strnlen(at->u.un.sun_path, len));
	/* The file gets the descriptor's mode less the umask (unix_bind() in Linux). */
	if (mode >= 0 && fchmod(fd, (mode_t)mode) < 0)
		return say(&p, -errno, chime_strerror(-errno));
	for (unsigned i = 0; i < TRIES; i++) {
		if (bind(fd, &at->u.sa, at->len) == 0) {
			int err = claim_file(out, &p, mode);
			if (err == 0)
				return 0;
			if (out->pin >= 0)
				chime__path_remove(out, p.path);
			else
				unlink(p.path); /* bound a moment ago, by us alone; no descriptor was left to pin it */
			return say(&p, err, chime_strerror(err));
		}
		if (errno != EADDRINUSE)
			return say_error(&p, -errno);
		enum found found = look(&p);
		int err = 0;
		if (found == FOUND_ALIVE) {
			if ((err = say_alive(&p, &until_ns)) < 0)
				return err;
			i--; /* its time is limited, not its tries */
		}
		if (found == FOUND_OTHER)
			return say_other(&p);
		if (found == FOUND_HIDDEN)
			return say(&p, -EADDRINUSE, "address in use, by a socket file that we may not connect to");
		if (found == FOUND_STALE && (err = remove_stale(&p)) < 0)
			return err;
	}
	return say(&p, -EADDRINUSE, "address in use, and its file keeps changing");
}

void chime__path_remove(struct path_claim *claim, const char *path)
{
	struct stat st;
	char *dir = strdup(path), *slash = dir ? strrchr(dir, '/') : NULL;
	if (slash)
		slash[slash == dir] = 0;
	/* Locked, so that nobody replaces it between the look and the removal. */
	int lock = dir ? lock_dir(slash ? dir : ".") : -1;
	if (lstat(path, &st) == 0 && st.st_dev == claim->dev && st.st_ino == claim->ino)
		unlink(path);
	if (lock >= 0)
		close(lock);
	free(dir);
	close(claim->pin);
	*claim = (struct path_claim){ .pin = -1 };
}
