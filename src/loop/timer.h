/*
 * loop/timer.h - a hashed wheel of timers: starting and stopping cost the same however many there are.
 *
 * Ticks are 8 ms; a timer runs at the first tick at or after its time, never before it. The wheel has 4096 slots (32.8 s);
 * a timer for later stays in its slot for the rounds that it takes.
 */
#ifndef LOOP_TIMER_H
#define LOOP_TIMER_H

#include <chime/timer.h>

#define TIMER_TICK_NS (8 * CHIME_MSEC)
#define TIMER_SLOTS 4096

struct timer_wheel {
	uint64_t tick;                   /* the last one that has run */
	unsigned count;                  /* timers in the wheel */
	uint64_t used[TIMER_SLOTS / 64]; /* a bit for each slot that holds one */
	struct chime_timer *slot[TIMER_SLOTS];
};

void chime__timer_init(struct timer_wheel *w, int64_t now_ns);
/* at_ns is on the clock that run() is called with. A running timer moves. */
void chime__timer_start(struct timer_wheel *w, struct chime_timer *t, int64_t at_ns, chime_timer_fn *fn, void *arg);
/* Fine for one that does not run (zeroed, ended, stopped). */
void chime__timer_stop(struct timer_wheel *w, struct chime_timer *t);
static inline bool timer_running(const struct chime_timer *t)
{
	return t->link != NULL;
}
/* Runs what is due, in order of ticks; timers started meanwhile run at the next tick at the earliest. How many ran. */
unsigned chime__timer_run(struct timer_wheel *w, int64_t now_ns);
/* How long until something may be due: 0 or more; -1: nothing runs. */
int64_t chime__timer_next(const struct timer_wheel *w, int64_t now_ns);

#endif
