/* chime serve on rdm:// and sctp+seqpacket:// behind a network that loses: many messages under way, its end in their midst, its death. */
#include "program.h"

#include "net/relay.h"

#include <chime/rdm.h>

#define ASKED 3000
#define MOST 400000 /* more than can be asked while a server is ending */
#define BYTES 400
#define BYTES_MAX 4000
#define STAMP 24
#define USER "udp=0&carrier=user"

/* One client, and what became of each of its messages. */
struct asker {
	struct program server;
	struct relay relay;
	char endpoint[256]; /* where it serves */
	chime_rdm *client;
	size_t bytes;             /* of a message */
	struct chime_rdm_peer to; /* .assoc: the one that there is, as far as was told */
	unsigned sent, answered, told;
	bool down;
	int why; /* of .down */
	unsigned first_id;
	uint32_t by[MOST]; /* the association that it was sent by; 0: the one that was made for it */
	unsigned char answers[MOST], undelivered[MOST];
};

/* On a busy machine whoever is there may be silent for seconds. */
#define GIVE_UP (8 * CHIME_SEC)

/*
 * scheme: with its host, "rdm://127.0.0.1". grace: of the server. drop: in a hundred. give_up_ns: after which silence the client
 * takes the server for gone.
 */
static void asker_open(struct asker *a, const char *scheme, const char *backend, const char *grace, unsigned drop,
		       int64_t give_up_ns)
{
	char text[128], *at = a->endpoint;
	struct chime_rdm_config config = CHIME_RDM_CONFIG_INIT;
	int family = strchr(scheme, '[') ? AF_INET6 : AF_INET;
	if (chime_rdm_available(CHIME_RDM_USER) < 0)
		SKIP("this build has no libusrsctp");
	memset(a, 0, sizeof *a);
	a->bytes = BYTES;
	snprintf(text, sizeof text, "%s:0?" USER, scheme);
	START(&a->server, "serve", "--grace", grace, "--backend", backend, text);
	server_endpoint(&a->server, 0, at);
	at[strcspn(at, " ")] = 0;
	chime_endpoint e;
	CHECK_EQ(chime_endpoint_parse(&e, at, NULL, NULL, NULL), 0);
	relay_open(&a->relay, family, (int)e.set.udp_port, 77 + drop, drop, drop != 0);
	CHECK_EQ(chime_addr_ip(&a->to.addr, family, family == AF_INET ? "127.0.0.1" : "::1", e.port), 0);
	a->to.udp_port = (uint16_t)a->relay.port;
	config.timeout_ns = 0;
	config.give_up_ns = give_up_ns;
	CHECK_EQ(chime_endpoint_parse(&e, text, NULL, NULL, NULL), 0);
	CHECK_EQ(chime_rdm_serve(&a->client, &e, &config), 0);
}

static void take(struct asker *a)
{
	struct chime_rdm_event ev;
	while (chime_rdm_receive(a->client, &ev) == 0) {
		unsigned n;
		switch (ev.kind) {
		case CHIME_RDM_MESSAGE:
			CHECK_EQ(ev.len, STAMP + a->bytes);
			memcpy(&n, ev.data + STAMP, sizeof n);
			CHECK(n < a->sent);
			CHECK(a->by[n] == 0 || a->by[n] == ev.peer.assoc);
			CHECK_EQ(a->answers[n], 0);
			CHECK_EQ(ev.data[STAMP + a->bytes - 1], n & 0xff);
			a->answers[n] = 1;
			a->answered++;
			break;
		case CHIME_RDM_UNDELIVERED:
			n = ev.id - a->first_id;
			CHECK(n < a->sent);
			CHECK_EQ(a->undelivered[n], 0);
			a->undelivered[n] = 1;
			a->told++;
			break;
		case CHIME_RDM_UP:
			a->to.assoc = ev.peer.assoc;
			break;
		case CHIME_RDM_DOWN:
			a->to.assoc = 0;
			a->down = true;
			a->why = ev.why;
			break;
		case CHIME_RDM_RESTARTED:
			a->to.assoc = 0;
			break;
		}
	}
}

