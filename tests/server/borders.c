/* The public server interface at its borders: the longest input, the largest limits, the earliest call, what few peers send. */
#include "server/live.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <string.h>

static chime_server *server;
static const char *path_of(const char *scheme)
{
	static char text[160];
	snprintf(text, sizeof text, "%s:%s/s", scheme, test_dir());
	return text;
}

/* ---- input ---- */

#define WANTED 50000

static size_t longest;

static ssize_t much(const struct chime_input *in, chime_reply *out)
{
	if (in->len > longest)
		__atomic_store_n(&longest, in->len, __ATOMIC_RELAXED);
	if (in->len < WANTED && !in->end)
		return 0;
	size_t n = in->len < WANTED ? in->len : WANTED;
	chime_reply_add(out, in->data, n);
	return (ssize_t)n;
}
static const chime_service much_service = { .size = sizeof(chime_service), .name = "much", .received = much };

/* However much waits for the rest of a message and comes behind it, one call sees CHIME_INPUT_MAX bytes at most; nothing is lost. */
TEST_EACH_BACKEND(no_call_sees_more_than_the_longest_input)
{
	static unsigned char bytes[WANTED - 1 + CHIME_INPUT_MAX], back[sizeof bytes];
	uint64_t sent = 0;
	longest = 0;
	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (unsigned char)(i * 7 + i / 251);
	server = live_serve("tcp://127.0.0.1:0", &much_service, 1);
	for (int i = 0; i < 20; i++) {
		chime_sock *s = live_dial(server, 0);
		CHECK_EQ(chime_sendall(s, bytes, WANTED - 1, 0, NULL), 0);
		while (live_stats(server).received_bytes < sent + WANTED - 1)
			sched_yield();
		CHECK_EQ(chime_sendall(s, bytes + WANTED - 1, CHIME_INPUT_MAX, 0, NULL), 0);
		CHECK_EQ(chime_shutdown(s, SHUT_WR), 0);
		CHECK_EQ(chime_recv_exact(s, back, sizeof back, 0, NULL), 0);
		CHECK_MEM(back, bytes, sizeof bytes);
		CHECK_EQ(chime_recv(s, back, 1, 0), 0);
		chime_free(&s);
		sent += sizeof bytes;
	}
	live_end(&server);
	CHECK_IN(longest, WANTED, CHIME_INPUT_MAX);
}

/* A byte that is sent as urgent has its place among the others, and is answered there. */
static void check_urgent(const char *endpoint)
{
	char back[8];
	server = live_serve(endpoint, &live_echo_service, 1);
	chime_sock *s = live_dial(server, 0);
	CHECK_EQ(chime_sendall(s, "abc", 3, 0, NULL), 0);
	ssize_t n = chime_send(s, "X", 1, MSG_OOB);
	if (n == -EOPNOTSUPP)
		SKIP("this kernel knows no urgent data on unix sockets");
	CHECK_EQ(n, 1);
	CHECK_EQ(chime_sendall(s, "def", 3, 0, NULL), 0);
	CHECK_EQ(chime_recv_exact(s, back, 7, 0, NULL), 0);
	CHECK_MEM(back, "abcXdef", 7);
	CHECK_EQ(chime_send(s, "Y", 1, MSG_OOB), 1);
	CHECK_EQ(chime_shutdown(s, SHUT_WR), 0);
	CHECK_EQ(chime_recv_exact(s, back, 1, 0, NULL), 0);
	CHECK_MEM(back, "Y", 1);
	CHECK_EQ(chime_recv(s, back, 1, 0), 0);
	chime_free(&s);
	live_end(&server);
}

/* The same by TCP, which hands it on from the listener. */
TEST_EACH_BACKEND(urgent_byte_of_tcp_is_answered)
{
	check_urgent("tcp://127.0.0.1:0");
}

/* And by a unix socket, which does not. */
TEST_EACH_BACKEND(urgent_byte_of_a_unix_socket_is_answered)
{
	check_urgent(path_of("unix"));
}

/* ---- messages ---- */

static _Atomic unsigned taken;
static _Atomic int taken_err;

