/* The one waiting function of the library, and the interruption hook that it asks. */
#include "net/sock.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t hook_lock = PTHREAD_MUTEX_INITIALIZER;
static chime_interrupted_fn *hook;
static void *hook_arg;

void chime_set_interrupted(chime_interrupted_fn *fn, void *arg)
{
	pthread_mutex_lock(&hook_lock);
	hook = fn;
	hook_arg = arg;
	pthread_mutex_unlock(&hook_lock);
}

int chime__interrupted(void)
{
	pthread_mutex_lock(&hook_lock);
	chime_interrupted_fn *fn = hook;
	void *arg = hook_arg;
	pthread_mutex_unlock(&hook_lock);
	return fn && fn(arg) ? -EINTR : 0;
}

void chime__interrupted_forked(void)
{
	pthread_mutex_init(&hook_lock, NULL);
}

int64_t chime__deadline_after(int64_t limit_ns)
{
	int64_t now = chime_now_mono();
	return limit_ns > INT64_MAX - now ? INT64_MAX : now + limit_ns;
}

void chime__sock_wake(struct chime_sock *s)
{
	int wake = atomic_load(&s->wake);
	if (wake >= 0)
		eventfd_write(wake, 1);
}

/* The handle's wake descriptor, made when first needed; -1 if the system has none to give. */
static int wake_fd(struct chime_sock *s)
{
	int wake = atomic_load(&s->wake);
	if (wake >= 0)
		return wake;
	int made = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (made < 0)
		return -1;
	if (atomic_compare_exchange_strong(&s->wake, &wake, made))
		return made;
	close(made);
	return wake;
}

/*
 * A child that came about behind fork(2)'s back (_Fork(3), clone(2)) shares the wake descriptor, and woke us by closing
 * its copy of the handle: make it quiet again.
 */
static void calm(struct chime_sock *s, int wake)
{
	eventfd_t ignored;
	eventfd_read(wake, &ignored);
	if (chime__sock_is_closed(s))
		eventfd_write(wake, 1);
}

/* Where no wake descriptor could be had (-EMFILE), a close is noticed this late. */
#define BLIND_NS (50 * CHIME_MSEC)

/*
 * Sleeps until one of p is ready, or the deadline (INT64_MAX: none): poll's count, 0 at the deadline. A wake descriptor that is not there
 * is left out: a process that may have no more than one (RLIMIT_NOFILE) may not poll more either.
 */
static int sleep_until(struct chime_sock *s, struct pollfd *p, nfds_t n, int64_t left)
{
	struct timespec ts;
	bool blind = p[n - 1].fd < 0;
	do {
		int64_t slice = blind && left > BLIND_NS ? BLIND_NS : left;
		ts.tv_sec = slice / CHIME_SEC;
		ts.tv_nsec = slice % CHIME_SEC;
		int ready = ppoll(p, n - blind, slice == INT64_MAX ? NULL : &ts, NULL);
		if (ready < 0)
			return -errno;
		if (chime__sock_is_closed(s))
			return CHIME_ECLOSED;
		if (ready > 0)
			return ready;
		if (left != INT64_MAX)
			left -= slice;
	} while (blind && left > 0);
	return 0;
}

/*
 * Waits until fd is ready. left is INT64_MAX for no limit. Readiness that turned out false more than once (queued errors
 * that nobody reads, a full unix peer, a unix listener without room: poll reports these as ready for ever) is answered
 * by short naps in front, or we would spin.
 */
static int wait_ready(struct chime_sock *s, int fd, struct chime__call *c, int64_t left)
{
	struct pollfd p[2] = { { fd, c->events, 0 }, { wake_fd(s), POLLIN, 0 } };
	/* Looked at once the wake descriptor can be seen: whoever closes from here on writes to it. */
	if (chime__sock_is_closed(s))
		return CHIME_ECLOSED;
	if (c->false_ready > 1) {
		int64_t nap = (50 * CHIME_USEC) << (c->false_ready < 9 ? c->false_ready - 2 : 7);
		if (nap > left)
			nap = left;
		int woken = sleep_until(s, p + 1, 1, nap);
		if (woken < 0)
			return woken;
		if (woken > 0)
			calm(s, p[1].fd);
		if (left != INT64_MAX)
			left -= nap;
		if (poll(p, 1, 0) == 0)
			c->false_ready = 0; /* not for ever: another thread or process was faster */
	}
	for (;;) {
		int ready = sleep_until(s, p, 2, left);
		if (ready < 0)
			return ready;
		if (ready == 0)
			return CHIME_ETIMEOUT;
		if (p[0].revents)
			return 0;
		calm(s, p[1].fd);
	}
}

/* What is left of the call's limit, INT64_MAX if there is none; 0: it has passed. */
static int64_t left_of(struct chime_sock *s, struct chime__call *c)
{
	if (!c->timed) {
		c->timed = true;
		c->limit_ns = atomic_load_explicit(&s->timeout_ns, memory_order_relaxed);
		if (c->limit_ns > 0)
			c->deadline = chime__deadline_after(c->limit_ns);
		return c->limit_ns < 0 ? INT64_MAX : c->limit_ns;
	}
	if (c->limit_ns <= 0)
		return c->limit_ns < 0 ? INT64_MAX : 0;
	int64_t left = c->deadline - chime_now_mono();
	return left > 0 ? left : 0;
}

/* Asks the hook, which may fork: in the child the call under way is counted anew. */
static int ask_hook(struct chime_sock *s)
{
	uint32_t generation = atomic_load_explicit(&chime__fork_generation, memory_order_relaxed);
	int err = chime__interrupted();
	if (generation != atomic_load_explicit(&chime__fork_generation, memory_order_relaxed)) {
		chime__sock_own(s);
		atomic_fetch_add(&s->calls, 1);
	}
	return err;
}

ssize_t chime__sock_go_on(struct chime_sock *s, int fd, struct chime__call *c, ssize_t first)
{
	c->false_ready = 0;
	for (ssize_t n = first;; n = c->op(s, fd, c), c->false_ready++) {
		if (n == -EINTR && !c->partial && (n = ask_hook(s)) == 0)
			continue;
		if (n != -EAGAIN || c->no_wait)
			return n;
		bool again;
		do {
			int64_t left = left_of(s, c);
			if (left == 0)
				return c->limit_ns == 0 ? -EAGAIN : CHIME_ETIMEOUT;
			n = wait_ready(s, fd, c, left);
			again = n == -EINTR && !c->partial && (n = ask_hook(s)) == 0;
			/* A nap that was cut short counts as taken, or signals could keep us from ever trying again. */
		} while (again && c->false_ready < 2);
		if (n < 0)
			return n;
	}
}

void chime__sock_keep(struct chime_sock *s, ssize_t err)
{
	switch (err) {
	case -EINTR:
	case -EAGAIN:
	case -EINVAL: /* of the call, and met again by whoever calls so again */
	case -EFAULT:
	case -EBADF:
	case -ENOMEM:
	case -ENOTCONN:
	case -EOPNOTSUPP:
	case -EPIPE: /* of sending alone, and told again */
		return;
	default:
		if (err < 0 && err > -4096)
			atomic_store_explicit(&s->untold, (int)err, memory_order_relaxed);
	}
}

ssize_t chime__sock_run(struct chime_sock *s, int fd, struct chime__call *c)
{
	return chime__sock_go_on(s, fd, c, c->op(s, fd, c));
}