/* Sends up to .sent == until, as far as it goes now. Whether anything went. */
static bool give(struct asker *a, unsigned until)
{
	unsigned char bytes[BYTES_MAX];
	unsigned before = a->sent;
	uint32_t id;
	for (unsigned i = 0; i < 16 && a->sent < until && !a->down; i++) {
		memset(bytes, (int)a->sent, a->bytes);
		memcpy(bytes, &a->sent, sizeof a->sent);
		int err = chime_rdm_send(a->client, bytes, a->bytes, &a->to, &id);
		if (err == -EAGAIN || err == -EPIPE || err == -ESHUTDOWN || err == -ECONNRESET || err == -ENOTCONN)
			break;
		CHECK_EQ(err, 0);
		if (a->sent == 0)
			a->first_id = id;
		a->by[a->sent++] = a->to.assoc;
	}
	return a->sent > before;
}

/* Until something comes: for 20 ms at most, for there are timers. */
static void wait_a_little(struct asker *a)
{
	struct pollfd f[3] = { { chime_rdm_fileno(a->client), POLLIN, 0 },
			       { a->relay.near, POLLIN, 0 },
			       { a->relay.far, POLLIN, 0 } };
	poll(f, 3, 20);
}

/* A turn of relay and client. */
static void turn(struct asker *a, unsigned until)
{
	bool moved = relay_run(&a->relay);
	moved = give(a, until) || moved;
	take(a);
	if (!relay_run(&a->relay) && !moved)
		wait_a_little(a);
}

/* Asks on, until so many in all are answered. */
static void until_answered(struct asker *a, unsigned answered, unsigned until)
{
	for (int64_t end = test_now() + 60 * CHIME_SEC; a->answered < answered && test_now() < end;)
		turn(a, until);
	CHECK_IN(a->answered, answered, until);
}

/* Until the end of the association is told, asking on meanwhile. */
static void until_down(struct asker *a, unsigned until)
{
	for (int64_t end = test_now() + 60 * CHIME_SEC; !a->down && test_now() < end;)
		turn(a, until);
	CHECK(a->down);
}

/* New questions, over a new association: each is answered. */
static void ask_anew(struct asker *a)
{
	unsigned from = a->sent, count = 100;
	a->down = false;
	while (a->sent < from + count || memchr(a->answers + from, 0, count)) {
		turn(a, from + count);
		CHECK(!a->down);
	}
}

static void asker_close(struct asker *a)
{
	chime_rdm_free(&a->client);
	relay_close(&a->relay);
	program_forget(&a->server);
}

/* What the server counted under that name in its totals. */
static unsigned counted(const struct asker *a, const char *name)
{
	const char *totals = strstr(told(&a->server), "event=totals");
	const char *at = totals ? strstr(totals, name) : NULL;
	CHECK(totals != NULL);
	return at ? (unsigned)strtoul(at + strlen(name), NULL, 10) : 0;
}

/* ---- its end ---- */

/*
 * SIGTERM while many are under way. Every answer that the server counts arrives, once; what has none was not told to be lost, but the
 * association ends in order: its sender knows. The server ends with 0, and cuts nobody off.
 */
static void drain_in_flight(const char *scheme, const char *backend)
{
	static struct asker a;
	asker_open(&a, scheme, backend, "50s", 10, GIVE_UP);
	until_answered(&a, ASKED / 10, MOST);
	kill(a.server.pid, SIGTERM);
	until_down(&a, MOST); /* asking on, so that the end comes in the middle */
	CHECK_EQ(program_wait(&a.server), 0);
	fprintf(stderr, "# %s: %u sent, %u answered, %u undelivered, %s; %s", scheme, a.sent, a.answered, a.told,
		chime_strerror(a.why), told(&a.server));
	/* The last packet of an orderly end may be lost, when nobody is left to repeat it. */
	CHECK(a.why == 0 || a.why == -ETIMEDOUT);
	CHECK_EQ(a.told, 0);
	CHECK_EQ(counted(&a, " answers="), a.answered);
	CHECK_EQ(counted(&a, " dropped_send="), 0);
	CHECK_EQ(counted(&a, " dropped_queue="), 0);
	CHECK_EQ(counted(&a, " cut="), 0);
	CHECK(a.answered < a.sent);
	asker_close(&a);
}

TEST_LIMIT(a_drain_in_flight_loses_no_answer_rdm_ipv4, 120)
{
	drain_in_flight("rdm://127.0.0.1", "epoll");
}

