/*
 * The public server interface, as a stranger uses it: real sockets, real threads. Over 600 lines, because every part uses the saying and
 * the hearing at its beginning.
 */
#include "server/live.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static chime_server *server;

static void say(chime_sock *s, const char *text)
{
	CHECK_EQ(chime_sendall(s, text, strlen(text), 0, NULL), 0);
}

static void hear(chime_sock *s, const char *text)
{
	char got[256] = "";
	CHECK(strlen(text) < sizeof got);
	CHECK_EQ(chime_recv_exact(s, got, strlen(text), 0, NULL), 0);
	CHECK_STR(got, text);
}

static void hear_end(chime_sock *s)
{
	char c;
	CHECK_EQ(chime_recv(s, &c, 1, 0), 0);
}

/* The least there is: one function makes a server. */
TEST_EACH_BACKEND(one_function_is_a_service)
{
	server = live_serve("tcp://127.0.0.1:0", &live_echo_service, 1);
	chime_sock *s = live_dial(server, 0);
	say(s, "hello");
	hear(s, "hello");
	CHECK_EQ(chime_shutdown(s, SHUT_WR), 0);
	hear_end(s);
	chime_free(&s);
	CHECK_EQ(live_stats(server).accepted, 1);
	CHECK_EQ(live_stats(server).received_bytes, 5);
	live_end(&server);
}

/* ---- per-connection data and callbacks ---- */

struct tally {
	unsigned messages;
};
static unsigned opened, closed, ended;

static int tally_opened(chime_conn *c, void *state)
{
	struct tally *t = state;
	CHECK_EQ(t->messages, 0);
	CHECK_PTR(chime_conn_state(c), state);
	return __atomic_add_fetch(&opened, 1, __ATOMIC_RELAXED) == 3 ? -1 : 0;
}

static ssize_t tally_received(const struct chime_input *in, chime_reply *out)
{
	static const char *const word[] = { "zero", "one", "two", "three" };
	struct tally *t = in->state;
	const char *w = word[++t->messages & 3];
	chime_reply_add(out, w, strlen(w));
	return (ssize_t)in->len;
}

static void tally_ended(chime_conn *c, void *state)
{
	(void)state;
	__atomic_add_fetch(&ended, 1, __ATOMIC_RELAXED);
	CHECK_EQ(chime_conn_send(c, "bye", 3), 0);
}

static void tally_closed(chime_conn *c, void *state, int why)
{
	(void)c, (void)state;
	CHECK_EQ(why, 0);
	__atomic_add_fetch(&closed, 1, __ATOMIC_RELAXED);
}

static const chime_service tally = { .size = sizeof(chime_service),
				     .name = "tally",
				     .state_size = sizeof(struct tally),
				     .opened = tally_opened,
				     .received = tally_received,
				     .ended = tally_ended,
				     .closed = tally_closed };

/* Each connection has zeroed data of its own; .opened may refuse; .ended may still send; .closed comes once for each. */
TEST_EACH_BACKEND(connections_have_their_own_data)
{
	server = live_serve("tcp://127.0.0.1:0", &tally, 1);
	chime_sock *a = live_dial(server, 0), *b = live_dial(server, 0);
	say(a, "x");
	hear(a, "one");
	say(a, "x");
	hear(a, "two");
	say(b, "x");
	hear(b, "one");
	chime_sock *c = live_dial(server, 0);
	char byte;
	CHECK_IN(chime_recv(c, &byte, 1, 0), -ECONNRESET, 0); /* refused: closed at once */
	chime_shutdown(a, SHUT_WR);
	hear(a, "bye");
	hear_end(a);
	chime_shutdown(b, SHUT_WR);
	hear(b, "bye");
	hear_end(b);
	live_end(&server);
	CHECK_EQ(opened, 3);
	CHECK_EQ(ended, 2);
	CHECK_EQ(closed, 2);
	chime_free(&a);
	chime_free(&b);
	chime_free(&c);
}

/* ---- answers later than the call ---- */

struct slow {
	chime_conn *conn;
	struct chime_timer timer;
	unsigned n;
};

