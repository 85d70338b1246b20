/*
 * loop/loop.h - one thread's loop: a backend, timers, posts from other threads, and what is put off to the end of a turn.
 */
#ifndef LOOP_LOOP_H
#define LOOP_LOOP_H

#include "loop/backend.h"
#include "loop/timer.h"

#include <pthread.h>

/* Something to run in the loop's thread: posted by any thread, or put off to the end of the turn by the loop's own. */
struct loop_task {
	struct loop_task *next;
	void (*run)(struct loop *lp, struct loop_task *task); /* may free the task */
};

struct loop {
	const struct backend *backend;
	void *impl; /* the backend's */
	struct backend_caps caps;
	int64_t now_ns; /* monotonic, as of the start of the turn: for limits, never for stamps */
	uint64_t turns;
	int64_t spin_ns;      /* how long a turn looks for work before it sleeps; 0: not at all */
	unsigned spin_failed; /* looks in vain in a row: the more, the fewer turns look */
	struct timer_wheel timers;
	struct loop_task *later, **later_end; /* run at the end of the turn */

	pthread_mutex_t lock; /* over what follows */
	struct loop_task *posted, **posted_end;
	bool closed; /* posts are refused */
};

/* arg is for the backend's open(). -errno. */
int chime__loop_init(struct loop *lp, const struct backend *backend, void *arg);
/* Runs what was posted; refuses what comes later. No operation may be under way. */
void chime__loop_fini(struct loop *lp);
/*
 * One turn: waits at most limit_ns (-1: none) for completions and timers, runs them, then posts, then what was put off. A loop that was
 * held up takes all that is there before it runs timers. 0 or -errno.
 */
int chime__loop_turn(struct loop *lp, int64_t limit_ns);

/* Refuses posts from here on, unless something is posted that has not run: then false, and a turn runs it. The loop's thread. */
bool chime__loop_close(struct loop *lp);

/* Runs the task in the loop's thread. Any thread. 0; -ECANCELED: the loop has ended. */
int chime__loop_post_from_any(struct loop *lp, struct loop_task *task);
/* At the end of this turn. The loop's thread. */
void chime__loop_later(struct loop *lp, struct loop_task *task);

static inline int op_submit(struct loop *lp, struct op *op)
{
	return lp->backend->submit(lp, op);
}
static inline void op_cancel(struct loop *lp, struct op *op)
{
	lp->backend->cancel(lp, op);
}
static inline bool op_running(const struct op *op)
{
	return op->state != 0;
}

#endif
