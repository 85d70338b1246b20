/* The hashed timer wheel. */
#include "loop/timer.h"

#include "fault.h"

#include <assert.h>
#include <string.h>

#define MASK (TIMER_SLOTS - 1)

/* The first tick that is not before at_ns. */
static uint64_t tick_of(int64_t at_ns)
{
	uint64_t up = FAULT(TIMER_EARLY) ? 0 : TIMER_TICK_NS - 1;
	return at_ns <= 0 ? 0 : ((uint64_t)at_ns + up) / TIMER_TICK_NS;
}

void chime__timer_init(struct timer_wheel *w, int64_t now_ns)
{
	memset(w, 0, sizeof *w);
	w->tick = (uint64_t)now_ns / TIMER_TICK_NS;
}

void chime__timer_stop(struct timer_wheel *w, struct chime_timer *t)
{
	if (!t->link)
		return;
	*t->link = t->next;
	if (t->next)
		t->next->link = t->link;
	t->next = NULL;
	t->link = NULL;
	w->count--;
	/* A slot that became empty keeps its bit: the next visit clears it. */
}

void chime__timer_start(struct timer_wheel *w, struct chime_timer *t, int64_t at_ns, chime_timer_fn *fn, void *arg)
{
	chime__timer_stop(w, t);
	uint64_t tick = tick_of(at_ns);
	if (tick <= w->tick)
		tick = w->tick + 1; /* the tick that is running, or has run, does not come again */
	t->at_ns = (int64_t)(tick * TIMER_TICK_NS);
	t->fn = fn;
	t->arg = arg;
	struct chime_timer **slot = &w->slot[tick & MASK];
	t->next = *slot;
	t->link = slot;
	if (t->next)
		t->next->link = &t->next;
	*slot = t;
	w->used[(tick & MASK) / 64] |= 1ull << (tick & 63);
	w->count++;
}

/* Runs one slot's timers that are due at w->tick. */
static unsigned run_slot(struct timer_wheel *w)
{
	struct chime_timer **slot = &w->slot[w->tick & MASK];
	int64_t due = (int64_t)(w->tick * TIMER_TICK_NS);
	unsigned ran = 0;
	/* Any timer may be stopped or started by one that runs, so what is due is moved aside first. */
	struct chime_timer *aside = NULL, **link = slot;
	while (*link) {
		struct chime_timer *t = *link;
		if (t->at_ns > due && !FAULT(TIMER_ROUND)) {
			link = &t->next;
			continue;
		}
		*link = t->next;
		if (t->next)
			t->next->link = link;
		t->next = aside;
		t->link = &aside;
		if (aside)
			aside->link = &t->next;
		aside = t;
	}
	if (!*slot)
		w->used[(w->tick & MASK) / 64] &= ~(1ull << (w->tick & 63));
	while (aside) {
		struct chime_timer *t = aside;
		chime__timer_stop(w, t);
		ran++;
		t->fn(t, t->arg);
	}
	return ran;
}

/* How many ticks after w->tick the next slot that is used lies: 1 .. TIMER_SLOTS; 0 if none is. */
static uint64_t next_used(const struct timer_wheel *w)
{
	unsigned from = (w->tick + 1) & MASK;
	for (unsigned i = 0; i <= TIMER_SLOTS / 64; i++) {
		unsigned word = (from / 64 + i) % (TIMER_SLOTS / 64);
		uint64_t bits = w->used[word];
		if (i == 0)
			bits &= ~0ull << (from & 63);
		if (i == TIMER_SLOTS / 64)
			bits &= ~(~0ull << (from & 63));
		if (bits) {
			unsigned slot = word * 64 + (unsigned)__builtin_ctzll(bits);
			return ((slot - from) & MASK) + 1;
		}
	}
	return 0;
}

unsigned chime__timer_run(struct timer_wheel *w, int64_t now_ns)
{
	uint64_t now = (uint64_t)now_ns / TIMER_TICK_NS;
	unsigned ran = 0;
	while (w->tick < now) {
		uint64_t step = w->count ? next_used(w) : 0;
		if (step == 0 || w->tick + step > now) {
			w->tick = now; /* nothing between */
			break;
		}
		w->tick += step;
		ran += run_slot(w);
	}
	return ran;
}

int64_t chime__timer_next(const struct timer_wheel *w, int64_t now_ns)
{
	if (w->count == 0)
		return -1;
	uint64_t step = next_used(w);
	assert(step);
	int64_t left = (int64_t)((w->tick + step) * TIMER_TICK_NS) - now_ns;
	return left > 0 ? left : 0;
}