static void slow_answer(chime_timer *t, void *arg)
{
	struct slow *s = arg;
	CHECK(!t->link);
	CHECK_EQ(chime_conn_send(s->conn, "late", 4), 0);
	chime_conn_release(s->conn);
}

static ssize_t slow_received(const struct chime_input *in, chime_reply *out)
{
	struct slow *s = in->state;
	(void)out;
	s->conn = in->conn;
	chime_conn_hold(in->conn);
	chime_timer_start(chime_conn_worker(in->conn), &s->timer, 50 * CHIME_MSEC, slow_answer, s);
	return (ssize_t)in->len;
}

static void slow_closed(chime_conn *c, void *state, int why)
{
	(void)why;
	chime_timer_stop(chime_conn_worker(c), &((struct slow *)state)->timer);
}

static const chime_service slow = { .size = sizeof(chime_service),
				    .name = "slow",
				    .state_size = sizeof(struct slow),
				    .received = slow_received,
				    .closed = slow_closed };

/* An answer that comes by timer arrives though the peer has ended meanwhile, and before the close; draining waits for it too. */
TEST_EACH_BACKEND(held_connections_wait_for_their_answers)
{
	server = live_serve("tcp://127.0.0.1:0", &slow, 1);
	chime_sock *a = live_dial(server, 0), *b = live_dial(server, 0);
	say(a, "?");
	chime_shutdown(a, SHUT_WR);
	hear(a, "late");
	hear_end(a);
	say(b, "?");
	while (live_stats(server).received_bytes < 2)
		sched_yield();
	chime_server_stop(server);
	hear(b, "late");
	hear_end(b);
	chime_free(&a);
	chime_free(&b);
	live_end(&server);
}

/* ---- from another thread ---- */

static uint64_t the_id;
static unsigned posted;

static ssize_t id_received(const struct chime_input *in, chime_reply *out)
{
	(void)out;
	__atomic_store_n(&the_id, chime_conn_id(in->conn), __ATOMIC_RELEASE);
	return (ssize_t)in->len;
}

static const chime_service by_id = { .size = sizeof(chime_service), .name = "byid", .received = id_received };

static void send_to_id(chime_worker *w, void *arg)
{
	chime_conn *c = chime_worker_conn(w, *(uint64_t *)arg);
	CHECK_PTR(chime_worker_server(w), server);
	if (c)
		CHECK_EQ(chime_conn_send(c, "posted", 6), 0);
	__atomic_add_fetch(&posted, 1, __ATOMIC_RELEASE);
}

/* Another thread reaches a connection by its number, through its worker; after the end, it finds none. */
TEST_EACH_BACKEND(post_reaches_a_connection)
{
	server = live_serve("tcp://127.0.0.1:0", &by_id, 1);
	chime_sock *s = live_dial(server, 0);
	say(s, "?");
	while (!__atomic_load_n(&the_id, __ATOMIC_ACQUIRE))
		sched_yield();
	uint64_t nobody = the_id + 1000;
	CHECK_EQ(chime_server_post_from_any(server, 0, send_to_id, &the_id), 0);
	CHECK_EQ(chime_server_post_from_any(server, 0, send_to_id, &nobody), 0);
	CHECK_EQ(chime_server_post_from_any(server, 1, send_to_id, &the_id), -ENOENT);
	hear(s, "posted");
	while (__atomic_load_n(&posted, __ATOMIC_ACQUIRE) < 2)
		sched_yield();
	chime_free(&s);
	live_end(&server);
}

/* ---- outgoing connections ---- */

struct relay {
	chime_conn *other;
};

static ssize_t relay_received(const struct chime_input *in, chime_reply *out)
{
	struct relay *r = in->state;
	(void)out;
	if (r->other)
		CHECK_EQ(chime_conn_send(r->other, in->data, in->len), 0);
	return (ssize_t)in->len;
}

static void relay_ended(chime_conn *c, void *state)
{
	struct relay *r = state;
	(void)c;
	if (r->other)
		chime_conn_close(r->other);
}

