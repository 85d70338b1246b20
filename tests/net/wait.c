/* Python's three modes for every call that waits: block, do not wait, wait so long and no longer. */
#include "net/stuck.h"

#include <linux/errqueue.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>

#define LIMIT (120 * CHIME_MSEC)

/* Limit 0: no call waits. */
TEST(limit_0_never_waits)
{
	FOR_EACH_CALL(c)
	{
		struct stuck k = { 0 };
		c->make(&k);
		CHECK_EQ(chime_set_timeout(k.s, 0), 0);
		int64_t start = test_now();
		ssize_t n = c->call(&k);
		print_message("%s\n", c->name);
		CHECK_EQ(n, c->would_block);
		CHECK_IN(test_now() - start, 0, 50 * CHIME_SEC);
		CHECK_EQ(atomic_load(&k.s->wake), -1); /* it did not even get ready to */
		stuck_free(&k);
	}
}

/* A limit is kept: never shorter, and not by half as long again (of five tries the best: the machine may be busy). */
TEST_LIMIT(limit_is_neither_shorter_nor_longer, 60)
{
	FOR_EACH_CALL(c)
	{
		int64_t best = INT64_MAX;
		for (int i = 0; i < 5 && best > LIMIT * 3 / 2; i++) {
			struct stuck k = { 0 };
			c->make(&k);
			CHECK_EQ(chime_set_timeout(k.s, LIMIT), 0);
			int64_t start = test_now();
			ssize_t n = c->call(&k);
			int64_t took = test_now() - start;
			print_message("%s\n", c->name);
			CHECK_EQ(n, CHIME_ETIMEOUT);
			CHECK(took >= LIMIT);
			if (took < best)
				best = took;
			stuck_free(&k);
		}
		CHECK_IN(best, LIMIT, LIMIT * 3 / 2);
	}
}

/* After a limit has passed the socket is as usable as before. */
TEST_LIMIT(sockets_are_usable_after_a_limit, 60)
{
	FOR_EACH_CALL(c)
	{
		struct stuck k = { 0 };
		if (c->would_block == -EINPROGRESS)
			continue; /* its attempt goes on: connect(2) says EALREADY, as it does to Python */
		c->make(&k);
		CHECK_EQ(chime_set_timeout(k.s, 10 * CHIME_MSEC), 0);
		CHECK_EQ(c->call(&k), CHIME_ETIMEOUT);
		c->release(&k);
		CHECK_EQ(chime_set_timeout(k.s, 60 * CHIME_SEC), 0);
		print_message("%s\n", c->name);
		CHECK_EQ(c->call(&k), c->result);
		stuck_free(&k);
	}
}

/* No limit: every call waits until it can be done. So does one with a long limit. */
TEST_LIMIT(calls_wait_until_they_can_be_done, 60)
{
	const int64_t limits[] = { CHIME_FOREVER, 50 * CHIME_SEC };
	for (int i = 0; i < 2; i++)
		FOR_EACH_CALL(c)
		{
			struct stuck k = { 0 };
			struct stuck_thread t;
			c->make(&k);
			CHECK_EQ(chime_set_timeout(k.s, limits[i]), 0);
			stuck_thread_start(&t, c, &k);
			c->release(&k);
			print_message("%s\n", c->name);
			CHECK_EQ(stuck_thread_end(&t), c->result);
			stuck_free(&k);
		}
}

/* An attempt to connect whose call ended early is waited for once the handle blocks; with a limit it is -EALREADY. As in Python. */
TEST(connect_waits_for_an_attempt_under_way)
{
	for (const struct stuck_call *c = stuck_calls; c < stuck_calls + STUCK_CALLS; c++) {
		struct stuck k = { 0 };
		struct stuck_thread t;
		if (c->would_block != -EINPROGRESS)
			continue;
		c->make(&k);
		CHECK_EQ(chime_set_timeout(k.s, 0), 0);
		CHECK_EQ(c->call(&k), -EINPROGRESS);
		CHECK_EQ(c->call(&k), -EALREADY);
		CHECK_EQ(chime_set_timeout(k.s, 50 * CHIME_SEC), 0);
		CHECK_EQ(c->call(&k), -EALREADY);
		CHECK_EQ(chime_set_blocking(k.s, true), 0);
		stuck_thread_start(&t, c, &k);
		CHECK(!atomic_load(&t.over));
		c->release(&k);
		CHECK_EQ(stuck_thread_end(&t), 0);
		stuck_free(&k);
	}
}

