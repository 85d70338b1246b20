/*
 * loop/turn.h - a loop of the test's own, and turning it until something holds.
 */
#ifndef LOOP_TURN_H
#define LOOP_TURN_H

#include "runner/test.h"

#include "loop/loop.h"

static struct loop lp;

/* Not for ever. */
#define TURN_UNTIL(cond)                                                                                               \
	do {                                                                                                           \
		int64_t end_ = test_now() + 50 * CHIME_SEC;                                                            \
		while (!(cond) && test_now() < end_)                                                                   \
			CHECK_EQ(chime__loop_turn(&lp, 10 * CHIME_MSEC), 0);                                           \
		CHECK(cond);                                                                                           \
	} while (0)

#endif