TEST_LIMIT(a_drain_in_flight_loses_no_answer_rdm_ipv6, 120)
{
	drain_in_flight("rdm://[::1]", "uring");
}

TEST_LIMIT(a_drain_in_flight_loses_no_answer_seqpacket_ipv4, 120)
{
	drain_in_flight("sctp+seqpacket://127.0.0.1", "uring");
}

TEST_LIMIT(a_drain_in_flight_loses_no_answer_seqpacket_ipv6, 120)
{
	drain_in_flight("sctp+seqpacket://[::1]", "epoll");
}

/* ---- its troubles ---- */

/* Killed with many under way, and started anew: what it had not acknowledged is told by number, and the new one answers. */
static void kill_and_restart(const char *scheme)
{
	static struct asker a;
	asker_open(&a, scheme, "epoll", "5s", 10, GIVE_UP);
	until_answered(&a, 300, MOST - 200);
	kill(a.server.pid, SIGKILL);
	CHECK_EQ(program_wait(&a.server), 128 + SIGKILL);
	program_forget(&a.server);
	START(&a.server, "serve", a.endpoint);
	program_expect(&a.server, &a.server.told, 0, "listening ");
	until_down(&a, 0);
	CHECK_EQ(a.why, -ECONNRESET);
	CHECK(a.told > 0);
	ask_anew(&a);
	server_end(&a.server);
	asker_close(&a);
}

TEST_LIMIT(a_server_killed_and_restarted_is_told_rdm_ipv6, 60)
{
	kill_and_restart("rdm://[::1]");
}

TEST_LIMIT(a_server_killed_and_restarted_is_told_seqpacket_ipv4, 60)
{
	kill_and_restart("sctp+seqpacket://127.0.0.1");
}

/* Stopped with many under way: when it is given up, they are told. */
static void stop_in_flight(const char *scheme)
{
	static struct asker a;
	asker_open(&a, scheme, "epoll", "5s", 10, 3 * CHIME_SEC);
	until_answered(&a, 300, MOST);
	kill(a.server.pid, SIGSTOP);
	until_down(&a, MOST);
	CHECK_EQ(a.why, -ETIMEDOUT);
	CHECK(a.told > 0);
	kill(a.server.pid, SIGKILL);
	CHECK_EQ(program_wait(&a.server), 128 + SIGKILL);
	asker_close(&a);
}

TEST_LIMIT(a_server_that_stops_is_told_rdm_ipv4, 60)
{
	stop_in_flight("rdm://127.0.0.1");
}

TEST_LIMIT(a_server_that_stops_is_told_seqpacket_ipv6, 60)
{
	stop_in_flight("sctp+seqpacket://[::1]");
}

/*
 * A client that takes no answer: its window fills, then what the server keeps for it, and its association is aborted, which tells
 * it. What it has got until then is good, and asking again is answered.
 */
static void full_window(const char *scheme)
{
	static struct asker a;
	asker_open(&a, scheme, "epoll", "5s", 0, GIVE_UP);
	a.bytes = BYTES_MAX;
	until_answered(&a, 1, 1);
	for (int64_t end = test_now() + 60 * CHIME_SEC; !strstr(told(&a.server), "the queue is full");) {
		CHECK(test_now() < end);
		bool moved = relay_run(&a.relay);
		if (!give(&a, ASKED - 200) && !moved)
			program_listen(&a.server, test_now() + 2 * CHIME_MSEC);
		CHECK_EQ(chime_rdm_process(a.client), 0);
	}
	until_down(&a, 0);
	CHECK_EQ(a.why, -ECONNRESET);
	CHECK_IN(a.answered, 1, a.sent - 1);
	ask_anew(&a);
	kill(a.server.pid, SIGTERM);
	CHECK_EQ(program_wait(&a.server), 0);
	CHECK(counted(&a, " dropped_queue=") > 0);
	asker_close(&a);
}

TEST_LIMIT(a_client_that_takes_nothing_is_told_rdm_ipv6, 60)
{
	full_window("rdm://[::1]");
}

TEST_LIMIT(a_client_that_takes_nothing_is_told_seqpacket_ipv4, 60)
{
	full_window("sctp+seqpacket://127.0.0.1");
}

TEST_MAIN()