/* The limit of sendall is for the whole, though every part of it comes in time. */
TEST(sendall_limits_the_whole)
{
	static char big[8 << 20];
	struct stuck k = { 0 };
	size_t sent = 0;
	stuck_make_stream(&k);
	CHECK_EQ(chime_set_timeout(k.s, 300 * CHIME_MSEC), 0);
	pid_t pid = fork();
	if (pid == 0) {
		chime_free(&k.s);
		char got[4096];
		for (;;) { /* some bytes every 20 ms: far fewer than would be needed */
			usleep(20000);
			if (chime_recv(k.peer, got, sizeof(got), 0) <= 0)
				_exit(0);
		}
	}
	int64_t start = test_now();
	CHECK_EQ(chime_sendall(k.s, big, sizeof(big), 0, &sent), CHIME_ETIMEOUT);
	CHECK_IN(test_now() - start, 300 * CHIME_MSEC, 50 * CHIME_SEC);
	CHECK_IN(sent, 1, sizeof(big) - 1);
	kill(pid, SIGKILL);
	stuck_free(&k);
	waitpid(pid, NULL, 0);
}

/* So is that of recv_exact; what came is counted. (It begins when the other side has: that may take it longer.) */
TEST(recv_exact_limits_the_whole)
{
	struct stuck k = { 0 };
	char got[1000];
	size_t n = 0;
	stuck_make_tcp(&k);
	pid_t pid = fork();
	if (pid == 0)
		for (;;) {
			usleep(20000);
			chime_send(k.peer, "x", 1, 0);
		}
	CHECK_EQ(chime_recv(k.s, got, 1, MSG_PEEK), 1);
	CHECK_EQ(chime_set_timeout(k.s, 200 * CHIME_MSEC), 0);
	int64_t start = test_now();
	CHECK_EQ(chime_recv_exact(k.s, got, sizeof(got), 0, &n), CHIME_ETIMEOUT);
	CHECK_IN(test_now() - start, 200 * CHIME_MSEC, 50 * CHIME_SEC);
	CHECK_IN(n, 1, sizeof(got) - 1);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	stuck_free(&k);
}

/* The limit of recv is per call: many calls may take longer than it together. */
TEST(recv_limits_each_call)
{
	struct stuck k = { 0 };
	stuck_make_tcp(&k);
	CHECK_EQ(chime_set_timeout(k.s, 4 * CHIME_SEC), 0);
	pid_t pid = fork();
	if (pid == 0) {
		for (int i = 0; i < 8; i++) {
			usleep(600000);
			chime_send(k.peer, "x", 1, 0);
		}
		_exit(0);
	}
	for (int i = 0; i < 8; i++)
		CHECK_EQ(chime_recv(k.s, k.buf, 1, 0), 1);
	waitpid(pid, NULL, 0);
	stuck_free(&k);
}

static int64_t cpu_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return ts.tv_sec * CHIME_SEC + ts.tv_nsec;
}

/* Readiness that is false for ever (a full unix peer, a unix listener without room) does not make a call spin. */
TEST(false_readiness_does_not_spin)
{
	FOR_EACH_CALL(c)
	{
		struct stuck k = { 0 };
		c->make(&k);
		CHECK_EQ(chime_set_timeout(k.s, 300 * CHIME_MSEC), 0);
		int64_t start = cpu_ns();
		CHECK_EQ(c->call(&k), CHIME_ETIMEOUT);
		print_message("%s\n", c->name);
		CHECK_IN(cpu_ns() - start, 0, 60 * CHIME_MSEC);
		stuck_free(&k);
	}
}

