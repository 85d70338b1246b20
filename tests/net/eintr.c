/* Signals in the middle of every call that waits, with and without the hook that may end it (PEP 475). */
#include "net/stuck.h"

#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>

static volatile sig_atomic_t signals;
static int asked;
static int stop_at, release_at;
static const struct stuck_call *hooked_call;
static struct stuck *hooked;

static void on_alarm(int signo)
{
	(void)signo;
	signals++;
}

static void alarms(int every_ms, int flags)
{
	struct sigaction sa = { .sa_handler = on_alarm, .sa_flags = flags };
	struct itimerval each = { { 0, every_ms * 1000 }, { 0, every_ms * 1000 } };
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &each, NULL);
}

static void no_alarms(void)
{
	struct itimerval none = { { 0, 0 }, { 0, 0 } };
	setitimer(ITIMER_REAL, &none, NULL);
}

static int hook(void *arg)
{
	CHECK_PTR(arg, &asked);
	asked++;
	if (asked == release_at)
		hooked_call->release(hooked);
	return asked == stop_at;
}

static void each_call(int64_t limit, int flags, int stop, int release)
{
	FOR_EACH_CALL(c)
	{
		struct stuck k = { 0 };
		c->make(&k);
		CHECK_EQ(chime_set_timeout(k.s, limit), 0);
		hooked = &k;
		hooked_call = c;
		asked = 0;
		stop_at = stop;
		release_at = release;
		chime_set_interrupted(hook, &asked);
		alarms(5, flags);
		ssize_t n = c->call(&k);
		no_alarms();
		chime_set_interrupted(NULL, NULL);
		print_message("%s\n", c->name);
		CHECK_EQ(n, stop ? -EINTR : c->result);
		if (stop)
			CHECK_EQ(asked, stop);
		else
			CHECK(asked >= release);
		stuck_free(&k);
	}
}

/* The hook says go on: the call goes on, and ends as if nothing had been. */
TEST_LIMIT(hook_goes_on_in_blocking_mode, 60)
{
	each_call(CHIME_FOREVER, 0, 0, 3);
}

TEST_LIMIT(hook_goes_on_within_a_limit, 60)
{
	each_call(40 * CHIME_SEC, 0, 0, 3);
}

/* The hook says stop, at the first signal or at a later one: -EINTR at once. */
TEST(hook_stops_in_blocking_mode)
{
	each_call(CHIME_FOREVER, 0, 1, 0);
	each_call(CHIME_FOREVER, 0, 3, 0);
}

TEST(hook_stops_within_a_limit)
{
	each_call(40 * CHIME_SEC, 0, 2, 0);
}

/* The hook is asked for handlers with SA_RESTART as well. */
TEST(hook_is_asked_in_spite_of_sa_restart)
{
	each_call(CHIME_FOREVER, SA_RESTART, 2, 0);
	each_call(40 * CHIME_SEC, SA_RESTART, 2, 0);
}

/* Signals do not lengthen a limit, nor do they shorten it; with no hook none is missed. */
TEST_LIMIT(signals_leave_the_limit_alone, 60)
{
	const int64_t limit = 100 * CHIME_MSEC;
	FOR_EACH_CALL(c)
	{
		int64_t best = INT64_MAX;
		int most = 0;
		for (int i = 0; i < 50 && (best > limit * 3 / 2 || most < 3); i++) { /* the machine may be busy */
			struct stuck k = { 0 };
			c->make(&k);
			CHECK_EQ(chime_set_timeout(k.s, limit), 0);
			signals = 0;
			alarms(7, 0);
			int64_t start = test_now();
			ssize_t n = c->call(&k);
			int64_t took = test_now() - start;
			no_alarms();
			print_message("%s\n", c->name);
			CHECK_EQ(n, CHIME_ETIMEOUT);
			CHECK(took >= limit);
			if (signals > most)
				most = signals;
			if (took < best)
				best = took;
			stuck_free(&k);
		}
		CHECK_IN(best, limit, limit * 3 / 2);
		CHECK(most > 2);
	}
}

/* A connect that signals interrupt is one attempt: the listener sees one connection, from the address we have. */
TEST(interrupted_connect_goes_on_with_its_attempt)
{
	struct stuck k = { 0 };
	chime_addr mine, seen;
	chime_sock *a, *b;
	stuck_make_full_tcp(&k);
	hooked = &k;
	hooked_call = &stuck_calls[10];
	CHECK_STR(hooked_call->name, "connect");
	asked = stop_at = 0;
	release_at = 4;
	chime_set_interrupted(hook, &asked);
	alarms(5, 0);
	CHECK_EQ(chime_connect(k.s, &k.at), 0);
	no_alarms();
	chime_set_interrupted(NULL, NULL);
	CHECK_EQ(chime_getsockname(k.s, &mine), 0);
	CHECK_EQ(chime_accept(k.peer, &a, &seen), 0);
	CHECK(chime_addr_equal(&mine, &seen));
	CHECK_EQ(chime_set_timeout(k.peer, 0), 0);
	CHECK_EQ(chime_accept(k.peer, &b, NULL), -EAGAIN);
	chime_free(&a);
	stuck_free(&k);
}

