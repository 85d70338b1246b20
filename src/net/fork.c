/* What a child of fork(2) must forget: calls of threads that it does not have, their locks, and the parent's wake descriptors. */
#include "net/closer.h"
#include "net/lookup.h"
#include "net/sock.h"

#include <unistd.h>

_Atomic uint32_t chime__fork_generation;

static pthread_mutex_t renew_lock = PTHREAD_MUTEX_INITIALIZER;

static void forked(void)
{
	atomic_fetch_add_explicit(&chime__fork_generation, 1, memory_order_relaxed);
	pthread_mutex_init(&renew_lock, NULL);
	chime__interrupted_forked();
	chime__lookup_forked();
	chime__closer_forked();
}

static __attribute__((constructor)) void watch_forks(void)
{
	pthread_atfork(NULL, NULL, forked);
}

void chime__sock_renew(struct chime_sock *s)
{
	uint32_t now = atomic_load_explicit(&chime__fork_generation, memory_order_relaxed);
	pthread_mutex_lock(&renew_lock);
	if (atomic_load_explicit(&s->generation, memory_order_relaxed) != now) {
		int wake = atomic_exchange(&s->wake, -1);
		if (wake >= 0)
			close(wake); /* the parent keeps his */
		atomic_fetch_and(&s->calls, SOCK_CLOSED);
		pthread_mutex_init(&s->accept_lock, NULL);
		pthread_mutex_init(&s->about_lock, NULL);
		atomic_store_explicit(&s->generation, now, memory_order_release);
	}
	pthread_mutex_unlock(&renew_lock);
}
