/* One thread's loop: the order of a turn. */
#include "loop/loop.h"

#include <assert.h>
#include <errno.h>

int chime__loop_init(struct loop *lp, const struct backend *backend, void *arg)
{
	*lp = (struct loop){ .backend = backend };
	int err = backend->probe(&lp->caps);
	if (err == 0)
		err = backend->open(lp, arg);
	if (err < 0)
		return err;
	lp->later_end = &lp->later;
	lp->posted_end = &lp->posted;
	pthread_mutex_init(&lp->lock, NULL);
	lp->now_ns = backend->mono(lp);
	chime__timer_init(&lp->timers, lp->now_ns);
	return 0;
}

/* Runs what is in *list, and what is added to it meanwhile. */
static void run_tasks(struct loop *lp, struct loop_task *list)
{
	while (list) {
		struct loop_task *t = list;
		list = t->next;
		t->next = NULL;
		t->run(lp, t);
	}
}

static void run_posted(struct loop *lp)
{
	/* The unlocked look is enough: a post that it misses has woken the loop for the next turn. */
	if (!__atomic_load_n(&lp->posted, __ATOMIC_ACQUIRE))
		return;
	pthread_mutex_lock(&lp->lock);
	struct loop_task *list = lp->posted;
	__atomic_store_n(&lp->posted, NULL, __ATOMIC_RELAXED);
	lp->posted_end = &lp->posted;
	pthread_mutex_unlock(&lp->lock);
	run_tasks(lp, list);
}

static void run_later(struct loop *lp)
{
	while (lp->later) {
		struct loop_task *list = lp->later;
		lp->later = NULL;
		lp->later_end = &lp->later;
		run_tasks(lp, list);
	}
}

#define SPIN_FAILED_MAX 6 /* then one turn in 64 looks */

/*
 * Looks for work without sleeping, for spin_ns at most. After looking in vain, the next 1, 3, 7 ... turns sleep at once, until
 * a look finds something again: whoever is nearly idle gives up the core.
 */
static int spin(struct loop *lp, int64_t limit_ns)
{
	if (lp->spin_failed && lp->turns & ((1u << lp->spin_failed) - 1))
		return 0;
	int64_t until = lp->backend->mono(lp) + (limit_ns >= 0 && limit_ns < lp->spin_ns ? limit_ns : lp->spin_ns);
	int n;
	do
		n = lp->backend->wait(lp, 0);
	while (n == 0 && lp->now_ns < until);
	if (n > 0)
		lp->spin_failed = 0;
	else if (lp->spin_failed < SPIN_FAILED_MAX)
		lp->spin_failed++;
	return n;
}

#define LATE_NS TIMER_TICK_NS /* later than a timer may be anyway */
#define LOOKS 256

/*
 * A wait brings a part of what is there, and one that a signal ends brings nothing. For a loop that was held up (by its machine, or by
 * somebody's call) that would not do: timers would then run before what came long before their time, and take whoever spoke for silent.
 * So turns without timers come first, until nothing more is there.
 */
static int catch_up(struct loop *lp)
{
	int n = 1;
	for (int looks = 0; looks < LOOKS && (n > 0 || n == -EINTR); looks++) {
		run_posted(lp);
		run_later(lp);
		n = lp->backend->wait(lp, 0);
	}
	return n;
}

static bool held_up(struct loop *lp, int64_t last_ns, int64_t limit_ns)
{
	return lp->timers.count && limit_ns >= 0 && lp->now_ns - last_ns > limit_ns + LATE_NS &&
	       chime__timer_next(&lp->timers, lp->now_ns) == 0;
}

int chime__loop_turn(struct loop *lp, int64_t limit_ns)
{
	int64_t last_ns = lp->now_ns;
	int64_t next_ns = lp->timers.count ? chime__timer_next(&lp->timers, lp->backend->mono(lp)) : -1;
	if (next_ns >= 0 && (limit_ns < 0 || next_ns < limit_ns))
		limit_ns = next_ns;
	if (lp->later)
		limit_ns = 0;
	int n = lp->spin_ns && limit_ns ? spin(lp, limit_ns) : 0;
	if (n == 0)
		n = lp->backend->wait(lp, limit_ns);
	if ((n >= 0 || n == -EINTR) && held_up(lp, last_ns, limit_ns))
		n = catch_up(lp);
	if (n < 0 && n != -EINTR)
		return n;
	lp->turns++;
	chime__timer_run(&lp->timers, lp->now_ns);
	run_posted(lp);
	run_later(lp);
	return 0;
}

bool chime__loop_close(struct loop *lp)
{
	pthread_mutex_lock(&lp->lock);
	bool none = !lp->posted;
	lp->closed |= none;
	pthread_mutex_unlock(&lp->lock);
	return none;
}

void chime__loop_fini(struct loop *lp)
{
	pthread_mutex_lock(&lp->lock);
	lp->closed = true;
	pthread_mutex_unlock(&lp->lock);
	run_posted(lp);
	run_later(lp);
	lp->backend->shut(lp);
	pthread_mutex_destroy(&lp->lock);
}

int chime__loop_post_from_any(struct loop *lp, struct loop_task *task)
{
	task->next = NULL;
	pthread_mutex_lock(&lp->lock);
	if (lp->closed) {
		pthread_mutex_unlock(&lp->lock);
		return -ECANCELED;
	}
	if (lp->posted_end == &lp->posted)
		__atomic_store_n(&lp->posted, task, __ATOMIC_RELEASE);
	else
		*lp->posted_end = task;
	lp->posted_end = &task->next;
	/* Under the lock, so that the loop cannot be gone before it is woken. */
	lp->backend->wake(lp);
	pthread_mutex_unlock(&lp->lock);
	return 0;
}

void chime__loop_later(struct loop *lp, struct loop_task *task)
{
	task->next = NULL;
	*lp->later_end = task;
	lp->later_end = &task->next;
}