static ssize_t empties(const struct chime_input *in, chime_reply *out)
{
	int err = 0;
	(void)out;
	while (taken < 100000 && (err = chime_conn_send(in->conn, "", 0)) == 0)
		taken++;
	taken_err = err;
	return (ssize_t)in->len;
}
static const chime_service empties_service = { .size = sizeof(chime_service), .name = "empties", .received = empties };

/* The ceiling of one peer's queue holds for messages without bytes too; those that were taken all come. */
TEST_EACH_BACKEND(empty_messages_count_in_the_queue)
{
	char back[8];
	unsigned came = 0;
	taken = 0;
	server = live_serve(path_of("unix+seqpacket"), &empties_service, 1);
	chime_sock *s = live_dial(server, 0);
	CHECK_EQ(chime_send(s, "?", 1, 0), 1);
	CHECK_EQ(chime_recv(s, back, sizeof back, 0), 0);
	came++;
	CHECK_EQ(taken_err, -ENOBUFS);
	for (CHECK_IN(taken, 1000, 99999); came < taken; came++)
		CHECK_EQ(chime_recv(s, back, sizeof back, 0), 0);
	chime_free(&s);
	live_end(&server);
}

static ssize_t picky(const struct chime_input *in, chime_reply *out)
{
	static const int codes[] = { -ELOOP, -EMSGSIZE, CHIME_ETOOLONG, -EINVAL };
	if (in->data[0] < '4')
		return codes[in->data[0] - '0'];
	return live_echo(in, out);
}
static const chime_service picky_service = { .size = sizeof(chime_service), .name = "picky", .received = picky };

/* A message that its service refuses is counted by the reason, on a connection as on a datagram socket, and harms no other. */
TEST_EACH_BACKEND(refused_messages_are_counted_by_reason)
{
	char back[8];
	server = live_serve(path_of("unix+seqpacket"), &picky_service, 1);
	chime_sock *s = live_dial(server, 0);
	for (int i = 0; i < 5; i++)
		CHECK_EQ(chime_send(s, &"01234"[i], 1, 0), 1);
	CHECK_EQ(chime_recv(s, back, sizeof back, 0), 1);
	CHECK_EQ(back[0], '4');
	CHECK_EQ(live_stats(server).dropped_loop, 1);
	CHECK_EQ(live_stats(server).dropped_long, 2);
	CHECK_EQ(live_stats(server).errors, 1);
	CHECK_EQ(live_stats(server).dropped_queue, 0);
	chime_free(&s);
	live_end(&server);
}

/* ---- times and numbers ---- */

static struct chime_timer far, past;
static unsigned far_ran, past_ran;

static void on_far(chime_timer *t, void *arg)
{
	(void)t, (void)arg;
	__atomic_add_fetch(&far_ran, 1, __ATOMIC_RELEASE);
}

static void on_past(chime_timer *t, void *arg)
{
	/* Again and again, so that several ticks pass. */
	if (__atomic_add_fetch(&past_ran, 1, __ATOMIC_RELEASE) < 5)
		chime_timer_start(arg, t, INT64_MIN / 2, on_past, arg);
	else
		chime_timer_stop(arg, &far);
}

static void start_timers(chime_worker *w, void *arg)
{
	(void)arg;
	chime_timer_start(w, &far, INT64_MAX, on_far, w);
	chime_timer_start(w, &past, -CHIME_HOUR, on_past, w);
}

/* Limits as long as there are numbers never run out, and do not run out at once; a timer in the past runs at the next tick. */
TEST_EACH_BACKEND(longest_times_are_for_ever)
{
	char back[1];
	far_ran = past_ran = 0;
	struct chime_server_config config = live_config(1);
	config.idle_timeout_ns = config.stall_timeout_ns = config.grace_ns = INT64_MAX;
	server = live_new(&config, "tcp://127.0.0.1:0", &live_echo_service);
	live_start(server);
	chime_sock *s = live_dial(server, 0);
	CHECK_EQ(chime_sendall(s, "a", 1, 0, NULL), 0);
	CHECK_EQ(chime_recv(s, back, 1, 0), 1);
	CHECK_EQ(chime_server_post_from_any(server, 0, start_timers, NULL), 0);
	while (__atomic_load_n(&past_ran, __ATOMIC_ACQUIRE) < 5)
		sched_yield();
	CHECK_EQ(__atomic_load_n(&far_ran, __ATOMIC_ACQUIRE), 0);
	CHECK_EQ(chime_sendall(s, "b", 1, 0, NULL), 0);
	CHECK_EQ(chime_recv(s, back, 1, 0), 1);
	CHECK_EQ(live_stats(server).idle_closed, 0);
	chime_server_stop(server); /* it waits for the peer a little */
	CHECK_EQ(chime_server_wait(server, INT64_MAX), 0);
	chime_server_free(&server);
	chime_free(&s);
}