/* Nor does an error queue that nobody reads, which poll reports as an error for as long as it is not empty. */
TEST(unread_error_queue_does_not_spin)
{
	struct stuck k = { 0 };
	chime_addr nowhere;
	chime_sock *gone;
	stuck_make_udp(&k);
	CHECK_EQ(chime_setsockopt_int(k.s, IPPROTO_IP, IP_RECVERR, 1), 0);
	CHECK_EQ(chime_open(&gone, AF_INET, SOCK_DGRAM, 0), 0);
	CHECK_EQ(chime_addr_ip(&nowhere, AF_INET, "127.0.0.1", 0), 0);
	CHECK_EQ(chime_bind(gone, &nowhere), 0);
	CHECK_EQ(chime_getsockname(gone, &nowhere), 0);
	chime_free(&gone);
	CHECK_EQ(chime_set_timeout(k.s, 60 * CHIME_SEC), 0);
	CHECK_EQ(chime_sendto(k.s, "x", 1, 0, &nowhere), 1);
	CHECK_EQ(chime_recv(k.s, k.buf, 10, 0), -ECONNREFUSED);
	CHECK_EQ(chime_set_timeout(k.s, 300 * CHIME_MSEC), 0);
	int64_t start = cpu_ns();
	CHECK_EQ(chime_recv(k.s, k.buf, 10, 0), CHIME_ETIMEOUT);
	CHECK_IN(cpu_ns() - start, 0, 60 * CHIME_MSEC);
	/* The queue itself is never waited for. */
	CHECK_EQ(chime_set_timeout(k.s, CHIME_FOREVER), 0);
	CHECK(chime_recv(k.s, k.buf, 10, MSG_ERRQUEUE) >= 0);
	CHECK_EQ(chime_recv(k.s, k.buf, 10, MSG_ERRQUEUE), -EAGAIN);
	stuck_free(&k);
}

/* Another thread may take what poll promised: whoever lost it goes on waiting. */
TEST(two_threads_share_one_datagram_socket)
{
	struct stuck k = { 0 };
	struct stuck_thread t[2];
	const struct stuck_call recvfrom_call = { "recvfrom", NULL, stuck_recvfrom, NULL, 0, 0 };
	stuck_make_udp(&k);
	for (int i = 0; i < 2; i++)
		stuck_thread_start(&t[i], &recvfrom_call, &k);
	CHECK_EQ(chime_sendto(k.peer, "a", 1, 0, &k.at), 1);
	CHECK_EQ(chime_sendto(k.peer, "b", 1, 0, &k.at), 1);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(stuck_thread_end(&t[i]), 1);
	stuck_free(&k);
}

/* Two threads in accept of one listener each get one of two connections. */
TEST(two_threads_accept_from_one_listener)
{
	struct stuck k = { 0 };
	struct stuck_thread t[2];
	const struct stuck_call accept_call = { "accept", NULL, stuck_accept, NULL, 0, 0 };
	stuck_make_listener(&k);
	for (int i = 0; i < 2; i++)
		stuck_thread_start(&t[i], &accept_call, &k);
	CHECK_EQ(chime_connect(k.peer, &k.at), 0);
	CHECK_EQ(chime_open(&k.crowd[0], AF_INET, SOCK_STREAM, 0), 0);
	CHECK_EQ(chime_connect(k.crowd[0], &k.at), 0);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(stuck_thread_end(&t[i]), 0);
	stuck_free(&k);
}

/* A signal that nobody handles, or a limit beyond the clock's end, is no matter. */
TEST(huge_limits_do_not_overflow)
{
	struct stuck k = { 0 };
	struct stuck_thread t;
	stuck_make_stream(&k);
	CHECK_EQ(chime_set_timeout(k.s, INT64_MAX), 0);
	stuck_thread_start(&t, &stuck_calls[0], &k);
	stuck_send_five(&k);
	CHECK_EQ(stuck_thread_end(&t), 5);
	stuck_free(&k);
}