static void relay_closed(chime_conn *c, void *state, int why)
{
	struct relay *r = state;
	(void)c, (void)why;
	if (r->other) {
		((struct relay *)chime_conn_state(r->other))->other = NULL;
		chime_conn_close(r->other);
	}
}

static const chime_service relay_out = { .size = sizeof(chime_service),
					 .name = "relayout",
					 .state_size = sizeof(struct relay),
					 .received = relay_received,
					 .ended = relay_ended,
					 .closed = relay_closed };
static chime_addr relay_to;

static int relay_opened(chime_conn *c, void *state)
{
	struct relay *r = state, theirs = { c };
	return chime_worker_connect(chime_conn_worker(c), &relay_out, NULL, &relay_to, SOCK_STREAM, &theirs,
				    sizeof theirs, &r->other);
}

static ssize_t relay_first(const struct chime_input *in, chime_reply *out)
{
	struct relay *r = in->state;
	(void)out;
	int err = chime_conn_send(r->other, in->data, in->len);
	return err == -ENOTCONN ? 0 : err < 0 ? err : (ssize_t)in->len;
}

static const chime_service relay_in = { .size = sizeof(chime_service),
					.name = "relayin",
					.state_size = sizeof(struct relay),
					.opened = relay_opened,
					.received = relay_first,
					.ended = relay_ended,
					.closed = relay_closed };

/* A connection made on the worker's own loop carries bytes both ways; one that fails is told. */
TEST_EACH_BACKEND(outgoing_connection_on_the_same_loop)
{
	chime_server *back = live_serve("tcp://127.0.0.1:0", &live_echo_service, 1);
	CHECK_EQ(chime_addr_ip(&relay_to, AF_INET, "127.0.0.1", chime_server_endpoint(back, 0)->port), 0);
	server = live_serve("tcp://127.0.0.1:0", &relay_in, 1);
	chime_sock *s = live_dial(server, 0);
	while (live_stats(server).connected == 0)
		sched_yield();
	say(s, "there and back");
	hear(s, "there and back");
	chime_shutdown(s, SHUT_WR);
	hear_end(s);
	chime_free(&s);
	live_end(&back);
	s = live_dial(server, 0); /* nobody is there now: the relay closes */
	char c;
	CHECK_IN(chime_recv(s, &c, 1, 0), -ECONNRESET, 0);
	chime_free(&s);
	live_end(&server);
}

static unsigned late;

static void run_late(chime_worker *w, void *arg)
{
	(void)w, (void)arg;
	late++;
}

/* When the workers have ended nothing is posted any more, and nothing runs in who frees the server. */
TEST_EACH_BACKEND(post_behind_the_end_is_refused)
{
	late = 0;
	server = live_serve("tcp://127.0.0.1:0", &live_echo_service, 2);
	chime_server_stop(server);
	CHECK_EQ(chime_server_wait(server, 60 * CHIME_SEC), 0);
	for (unsigned n = 0; n < 2; n++)
		CHECK_EQ(chime_server_post_from_any(server, n, run_late, NULL), -ECANCELED);
	chime_server_free(&server);
	CHECK_EQ(late, 0);
}

static unsigned attempts;

static void persistent_closed(chime_conn *c, void *state, int why);

static const chime_service persistent = {
	.size = sizeof(chime_service), .name = "persistent", .received = live_echo, .closed = persistent_closed
};

static void attempt(chime_worker *w, void *arg)
{
	chime_conn *c;
	(void)arg;
	__atomic_add_fetch(&attempts, 1, __ATOMIC_RELEASE);
	(void)chime_worker_connect(w, &persistent, NULL, &relay_to, SOCK_STREAM, NULL, 0, &c);
}

/* Tries again whatever the reason was. */
static void persistent_closed(chime_conn *c, void *state, int why)
{
	(void)state, (void)why;
	attempt(chime_conn_worker(c), NULL);
}