/* What listen(2) could not be given is refused, not cut. */
TEST(backlogs_out_of_range_are_refused)
{
	static const int64_t bad[] = { -1, INT64_MIN, (int64_t)INT_MAX + 1, 1ll << 32, INT64_MAX };
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct chime_server_config c = CHIME_SERVER_CONFIG_INIT;
		c.backlog = bad[i];
		CHECK_EQ(chime_server_new(&server, &c), -EINVAL);
		CHECK_PTR(server, NULL);
	}
}

/* ---- early, and again ---- */

/* When opening fails, a port that the kernel had chosen by then is given up too: it may be taken when opening is tried again. */
TEST_EACH_BACKEND(a_chosen_port_is_chosen_again)
{
	chime_sock *way, *other;
	chime_addr at;
	char busy[64];
	CHECK_EQ(chime_addr_ip(&at, AF_INET, "127.0.0.1", 0), 0);
	CHECK_EQ(chime_open(&way, AF_INET, SOCK_STREAM, 0), 0);
	CHECK_EQ(chime_bind(way, &at), 0);
	CHECK_EQ(chime_listen(way, 1), 0);
	CHECK_EQ(chime_getsockname(way, &at), 0);
	snprintf(busy, sizeof busy, "tcp://127.0.0.1:%d", chime_addr_port(&at));
	struct chime_server_config config = live_config(1);
	server = live_new(&config, "tcp://127.0.0.1:0", &live_echo_service);
	live_add(server, busy, &live_echo_service);
	CHECK_EQ(chime_server_open(server), -EADDRINUSE);
	CHECK_EQ(chime_server_endpoint(server, 0)->port, 0);
	chime_free(&way);
	CHECK_EQ(chime_server_open(server), 0);
	CHECK(chime_server_endpoint(server, 0)->port > 0);
	live_start(server);
	other = live_dial(server, 0);
	CHECK_EQ(chime_sendall(other, "a", 1, 0, NULL), 0);
	CHECK_EQ(chime_recv(other, busy, 1, 0), 1);
	chime_free(&other);
	live_end(&server);
}

static void note_worker(chime_worker *w, void *arg)
{
	__atomic_store_n((unsigned *)arg, chime_worker_number(w) + 1, __ATOMIC_RELEASE);
}

/*
 * A worker can be reached as soon as the server is open, before its thread has begun: the callbacks of one that began earlier may
 * want it. What is posted runs, also where it is never started.
 */
TEST_EACH_BACKEND(posts_reach_workers_that_have_not_begun)
{
	for (int started = 0; started < 2; started++) {
		unsigned ran[2] = { 0 };
		struct chime_server_config config = live_config(2);
		server = live_new(&config, "tcp://127.0.0.1:0", &live_echo_service);
		CHECK_EQ(chime_server_post_from_any(server, 0, note_worker, ran), -ENOENT);
		CHECK_EQ(chime_server_open(server), 0);
		for (unsigned i = 0; i < 2; i++)
			CHECK_EQ(chime_server_post_from_any(server, i, note_worker, &ran[i]), 0);
		CHECK_EQ(chime_server_post_from_any(server, 2, note_worker, ran), -ENOENT);
		if (started) {
			live_start(server);
			live_end(&server);
		} else {
			chime_server_free(&server);
		}
		CHECK_EQ(ran[0], 1);
		CHECK_EQ(ran[1], 2);
	}
}

TEST_MAIN()
