/* The timer wheel: on time, in order, and cheap whatever there is. */
#include "runner/test.h"

#include "loop/timer.h"

#include <stdlib.h>

static struct timer_wheel wheel;
static int64_t now_ns;

struct probe {
	struct chime_timer t;
	int64_t due_ns, ran_ns;
	unsigned runs;
};

static void on_probe(struct chime_timer *t, void *arg)
{
	struct probe *p = arg;
	CHECK_PTR(t, &p->t);
	p->runs++;
	p->ran_ns = now_ns;
}

static void start(struct probe *p, int64_t after_ns)
{
	p->due_ns = now_ns + after_ns;
	chime__timer_start(&wheel, &p->t, p->due_ns, on_probe, p);
}

static void setup(void)
{
	now_ns = CHIME_HOUR + 12345;
	chime__timer_init(&wheel, now_ns);
}

/* Nothing runs: nothing is waited for. */
TEST(empty_wheel_waits_for_nothing)
{
	setup();
	CHECK_EQ(chime__timer_next(&wheel, now_ns), -1);
	CHECK_EQ(chime__timer_run(&wheel, now_ns + 100 * CHIME_HOUR), 0);
}

/* Each of many timers runs once, never before its time and at most a tick after it when the wheel is turned as often. */
TEST(random_timers_run_once_and_on_time)
{
	enum {
		N = 3000
	};
	static struct probe p[N];
	setup();
	for (int i = 0; i < N; i++)
		start(&p[i], (int64_t)(test_random() % (uint64_t)(2 * CHIME_MIN)));
	int64_t end = now_ns + 2 * CHIME_MIN + CHIME_SEC;
	while (now_ns < end) {
		int64_t next = chime__timer_next(&wheel, now_ns);
		if (next < 0)
			break;
		now_ns += next; /* as a loop does: sleep just so long */
		chime__timer_run(&wheel, now_ns);
	}
	for (int i = 0; i < N; i++) {
		CHECK_EQ(p[i].runs, 1);
		CHECK_IN(p[i].ran_ns, p[i].due_ns, p[i].due_ns + 2 * TIMER_TICK_NS);
	}
	CHECK_EQ(wheel.count, 0);
}

/* A timer for later than the wheel is long stays for its rounds. */
TEST(long_timer_waits_its_rounds)
{
	struct probe p = { 0 };
	setup();
	start(&p, CHIME_HOUR);
	for (int i = 0; i < 3599; i++) {
		now_ns += CHIME_SEC;
		CHECK_EQ(chime__timer_run(&wheel, now_ns), 0);
	}
	now_ns += CHIME_SEC + TIMER_TICK_NS;
	CHECK_EQ(chime__timer_run(&wheel, now_ns), 1);
}

/* A stopped timer does not run; a started one moves; stopping one that does not run is fine. */
TEST(stop_and_move)
{
	struct probe a = { 0 }, b = { 0 };
	setup();
	chime__timer_stop(&wheel, &a.t);
	start(&a, CHIME_SEC);
	start(&b, CHIME_SEC);
	chime__timer_stop(&wheel, &a.t);
	start(&b, 2 * CHIME_SEC);
	now_ns += CHIME_SEC + TIMER_TICK_NS;
	CHECK_EQ(chime__timer_run(&wheel, now_ns), 0);
	now_ns += CHIME_SEC;
	CHECK_EQ(chime__timer_run(&wheel, now_ns), 1);
	CHECK_EQ(a.runs, 0);
	CHECK_EQ(b.runs, 1);
	CHECK_EQ(chime__timer_next(&wheel, now_ns), -1);
}

static struct probe victim, again;

static void stop_victim(struct chime_timer *t, void *arg)
{
	(void)t, (void)arg;
	chime__timer_stop(&wheel, &victim.t);
	chime__timer_start(&wheel, &again.t, 0, on_probe, &again); /* due long ago: the next tick */
}

/* One that runs may stop one of the same tick, and start one: which does not run in this tick. */
TEST(timers_may_stop_and_start_timers)
{
	struct chime_timer killer = { 0 };
	setup();
	start(&victim, CHIME_SEC);
	chime__timer_start(&wheel, &killer, victim.due_ns, stop_victim, NULL);
	now_ns = victim.due_ns + TIMER_TICK_NS;
	unsigned ran = 0;
	while (chime__timer_next(&wheel, now_ns) >= 0) {
		ran += chime__timer_run(&wheel, now_ns);
		now_ns += TIMER_TICK_NS;
		CHECK(ran < 10);
	}
	CHECK_EQ(again.runs, 1);
	CHECK_IN(victim.runs, 0, 1); /* the order within a tick is open; stopped or run, not both */
	CHECK_EQ(ran, 2u + victim.runs);
}

/* Turning a wheel over a day with one timer in it costs a few slots, not each tick. */
TEST(passing_much_time_is_cheap)
{
	struct probe p = { 0 };
	setup();
	start(&p, 24 * CHIME_HOUR);
	int64_t began = test_now();
	for (int i = 0; i < 24 * 60; i++) {
		now_ns += CHIME_MIN;
		chime__timer_run(&wheel, now_ns);
	}
	now_ns += CHIME_SEC;
	chime__timer_run(&wheel, now_ns);
	CHECK_EQ(p.runs, 1);
	CHECK_IN(test_now() - began, 0, 20 * CHIME_SEC);
}

TEST_MAIN()