/* A service that connects anew each time that it is closed does not keep a server from ending: when the grace is over no connection is begun. */
TEST_EACH_BACKEND(reconnecting_ends_with_the_grace)
{
	struct chime_server_config config = live_config(1);
	attempts = 0;
	config.grace_ns = 20 * CHIME_MSEC;
	CHECK_EQ(chime_addr_ip(&relay_to, AF_INET, "127.0.0.1", 1), 0); /* refused */
	server = live_new(&config, "tcp://127.0.0.1:0", &live_echo_service);
	live_start(server);
	CHECK_EQ(chime_server_post_from_any(server, 0, attempt, NULL), 0);
	while (__atomic_load_n(&attempts, __ATOMIC_ACQUIRE) < 3)
		sched_yield();
	live_end(&server);
}

/* ---- ending from the service ---- */

static ssize_t quit_received(const struct chime_input *in, chime_reply *out)
{
	if (in->data[0] == 'q') {
		chime_reply_add(out, "good", 4);
		CHECK_EQ(chime_conn_send(in->conn, "bye", 3), 0);
		chime_conn_close(in->conn);
	} else if (in->data[0] == 'a') {
		chime_conn_abort(in->conn);
	} else if (in->data[0] == 'e') {
		return -EBADMSG;
	}
	return (ssize_t)in->len;
}

static const chime_service quit = { .size = sizeof(chime_service), .name = "quit", .received = quit_received };

/* close sends what was answered and queued, in order, then ends; abort and a negative result reset. */
TEST_EACH_BACKEND(service_may_end_a_connection)
{
	char c;
	server = live_serve("tcp://127.0.0.1:0", &quit, 1);
	chime_sock *s = live_dial(server, 0);
	say(s, "q and much more that nobody wants");
	hear(s, "goodbye");
	hear_end(s);
	chime_free(&s);
	s = live_dial(server, 0);
	say(s, "a");
	CHECK_EQ(chime_recv(s, &c, 1, 0), -ECONNRESET);
	chime_free(&s);
	s = live_dial(server, 0);
	say(s, "e");
	CHECK_EQ(chime_recv(s, &c, 1, 0), -ECONNRESET);
	chime_free(&s);
	live_end(&server);
}

static bool inside, was_inside;
static struct chime_timer abort_timer;

static void abort_later(chime_timer *t, void *arg)
{
	(void)t;
	inside = true;
	chime_conn_abort(arg);
	inside = false;
}

static ssize_t abort_received(const struct chime_input *in, chime_reply *out)
{
	(void)out;
	chime_conn_hold(in->conn);
	return (ssize_t)in->len;
}

/* The peer has ended and nothing runs for the connection any more: the barest state there is. */
static void abort_ended(chime_conn *c, void *state)
{
	(void)state;
	chime_timer_start(chime_conn_worker(c), &abort_timer, 0, abort_later, c);
}

static void abort_closed(chime_conn *c, void *state, int why)
{
	(void)c, (void)state, (void)why;
	__atomic_store_n(&was_inside, inside, __ATOMIC_RELEASE);
	__atomic_add_fetch(&closed, 1, __ATOMIC_RELEASE);
}

static const chime_service aborting = { .size = sizeof(chime_service),
					.name = "aborting",
					.received = abort_received,
					.ended = abort_ended,
					.closed = abort_closed };

/* .closed is never called inside the call that ends the connection, whatever its state. */
TEST_EACH_BACKEND(closed_is_not_called_inside_abort)
{
	server = live_serve("tcp://127.0.0.1:0", &aborting, 1);
	chime_sock *s = live_dial(server, 0);
	say(s, "x");
	chime_shutdown(s, SHUT_WR);
	while (!__atomic_load_n(&closed, __ATOMIC_ACQUIRE))
		sched_yield();
	CHECK(!__atomic_load_n(&was_inside, __ATOMIC_ACQUIRE));
	chime_free(&s);
	live_end(&server);
}

static int flood_result;

static ssize_t flood_received(const struct chime_input *in, chime_reply *out)
{
	static char bytes[100000];
	int err = 0;
	(void)out;
	for (int i = 0; i < 100 && err == 0; i++)
		err = chime_conn_send(in->conn, bytes, sizeof bytes);
	__atomic_store_n(&flood_result, err, __ATOMIC_RELEASE);
	return (ssize_t)in->len;
}

