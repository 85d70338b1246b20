/*
 * chime/timer.h - the memory of a timer. chime/server.h has the calls that start and stop it.
 */
#ifndef CHIME_TIMER_H
#define CHIME_TIMER_H

#include <chime/clock.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A timer in the caller's memory, zeroed at first. */
typedef struct chime_timer chime_timer;
typedef void chime_timer_fn(chime_timer *t, void *arg);
struct chime_timer {
	struct chime_timer *next, **link; /* the engine's */
	int64_t at_ns;
	chime_timer_fn *fn;
	void *arg;
};

#ifdef __cplusplus
}
#endif

#endif
