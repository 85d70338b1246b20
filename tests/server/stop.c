/* chime_server_stop() at any time: before the start, in the middle of it, from a signal handler while a call is at work. */
#include "server/live.h"

#include <chime/clock.h>

#include <pthread.h>
#include <signal.h>
#include <sys/time.h>
#include <unistd.h>

#define ROUNDS 400 /* of them as many as LONG_NS leaves time for, ROUNDS_MIN at the least */
#define ROUNDS_MIN 20
#define LONG_NS (2 * CHIME_SEC)
#define WORKERS 8

static chime_server *server;

static void make(unsigned workers)
{
	struct chime_server_config config = live_config(workers);
	server = live_new(&config, "stamp=tcp://127.0.0.1:0", NULL);
}

/* A stop before the start ends the workers as soon as they run; a server that was opened and never started can be freed. */
TEST_EACH_BACKEND(stop_before_start)
{
	for (int start = 0; start < 2; start++) {
		make(2);
		CHECK_EQ(chime_server_open(server), 0);
		CHECK(chime_server_endpoint(server, 0)->port > 0);
		if (start) {
			chime_server_stop(server);
			CHECK_EQ(chime_server_start(server), 0);
			CHECK_EQ(chime_server_wait(server, 50 * CHIME_SEC), 0);
		}
		chime_server_free(&server);
	}
}

static bool another(int round, int64_t since_ns)
{
	return round < ROUNDS_MIN || (round < ROUNDS && chime_now_mono() - since_ns < LONG_NS);
}

static pthread_barrier_t both;

static void *stop_soon(void *arg)
{
	int64_t after_ns = *(int64_t *)arg;
	pthread_barrier_wait(&both);
	for (int64_t at = chime_now_mono() + after_ns; chime_now_mono() < at;)
		continue;
	chime_server_stop(server);
	return NULL;
}

/*
 * A stop from another thread while the workers' threads are being made ends them all, also the one whose thread is at work
 * before the call that made it has returned.
 */
TEST_EACH_BACKEND(stop_while_starting)
{
	int64_t took_ns = 0, since_ns = chime_now_mono();
	for (int round = 0; another(round, since_ns); round++) {
		pthread_t stopper;
		make(WORKERS);
		CHECK_EQ(chime_server_open(server), 0);
		int64_t after_ns = took_ns ? (int64_t)(test_random() % (uint64_t)took_ns) : 0;
		CHECK_EQ(pthread_barrier_init(&both, NULL, 2), 0);
		CHECK_EQ(pthread_create(&stopper, NULL, stop_soon, &after_ns), 0);
		pthread_barrier_wait(&both);
		int64_t from_ns = chime_now_mono();
		CHECK_EQ(chime_server_start(server), 0);
		took_ns = chime_now_mono() - from_ns; /* the next stop falls into about as long */
		CHECK_EQ(chime_server_wait(server, 50 * CHIME_SEC), 0);
		CHECK_EQ(pthread_join(stopper, NULL), 0);
		pthread_barrier_destroy(&both);
		chime_server_free(&server);
	}
}

static void on_alarm(int sig)
{
	(void)sig;
	chime_server_stop(server);
}

/* The same by a signal: it comes while the server is being opened, started, waited for or freed, and none of them is harmed. */
TEST_EACH_BACKEND(stop_by_a_signal_at_any_time)
{
	int64_t took_ns = CHIME_MSEC, since_ns = chime_now_mono();
	signal(SIGALRM, on_alarm);
	for (int round = 0; another(round, since_ns); round++) {
		int64_t after_us = 1 + (int64_t)(test_random() % (uint64_t)(took_ns / CHIME_USEC));
		struct itimerval soon = { .it_value = { after_us / 1000000, after_us % 1000000 } };
		make(WORKERS);
		int64_t from_ns = chime_now_mono();
		CHECK_EQ(setitimer(ITIMER_REAL, &soon, NULL), 0);
		CHECK_EQ(chime_server_start(server), 0);
		took_ns = 2 * (chime_now_mono() - from_ns); /* so that half of them come after it */
		if (round % 2)
			CHECK_EQ(chime_server_wait(server, 50 * CHIME_SEC), 0);
		chime_server_free(&server);
		CHECK_PTR(server, NULL);
	}
}

TEST_MAIN()