static const chime_service flood = { .size = sizeof(chime_service), .name = "flood", .received = flood_received };

/* A service that sends without end is told when the connection's ceiling is reached; what was taken arrives. */
TEST_EACH_BACKEND(queue_of_a_connection_has_a_ceiling)
{
	char buf[65536];
	size_t n = 0;
	server = live_serve("tcp://127.0.0.1:0", &flood, 1);
	chime_sock *s = live_dial(server, 0);
	say(s, "?");
	chime_shutdown(s, SHUT_WR);
	for (ssize_t got; (got = chime_recv(s, buf, sizeof buf, 0)) > 0;)
		n += (size_t)got;
	CHECK_EQ(__atomic_load_n(&flood_result, __ATOMIC_ACQUIRE), -ENOBUFS);
	CHECK_EQ(n, 1000000);
	chime_free(&s);
	live_end(&server);
}

/* Many connections over several workers: each is answered, and the counters add up. */
TEST_EACH_BACKEND(several_workers_serve_all)
{
	enum {
		N = 200
	};
	chime_sock *s[N];
	server = live_serve("tcp://127.0.0.1:0", &live_echo_service, 4);
	CHECK_EQ(chime_server_workers(server), 4);
	for (int i = 0; i < N; i++)
		s[i] = live_dial(server, 0);
	for (int round = 0; round < 5; round++) {
		for (int i = 0; i < N; i++)
			say(s[i], "ping");
		for (int i = 0; i < N; i++)
			hear(s[i], "ping");
	}
	CHECK_EQ(live_stats(server).open, N);
	CHECK_EQ(live_stats(server).accepted, N);
	CHECK_EQ(live_stats(server).received_bytes, 5 * 4 * N);
	live_end(&server);
	for (int i = 0; i < N; i++) {
		hear_end(s[i]);
		chime_free(&s[i]);
	}
}

/* Seqpacket: each message is answered by one, the empty one too, and the end is the end. */
TEST_EACH_BACKEND(seqpacket_keeps_boundaries)
{
	char path[128], got[64];
	snprintf(path, sizeof path, "stamp=unix+seqpacket:%s/s", test_dir());
	server = live_serve(path, NULL, 2);
	chime_sock *s = live_dial(server, 0);
	CHECK_EQ(chime_send(s, "ab", 2, 0), 2);
	CHECK_EQ(chime_send(s, "", 0, 0), 0);
	CHECK_EQ(chime_send(s, "c", 1, 0), 1);
	CHECK_EQ(chime_recv(s, got, sizeof got, 0), 26);
	CHECK_EQ(chime_recv(s, got, sizeof got, 0), 24);
	CHECK_EQ(chime_recv(s, got, sizeof got, 0), 25);
	chime_shutdown(s, SHUT_WR);
	hear_end(s);
	chime_free(&s);
	live_end(&server);
}

/* A message too long to be received is not answered, counted, and the next one is. */
TEST_EACH_BACKEND(too_long_message_harms_only_itself)
{
	char path[128], got[64];
	static char big[CHIME_MESSAGE_MAX + 10];
	snprintf(path, sizeof path, "unix+seqpacket:%s/s", test_dir());
	server = live_serve(path, NULL, 1);
	chime_sock *s = live_dial(server, 0);
	CHECK_EQ(chime_setsockopt_int(s, SOL_SOCKET, SO_SNDBUF, 1 << 20), 0);
	CHECK_EQ(chime_send(s, big, sizeof big, 0), sizeof big);
	CHECK_EQ(chime_send(s, "c", 1, 0), 1);
	CHECK_EQ(chime_recv(s, got, sizeof got, 0), 25);
	CHECK_EQ(live_stats(server).dropped_long, 1);
	chime_free(&s);
	live_end(&server);
}

