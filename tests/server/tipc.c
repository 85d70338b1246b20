/* TIPC's reliable messages: what a full queue refuses comes back, and is sent again. They need the module tipc: tests/vm runs them. */
#include "server/live.h"

#include <chime/error.h>
#include <chime/tipc.h>

#include <errno.h>
#include <linux/tipc.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#define STAMP 24
#define NAME 700000
#define LIMIT (50 * CHIME_SEC)

static void need_tipc(void)
{
	int fd = socket(AF_TIPC, SOCK_RDM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		SKIP("no TIPC, %s: needs tipc", strerror(errno));
	close(fd);
}

static chime_server *serve_at(const char *backend, const char *scheme, unsigned instance, int64_t stall_ns)
{
	struct chime_server_config config = live_config(1);
	char text[64];
	config.backend = backend;
	config.stall_timeout_ns = stall_ns;
	config.grace_ns = CHIME_SEC / 2;
	snprintf(text, sizeof text, "%s://%d:%u", scheme, NAME, instance);
	chime_server *s = live_new(&config, text, NULL);
	live_start(s);
	return s;
}

static chime_server *serve(const char *backend, unsigned instance)
{
	return serve_at(backend, "tipc+rdm", instance, CHIME_MIN);
}

static chime_sock *client_at(const char *scheme, unsigned instance)
{
	char text[64];
	chime_endpoint e;
	chime_sock *s;
	snprintf(text, sizeof text, "%s://%d:%u", scheme, NAME, instance);
	CHECK_EQ(chime_endpoint_parse(&e, text, NULL, NULL, NULL), 0);
	CHECK_EQ(chime_connect_endpoint(&s, &e, NULL), 0);
	CHECK_EQ(chime_set_timeout(s, LIMIT), 0);
	return s;
}

static chime_sock *client(unsigned instance)
{
	return client_at("tipc+rdm", instance);
}

static size_t make_question(unsigned char *q, unsigned n, size_t len)
{
	for (size_t i = 0; i < len; i++)
		q[i] = (unsigned char)(n + i * 7);
	memcpy(q, &n, sizeof n);
	return len;
}

/*
 * A client asks count times before it reads anything; its queue takes a few of the answers. All of them come in the end, each once
 * and whole.
 */
static void ask_before_reading(const char *backend, unsigned instance, unsigned count, size_t len)
{
	need_tipc();
	chime_server *server = serve(backend, instance);
	chime_sock *s = client(instance);
	unsigned char *q = malloc(len), *a = malloc(STAMP + len + 1), *heard = calloc(count, 1);
	struct chime_server_stats stats;
	int returned;
	CHECK(q && a && heard);
	CHECK_EQ(chime_setsockopt_int(s, SOL_SOCKET, SO_RCVBUF, 16384), 0);
	for (unsigned i = 0; i < count; i++)
		CHECK_EQ(chime_send(s, q, make_question(q, i, len), 0), (ssize_t)len);
	/* until the server has answered all, and more than once those that came back */
	int64_t until = test_now() + LIMIT;
	do {
		poll(NULL, 0, 5);
		stats = live_stats(server);
	} while ((stats.answers < count || stats.queued_bytes == 0) && test_now() < until);
	CHECK_EQ(stats.answers, count);
	CHECK(stats.queued_bytes > 0);
	for (unsigned i = 0; i < count; i++) {
		unsigned n;
		ssize_t got = chime_tipc_recv(s, a, STAMP + len + 1, NULL, &returned);
		CHECK_EQ(returned, 0);
		CHECK_EQ(got, (ssize_t)(STAMP + len));
		memcpy(&n, a + STAMP, sizeof n);
		CHECK(n < count && !heard[n]);
		heard[n] = 1;
		make_question(q, n, len);
		CHECK_MEM(a + STAMP, q, len);
	}
	stats = live_stats(server);
	CHECK_EQ(stats.dropped_queue, 0);
	CHECK_EQ(stats.messages, count);
	free(q);
	free(a);
	free(heard);
	chime_free(&s);
	chime_server_free(&server);
}

TEST_LIMIT(tipc_short_answers_come_again_epoll, 60)
{
	ask_before_reading("epoll", 1, 500, 600);
}

TEST_LIMIT(tipc_short_answers_come_again_uring, 60)
{
	ask_before_reading("uring", 2, 500, 600);
}

/* Longer than what TIPC sends back of a message. */
TEST_LIMIT(tipc_long_answers_come_again_epoll, 60)
{
	ask_before_reading("epoll", 3, 150, 4000);
}

TEST_LIMIT(tipc_long_answers_come_again_uring, 60)
{
	ask_before_reading("uring", 4, 150, 4000);
}

/* Who sends to a queue that is full, to a socket that is gone or to a name that nobody serves is told. */
TEST(tipc_senders_are_told)
{
	need_tipc();
	chime_sock *to, *s;
	chime_addr name, nobody, from;
	unsigned char q[500], back[1024];
	int returned;
	unsigned refused = 0, sent = 0;
	CHECK_EQ(chime_addr_tipc(&name, NAME, 5), 0);
	CHECK_EQ(chime_addr_tipc(&nobody, NAME, 6), 0);
	CHECK_EQ(chime_open(&to, AF_TIPC, SOCK_RDM, 0), 0);
	CHECK_EQ(chime_setsockopt_int(to, SOL_SOCKET, SO_RCVBUF, 8192), 0);
	CHECK_EQ(chime_bind(to, &name), 0);
	s = client(5);
	while (refused == 0 && sent < 1000) {
		CHECK_EQ(chime_send(s, q, make_question(q, sent, sizeof q), 0), (ssize_t)sizeof q);
		sent++;
		CHECK_EQ(chime_set_timeout(s, 0), 0);
		if (chime_tipc_recv(s, back, sizeof back, &from, &returned) >= 0) {
			CHECK_EQ(returned, -EAGAIN);
			CHECK_MEM(back, q, sizeof q);
			CHECK_EQ(chime_addr_family(&from), AF_TIPC);
			refused++;
		}
	}
	CHECK_EQ(refused, 1);
	chime_free(&to);
	CHECK_EQ(chime_sendto(s, q, 10, 0, &from), 10); /* by the socket's own address, which nobody has any more */
	CHECK_EQ(chime_set_timeout(s, LIMIT), 0);
	do {
		CHECK(chime_tipc_recv(s, back, sizeof back, NULL, &returned) >= 0);
	} while (returned == -EAGAIN);
	CHECK_EQ(returned, -ECONNREFUSED);
	CHECK_EQ(chime_sendto(s, q, 10, 0, &nobody), -EHOSTUNREACH);
	chime_free(&s);
}

/* ---- connections whose peers do not read: TIPC's close(2) waits for them, 8 s ---- */

#define DEAF 4
#define HELD (7 * CHIME_SEC) /* less than one of those closes takes; one of a busy machine's pauses is shorter */

/* A client that asks for as much as anybody takes, and reads nothing. */
static chime_sock *deaf_client(const char *scheme, unsigned instance)
{
	static const unsigned char q[20000];
	chime_sock *s = client_at(scheme, instance);
	CHECK_EQ(chime_set_timeout(s, CHIME_SEC / 5), 0);
	for (unsigned i = 0; i < 1000 && chime_send(s, q, sizeof q, 0) > 0; i++)
		;
	return s;
}

/* Reads after all: what is on its way, and the end. Who is closed in the midst of that waits as a server would. */
static void hear_out(chime_sock **s)
{
	unsigned char a[20000];
	ssize_t n;
	CHECK_EQ(chime_set_timeout(*s, LIMIT), 0);
	do {
		n = chime_recv(*s, a, sizeof a, 0);
	} while (n > 0);
	CHECK(n == 0 || n == -ECONNRESET);
	chime_free(s);
}

/* Asks once; how long the answer took. */
static int64_t ask(chime_sock *s)
{
	unsigned char a[STAMP + 1];
	int64_t begin = test_now();
	CHECK_EQ(chime_sendall(s, "i", 1, 0, NULL), 0);
	for (size_t got = 0; got < sizeof a;) {
		ssize_t n = chime_recv(s, a + got, sizeof a - got, 0);
		CHECK_IN(n, 1, (ssize_t)(sizeof a - got));
		got += (size_t)n;
	}
	CHECK_EQ(a[STAMP], 'i');
	return test_now() - begin;
}

/*
 * Peers that do not read are ended, and who else is served by the same thread does not notice. Nor does the end of the server wait for
 * those that are left.
 */
static void deaf_peers(const char *backend, const char *scheme, unsigned instance)
{
	need_tipc();
	struct chime_server_stats stats;
	chime_sock *deaf[DEAF];
	int64_t longest = 0;
	chime_server *server = serve_at(backend, scheme, instance, CHIME_SEC / 2);
	chime_sock *s = client_at(scheme, instance);
	for (unsigned i = 0; i < DEAF; i++)
		deaf[i] = deaf_client(scheme, instance);
	int64_t until = test_now() + 3 * LIMIT;
	do {
		int64_t took = ask(s);
		longest = took > longest ? took : longest;
		stats = live_stats(server);
	} while (stats.stalled_ended < DEAF && test_now() < until);
	CHECK_EQ(stats.stalled_ended, DEAF);
	CHECK_IN(longest, 0, HELD);
	for (unsigned i = 0; i < DEAF; i++)
		hear_out(&deaf[i]);

	for (unsigned i = 0; i < DEAF; i++)
		deaf[i] = deaf_client(scheme, instance);
	int64_t begin = test_now();
	chime_server_stop(server);
	CHECK_EQ(chime_server_wait(server, 3 * LIMIT), 0);
	CHECK_IN(test_now() - begin, 0, HELD);
	chime_server_free(&server);
	for (unsigned i = 0; i < DEAF; i++)
		hear_out(&deaf[i]);
	chime_free(&s);
}

TEST_LIMIT(tipc_peers_that_do_not_read_hold_nobody_up_epoll, 120)
{
	deaf_peers("epoll", "tipc", 7);
}

TEST_LIMIT(tipc_peers_that_do_not_read_hold_nobody_up_uring, 120)
{
	deaf_peers("uring", "tipc", 8);
}

TEST_LIMIT(tipc_seqpacket_peers_that_do_not_read_hold_nobody_up, 120)
{
	deaf_peers("epoll", "tipc+seqpacket", 9);
}

TEST_MAIN()
