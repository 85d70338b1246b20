/* Threads that close what a worker's thread would have to wait for. */
#include "net/closer.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLOSERS 32 /* threads at once: peers that stop reading can make so many wait */
#define STACK (64 * 1024)

struct closing {
	struct closing *next;
	int fd;
	bool orderly;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct closing *first, **end = &first;
static unsigned closers;

bool chime__close_waits(int fd)
{
	int family = 0;
	struct sockaddr_storage peer;
	socklen_t len = sizeof family, peer_len = sizeof peer;
	struct pollfd p = { fd, POLLOUT, 0 };
	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len) == 0 && family == AF_TIPC &&
	       getpeername(fd, (struct sockaddr *)&peer, &peer_len) == 0 && poll(&p, 1, 0) <= 0;
}

static void *close_all(void *arg)
{
	struct closing *c;
	(void)arg;
	for (;;) {
		pthread_mutex_lock(&lock);
		c = first;
		if (!c)
			closers--;
		else if (!(first = c->next))
			end = &first;
		pthread_mutex_unlock(&lock);
		if (!c)
			return NULL;
		if (c->orderly)
			shutdown(c->fd, SHUT_RDWR);
		close(c->fd);
		free(c);
	}
}

/* Another thread, all signals blocked. With the lock. Whether there is one. */
static bool add_closer(void)
{
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all, old;
	if (closers == CLOSERS)
		return true;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	closers += pthread_create(&thread, &attr, close_all, NULL) == 0;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return closers > 0;
}

static bool leave_to_closer(int fd, bool orderly)
{
	struct closing *c = malloc(sizeof *c);
	if (!c)
		return false;
	*c = (struct closing){ NULL, fd, orderly };
	pthread_mutex_lock(&lock);
	bool taken = add_closer();
	if (taken) {
		*end = c;
		end = &c->next;
	}
	pthread_mutex_unlock(&lock);
	if (!taken)
		free(c);
	return taken;
}

int chime__close(int fd, bool reset, bool waits)
{
	if (reset) {
		struct linger now = { 1, 0 };
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
	}
	if (waits && leave_to_closer(fd, !reset))
		return 0;
	return close(fd) < 0 ? -errno : 0;
}

int chime__shutdown(int fd, int how)
{
	if (how == SHUT_RDWR && chime__close_waits(fd))
		return 0;
	return shutdown(fd, how) < 0 ? -errno : 0;
}

void chime__closer_forked(void)
{
	pthread_mutex_init(&lock, NULL);
	first = NULL;
	end = &first;
	closers = 0;
}