/* The longest message that the rules allow is answered. */
TEST_EACH_BACKEND(longest_message_is_answered)
{
	char path[128];
	static char big[CHIME_MESSAGE_MAX], got[CHIME_MESSAGE_MAX + 100];
	snprintf(path, sizeof path, "unix+seqpacket:%s/s", test_dir());
	server = live_serve(path, NULL, 1);
	chime_sock *s = live_dial(server, 0);
	CHECK_EQ(chime_setsockopt_int(s, SOL_SOCKET, SO_SNDBUF, 1 << 20), 0);
	memset(big, 'x', sizeof big);
	CHECK_EQ(chime_send(s, big, sizeof big, 0), sizeof big);
	CHECK_EQ(chime_recv(s, got, sizeof got, 0), sizeof big + 24);
	CHECK_MEM(got + 24, big, sizeof big);
	chime_free(&s);
	live_end(&server);
}

/* The query of an endpoint sets the engine's own limits. */
TEST_EACH_BACKEND(idle_timeout_by_query)
{
	server = live_serve("tcp://127.0.0.1:0?idle-timeout=100ms", &live_echo_service, 1);
	chime_sock *s = live_dial(server, 0);
	hear_end(s);
	CHECK_EQ(live_stats(server).idle_closed, 1);
	chime_free(&s);
	live_end(&server);
}

/* An idle server takes no turns. */
TEST_EACH_BACKEND(idle_server_does_nothing)
{
	server = live_serve("tcp://127.0.0.1:0", &live_echo_service, 2);
	chime_sock *s = live_dial(server, 0);
	say(s, "x");
	hear(s, "x");
	uint64_t turns = live_stats(server).workers_turns;
	CHECK_EQ(chime_server_wait(server, 300 * CHIME_MSEC), CHIME_ETIMEOUT);
	CHECK_IN(live_stats(server).workers_turns - turns, 0, 2);
	chime_free(&s);
	live_end(&server);
}

/* With a limit for looking the server answers, and where nothing comes it soon sleeps all the same. */
TEST_EACH_BACKEND(spinning_gives_up_the_core)
{
	struct chime_server_config config = live_config(1);
	config.spin_ns = 10 * CHIME_MSEC;
	server = live_new(&config, "tcp://127.0.0.1:0", &live_echo_service);
	live_start(server);
	chime_sock *s = live_dial(server, 0);
	for (int i = 0; i < 100; i++) {
		say(s, "x");
		hear(s, "x");
	}
	int64_t until = test_now() + 50 * CHIME_SEC;
	for (int seen = 0; seen < 100; seen = test_all_asleep(getpid()) ? seen + 1 : 0) {
		CHECK(test_now() < until);
		CHECK_EQ(chime_server_wait(server, CHIME_MSEC), CHIME_ETIMEOUT);
	}
	chime_free(&s);
	live_end(&server);
	config.spin_ns = CHIME_SEC;
	CHECK_EQ(chime_server_new(&server, &config), -EINVAL);
}

/* What a worker says of itself: its number, and which core it may run on (-1: several). */
static ssize_t where_received(const struct chime_input *in, chime_reply *out)
{
	static _Thread_local char text[32];
	cpu_set_t set;
	int core = -1;
	(void)in;
	CHECK_EQ(sched_getaffinity(0, sizeof set, &set), 0);
	for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&set) == 1; i++)
		if (CPU_ISSET(i, &set))
			core = i;
	int n = snprintf(text, sizeof text, "%03d", core);
	return chime_reply_add(out, text, (size_t)n) < 0 ? -1 : (ssize_t)in->len;
}

static const chime_service where_service = {
	.size = sizeof(chime_service), .name = "where", .help = "which core", .received = where_received
};

