/* The helper thread of look-ups, and the wait for its answer. */
#include "net/lookup.h"
#include "net/sock.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

static _Atomic int threads;

void chime__lookup_forked(void)
{
	atomic_store(&threads, 0);
}

int64_t chime__time_left(int64_t deadline)
{
	if (deadline == CHIME_FOREVER)
		return CHIME_FOREVER;
	int64_t left = deadline - chime_now_mono();
	return left > 0 ? left : 0;
}

static void drop(struct chime__lookup *l)
{
	pthread_mutex_destroy(&l->lock);
	l->drop(l);
}

static void *lookup_run(void *arg)
{
	struct chime__lookup *l = arg;
	int code = l->run(l);
	pthread_mutex_lock(&l->lock);
	l->code = code;
	l->done = true;
	bool abandoned = l->abandoned;
	if (!abandoned)
		eventfd_write(l->ready, 1);
	pthread_mutex_unlock(&l->lock);
	atomic_fetch_sub(&threads, 1);
	if (abandoned)
		drop(l);
	return NULL;
}

/* Starts the thread, with every signal blocked: handlers are for the application's own threads. */
static int lookup_start(struct chime__lookup *l)
{
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all, old;
	if (atomic_fetch_add(&threads, 1) >= RESOLVE_THREADS) {
		atomic_fetch_sub(&threads, 1);
		return -EAGAIN;
	}
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, 512 * 1024);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int err = pthread_create(&thread, &attr, lookup_run, l);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (err != 0)
		atomic_fetch_sub(&threads, 1);
	return -err;
}

/* Waits for the thread's word. 0, CHIME_ETIMEOUT, or -EINTR if the hook says so. */
static int lookup_wait(int ready, int64_t deadline)
{
	struct pollfd p = { ready, POLLIN, 0 };
	for (;;) {
		int64_t left = chime__time_left(deadline);
		struct timespec ts = { left / CHIME_SEC, left % CHIME_SEC };
		int n = ppoll(&p, 1, left == CHIME_FOREVER ? NULL : &ts, NULL);
		if (n > 0)
			return 0;
		if (n == 0)
			return CHIME_ETIMEOUT;
		if (errno != EINTR)
			return -errno;
		if (chime__interrupted())
			return -EINTR;
	}
}

int chime__lookup_do(struct chime__lookup *l, int64_t deadline)
{
	pthread_mutex_init(&l->lock, NULL);
	l->ready = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int ready = l->ready, err = ready < 0 ? -errno : lookup_start(l);
	if (err < 0) {
		if (ready >= 0)
			close(ready);
		drop(l);
		return err;
	}
	err = lookup_wait(ready, deadline);
	pthread_mutex_lock(&l->lock);
	bool done = l->done;
	l->abandoned = true;
	pthread_mutex_unlock(&l->lock);
	close(ready);
	if (!done)
		return err; /* l is the thread's now */
	if (err == 0 || err == CHIME_ETIMEOUT)
		err = l->code;
	if (err < 0)
		drop(l);
	else
		pthread_mutex_destroy(&l->lock);
	return err;
}