/* A blocking send that a signal interrupts half-way gives the count and asks nobody, as send(2) does. */
TEST(interrupted_send_gives_the_count)
{
	static char big[8 << 20];
	struct stuck k = { 0 };
	stuck_make_stream(&k);
	asked = release_at = 0;
	stop_at = 1;
	chime_set_interrupted(hook, &asked);
	alarms(10, 0);
	CHECK_IN(chime_send(k.s, big, sizeof(big), 0), 1, sizeof(big) - 1);
	CHECK_EQ(asked, 0);
	/* sendall counts beside its result, so it may ask. */
	size_t sent = 0;
	stuck_drain(&k);
	CHECK_EQ(chime_sendall(k.s, big, sizeof(big), 0, &sent), -EINTR);
	CHECK_EQ(asked, 1);
	no_alarms();
	CHECK_IN(sent, 1, sizeof(big) - 1);
	chime_set_interrupted(NULL, NULL);
	stuck_free(&k);
}

/* recv_exact that a signal interrupts half-way asks too: it goes on to the end, or stops and says how far it came. */
TEST(interrupted_exact_receive_goes_on)
{
	const struct stuck_call rest = { .release = stuck_send_five };
	for (int stops = 0; stops < 2; stops++) {
		struct stuck k = { 0 };
		size_t got = 0;
		stuck_make_stream(&k);
		stuck_send_five(&k);
		hooked = &k;
		hooked_call = &rest;
		asked = 0;
		stop_at = stops ? 2 : 0;
		release_at = 3;
		chime_set_interrupted(hook, &asked);
		alarms(5, 0);
		CHECK_EQ(chime_recv_exact(k.s, k.buf, 10, 0, &got), stops ? -EINTR : 0);
		no_alarms();
		CHECK_EQ(got, stops ? 5 : 10);
		if (stops)
			CHECK_EQ(asked, 2);
		chime_set_interrupted(NULL, NULL);
		stuck_free(&k);
	}
}

/* The same of messages: half way the hook is not asked, for there is a count to give. */
TEST(interrupted_messages_give_the_count)
{
	static char big[8 << 20];
	struct stuck k = { 0 };
	struct iovec iov[2] = { { big, 100 }, { big + 100, sizeof(big) - 100 } };
	stuck_make_stream(&k);
	asked = release_at = 0;
	stop_at = 1;
	chime_set_interrupted(hook, &asked);
	alarms(10, 0);
	CHECK_IN(chime_sendmsg(k.s, iov, 2, 0, NULL), 1, sizeof(big) - 1);
	CHECK_EQ(asked, 0);
	no_alarms();
	STUCK_OK(chime_send(k.peer, "half", 4, 0));
	alarms(10, 0);
	CHECK_EQ(chime_recvmsg_into(k.s, iov, 2, MSG_WAITALL, NULL), 4);
	no_alarms();
	CHECK_EQ(asked, 0);
	chime_set_interrupted(NULL, NULL);
	stuck_free(&k);
}

static int closing_hook(void *arg)
{
	chime_close(arg);
	return 0;
}

/* The hook itself may close the handle. */
TEST(hook_may_close_the_handle)
{
	struct stuck k = { 0 };
	stuck_make_stream(&k);
	chime_set_interrupted(closing_hook, k.s);
	alarms(5, 0);
	CHECK_EQ(chime_recv(k.s, k.buf, 1, 0), CHIME_ECLOSED);
	no_alarms();
	chime_set_interrupted(NULL, NULL);
	CHECK_EQ(chime_fileno(k.s), -1);
	stuck_free(&k);
}

static pid_t forked_in_hook;

static int forking_hook(void *arg)
{
	struct stuck *k = arg;
	no_alarms();
	forked_in_hook = fork();
	if (forked_in_hook > 0) {
		int status = -1;
		waitpid(forked_in_hook, &status, 0);
		CHECK_EQ(status, 0);
	}
	stuck_send_five(k);
	return 0;
}

/* The hook may fork: the call ends in parent and child alike, and closing in the child closes. */
TEST(hook_may_fork)
{
	struct stuck k = { 0 };
	stuck_make_udp(&k);
	STUCK_OK(chime_connect(k.peer, &k.at));
	chime_set_interrupted(forking_hook, &k);
	alarms(5, 0);
	ssize_t n = chime_recv(k.s, k.buf, 100, 0);
	int fd = chime_fileno(k.s);
	uint32_t calls = atomic_load(&k.s->calls);
	chime_set_interrupted(NULL, NULL);
	stuck_free(&k);
	if (forked_in_hook == 0)
		_exit(n != 5 || calls != 0 || fcntl(fd, F_GETFD) >= 0);
	CHECK_EQ(n, 5);
	CHECK_EQ(calls, 0);
}

TEST_MAIN()