/* Pinned workers stay on a core each; who connects from a core is served on it. More workers than cores are refused. */
TEST_EACH_BACKEND(pinned_workers_serve_their_own_core)
{
	cpu_set_t all, one;
	CHECK_EQ(sched_getaffinity(0, sizeof all, &all), 0);
	struct chime_server_config config = live_config((unsigned)CPU_COUNT(&all));
	config.pin = true;
	server = live_new(&config, "tcp://127.0.0.1:0", &where_service);
	live_start(server);
	for (int core = 0; core < CPU_SETSIZE; core++) {
		char text[8];
		if (!CPU_ISSET(core, &all))
			continue;
		CPU_ZERO(&one);
		CPU_SET(core, &one);
		CHECK_EQ(sched_setaffinity(0, sizeof one, &one), 0);
		snprintf(text, sizeof text, "%03d", core);
		for (int i = 0; i < 8; i++) {
			chime_sock *s = live_dial(server, 0);
			say(s, "x");
			hear(s, text);
			chime_free(&s);
		}
	}
	CHECK_EQ(sched_setaffinity(0, sizeof all, &all), 0);
	live_end(&server);
	config.workers++;
	server = live_new(&config, "tcp://127.0.0.1:0", &where_service);
	CHECK_EQ(chime_server_open(server), -EINVAL);
	CHECK(strstr(chime_server_why(server), "core"));
	chime_server_free(&server);
}

static void on_alarm(int sig)
{
	(void)sig;
	chime_server_stop(server);
}

/* stop is allowed in a signal handler. */
TEST_EACH_BACKEND(stop_in_a_signal_handler)
{
	struct itimerval soon = { .it_value = { .tv_usec = 20000 } };
	server = live_serve("tcp://127.0.0.1:0", &live_echo_service, 2);
	chime_sock *s = live_dial(server, 0);
	say(s, "here"); /* and its connection has come */
	hear(s, "here");
	signal(SIGALRM, on_alarm);
	setitimer(ITIMER_REAL, &soon, NULL);
	CHECK_EQ(chime_server_wait(server, CHIME_FOREVER), 0);
	hear_end(s);
	chime_free(&s);
	chime_server_free(&server);
}

/* What is wrong with an endpoint is said before anything is opened, with the place where there is one. */
TEST(bad_endpoints_are_refused)
{
	struct chime_server_config config = CHIME_SERVER_CONFIG_INIT;
	struct chime_endpoint_error error;
	CHECK_EQ(chime_server_new(&server, &config), 0);
	CHECK_EQ(chime_server_add(server, "nosuch=tcp://:0", NULL, NULL, &error), -ENOENT);
	CHECK(strstr(error.message, "stamp"));
	CHECK_EQ(chime_server_add(server, "echo=tcp://:0", &live_echo_service, NULL, &error), -EINVAL);
	CHECK_EQ(chime_server_add(server, "tcp://:0?chunk=0", NULL, NULL, &error), -ERANGE);
	CHECK(chime_server_add(server, "echo=tcp://:0?chunk=1", NULL, NULL, &error) < 0);
	CHECK_EQ(chime_server_add(server, "tls://127.0.0.1:0", NULL, NULL, &error), CHIME_ESCHEME);
	CHECK(error.message[0]);
	CHECK_EQ(chime_server_start(server), -EINVAL);
	CHECK(chime_server_why(server)[0]);
	chime_server_free(&server);
	config.workers = 1000;
	CHECK_EQ(chime_server_new(&server, &config), -EINVAL);
	config.workers = 1;
	config.backend = "kqueue";
	CHECK_EQ(chime_server_new(&server, &config), -EPROTONOSUPPORT);
}

/* All endpoints come up or none: the first is closed again, and its file removed, when the second cannot be. */
TEST_EACH_BACKEND(all_endpoints_or_none)
{
	char path[128], file[100], taken[64];
	struct chime_server_config config = live_config(0);
	server = live_serve("tcp://127.0.0.1:0", &live_echo_service, 1);
	snprintf(file, sizeof file, "%s/s", test_dir());
	snprintf(path, sizeof path, "unix:%s", file);
	snprintf(taken, sizeof taken, "tcp://127.0.0.1:%d", chime_server_endpoint(server, 0)->port);
	chime_server *second = live_new(&config, path, &live_echo_service);
	live_add(second, taken, &live_echo_service);
	CHECK_EQ(chime_server_start(second), -EADDRINUSE);
	CHECK(strstr(chime_server_why(second), "in use"));
	CHECK(access(file, F_OK) < 0);
	live_end(&server);
	CHECK_EQ(chime_server_start(second), 0); /* what was in the way is gone */
	chime_server_free(&second);
	CHECK(access(file, F_OK) < 0);
}

TEST_MAIN()
