/*
 * net/lookup.h - the helper thread of look-ups: the C library's know no limit, so they run where the caller need not wait for them.
 */
#ifndef NET_LOOKUP_H
#define NET_LOOKUP_H

#include <chime/clock.h>

#include <pthread.h>

/* Look-ups under way at once in the process, those that nobody waits for any more included; more are -EAGAIN. */
#define RESOLVE_THREADS 256

/* The first member of a look-up on the heap; .run and .drop are the maker's. Caller and thread share it meanwhile. */
struct chime__lookup {
	int (*run)(struct chime__lookup *l);   /* in the thread: 0 or a code of ours */
	void (*drop)(struct chime__lookup *l); /* gives it back with what run made; in either thread */
	pthread_mutex_t lock;
	bool done;      /* the thread has its answer */
	bool abandoned; /* the caller has gone, and his descriptor with him */
	int ready;      /* eventfd: the thread's word to the caller */
	int code;
};

/*
 * Runs it, waits until the deadline (CHIME_FOREVER: none). 0: the answer stands in l, the caller's to .drop(). Else l is given back
 * (by the thread, where it is still asking): run's code, CHIME_ETIMEOUT, -EINTR (the hook says stop), -EAGAIN, -EMFILE.
 */
int chime__lookup_do(struct chime__lookup *l, int64_t deadline);

/* What is left until deadline (CHIME_FOREVER: there is none), never below 0. */
int64_t chime__time_left(int64_t deadline);

/* In a child of fork(2): its parent's look-ups are not its own. */
void chime__lookup_forked(void);

#endif