/* With a limit a stream's call gives what could be done at once, and does not wait for the rest. */
TEST(streams_with_a_limit_give_what_went)
{
	static char big[8 << 20];
	struct stuck k = { 0 };
	struct iovec iov = { big, sizeof(big) };
	stuck_make_stream(&k);
	CHECK_EQ(chime_set_timeout(k.s, 50 * CHIME_SEC), 0);
	CHECK_EQ(chime_set_timeout(k.peer, 50 * CHIME_SEC), 0);
	int64_t start = test_now();
	CHECK_IN(chime_send(k.s, big, sizeof(big), 0), 1, sizeof(big) - 1);
	CHECK_IN(chime_sendmsg(k.peer, &iov, 1, 0, NULL), 1, sizeof(big) - 1);
	stuck_drain(&k);
	CHECK_EQ(chime_send(k.s, "half", 4, 0), 4);
	CHECK_EQ(chime_recv(k.peer, big, 100, MSG_WAITALL), 4);
	CHECK_EQ(chime_send(k.s, "half", 4, 0), 4);
	CHECK_EQ(chime_recvmsg(k.peer, big, 100, MSG_WAITALL, NULL), 4);
	CHECK_IN(test_now() - start, 0, 40 * CHIME_SEC);
	stuck_free(&k);
}

static void *send_the_rest(void *arg)
{
	usleep(20000); /* so that it waits with a part, if the machine has the time */
	chime_send(arg, "cde", 3, 0);
	return NULL;
}

/* MSG_WAITALL with MSG_PEEK: each byte once, and there still to be received; of messages too. */
TEST(waiting_for_all_may_peek)
{
	for (int message = 0; message < 2; message++) {
		struct stuck k = { 0 };
		char got[6] = "";
		pthread_t t;
		stuck_make_tcp(&k);
		CHECK_EQ(chime_send(k.peer, "ab", 2, 0), 2);
		CHECK_EQ(pthread_create(&t, NULL, send_the_rest, k.peer), 0);
		if (message)
			CHECK_EQ(chime_recvmsg(k.s, got, 5, MSG_WAITALL | MSG_PEEK, NULL), 5);
		else
			CHECK_EQ(chime_recv(k.s, got, 5, MSG_WAITALL | MSG_PEEK), 5);
		CHECK_STR(got, "abcde");
		pthread_join(t, NULL);
		memset(got, 0, sizeof(got));
		CHECK_EQ(chime_recv(k.s, got, 5, 0), 5);
		CHECK_STR(got, "abcde");
		stuck_free(&k);
	}
}

/* Two threads at one listener that does not wait: who comes while the other looks is not told that nobody has come. */
TEST(accept_beside_another)
{
	struct stuck k = { 0 };
	struct stuck_thread t;
	const struct stuck_call *c = stuck_calls;
	while (strcmp(c->name, "accept"))
		c++;
	c->make(&k);
	CHECK_EQ(chime_set_timeout(k.s, 0), 0);
	c->release(&k);
	struct pollfd came = { chime_fileno(k.s), POLLIN, 0 };
	CHECK_EQ(poll(&came, 1, -1), 1);
	CHECK_EQ(pthread_mutex_lock(&k.s->accept_lock), 0); /* as the other does */
	t = (struct stuck_thread){ .c = c, .k = &k, .result = -99999 };
	CHECK_EQ(pthread_create(&t.thread, NULL, stuck_thread_run, &t), 0);
	/* It is over at once, or looks on: then it is let. */
	for (int looks = 0; looks < 20 && !atomic_load(&t.over); looks += atomic_load(&t.tid) != 0)
		usleep(1000);
	CHECK_EQ(pthread_mutex_unlock(&k.s->accept_lock), 0);
	CHECK_EQ(stuck_thread_end(&t), 0);
	stuck_free(&k);
}

TEST_MAIN()
