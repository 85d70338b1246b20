/* Answers of a datagram socket on their way: batches, what blocks, what waits, what a service sends of its own. */
#include "server/dgram_rig.h"

/* ---- sending ---- */

/* A call that takes some of a batch is followed by one for the rest: everything once, in order. */
TEST(outbox_sends_the_rest_of_a_batch)
{
	struct rig *r = rig_new("127.0.0.1:40000", &echo_service, NULL, 0);
	char text[8];
	r->fake.most = 3;
	for (unsigned i = 0; i < 10; i++) {
		snprintf(text, sizeof text, "%u", i);
		arrive_text(r, "127.0.0.1:50001", text);
	}
	turn(r);
	CHECK_EQ(r->fake.sent_n, 10);
	CHECK_EQ(r->fake.sends, 4);
	for (unsigned i = 0; i < 10; i++) {
		snprintf(text, sizeof text, "%u", i);
		check_sent(r, i, "127.0.0.1:50001", text);
	}
	rig_free(r);
}

/* Without room, answers wait in order, those of later batches behind them, and go when there is room. */
TEST(outbox_keeps_order_when_the_socket_is_full)
{
	struct rig *r = rig_new("127.0.0.1:40000", &echo_service, NULL, 0);
	char text[8];
	r->fake.room = 2;
	for (unsigned i = 0; i < 9; i++) {
		snprintf(text, sizeof text, "%u", i);
		arrive_text(r, "127.0.0.1:50001", text);
		if (i % 3 == 2)
			turn(r);
	}
	CHECK_EQ(r->fake.sent_n, 2);
	CHECK(r->w.stats.queued_bytes > 0);
	CHECK_EQ(r->w.stats.answers, 2);
	r->fake.room = 1; /* and never more than a few: what waits goes bit by bit */
	turn(r);
	CHECK_EQ(r->fake.sent_n, 3);
	r->fake.room = SENT_MAX;
	turn(r);
	turn(r);
	CHECK_EQ(r->fake.sent_n, 9);
	for (unsigned i = 0; i < 9; i++) {
		snprintf(text, sizeof text, "%u", i);
		check_sent(r, i, "127.0.0.1:50001", text);
	}
	CHECK_EQ(r->w.stats.queued_bytes, 0);
	CHECK_EQ(r->w.stats.answers, 9);
	CHECK_EQ(r->w.stats.dropped_queue, 0);
	rig_free(r);
}

/* An answer that cannot be sent is dropped and counted; the others of its batch go. */
TEST(outbox_drops_only_the_answer_that_fails)
{
	static const int errors[] = { -ECONNREFUSED, -ENETUNREACH, -EPERM, -EHOSTUNREACH, -ENOBUFS, -EINVAL };
	for (unsigned late = 0; late < 2; late++)
		for (unsigned i = 0; i < sizeof errors / sizeof *errors; i++) {
			struct rig *r = rig_new("127.0.0.1:40000", &echo_service, NULL, 0);
			r->fake.late = late;
			r->fake.fails[2] = errors[i];
			arrive_text(r, "127.0.0.1:50001", "a");
			arrive_text(r, "127.0.0.1:50002", "b");
			arrive_text(r, "127.0.0.1:50003", "c");
			arrive_text(r, "127.0.0.1:50002", "d");
			for (unsigned t = 0; t < 8; t++)
				turn(r);
			CHECK_EQ(r->fake.sent_n, 2);
			check_sent(r, 0, "127.0.0.1:50001", "a");
			check_sent(r, 1, "127.0.0.1:50003", "c");
			CHECK_EQ(r->w.stats.dropped_queue, 2);
			CHECK_EQ(r->w.stats.answers, 2);
			rig_free(r);
		}
}

/* What waits has a bound for each peer and for all, in which small messages cost their keep; the rest is dropped, counted. */
TEST(outbox_queue_is_bounded)
{
	struct rig *r = rig_new("127.0.0.1:40000", &echo_service, NULL, 0);
	r->served.rate = 0;
	r->fake.room = 0;
	for (unsigned i = 0; i < 100; i++) {
		arrive(r, "127.0.0.1:50001", NULL, 60000);
		turn(r);
	}
	CHECK_IN(r->w.stats.queued_bytes, DGRAM_QUEUE_PEER - 61000, DGRAM_QUEUE_PEER);
	CHECK_EQ(r->w.stats.dropped_queue, 100 - DGRAM_QUEUE_PEER / 60300);
	arrive_text(r, "127.0.0.1:50002", "another has its own share");
	turn(r);
	CHECK_EQ(r->w.stats.dropped_queue, 100 - DGRAM_QUEUE_PEER / 60300);
	for (unsigned i = 0; i < 100; i++) {
		char from[32];
		snprintf(from, sizeof from, "127.0.0.1:%u", 50003 + i);
		for (unsigned k = 0; k < 16; k++)
			arrive(r, from, NULL, 60000);
		turn(r);
	}
	CHECK_IN(r->w.stats.queued_bytes, DGRAM_QUEUE_BYTES - 61000, DGRAM_QUEUE_BYTES);
	rig_free(r);
	r = rig_new("127.0.0.1:40000", &echo_service, NULL, 0);
	r->fake.room = 0;
	for (unsigned i = 0; i < 10000; i++) {
		arrive(r, "127.0.0.1:50001", NULL, 0);
		turn(r);
	}
	CHECK_IN(r->w.stats.dropped_queue, 1, 9999);
	CHECK_IN(r->w.stats.queued_bytes, 1, DGRAM_QUEUE_PEER);
	rig_free(r);
}

/* The configuration's ceilings hold where they are lower than the datagram socket's own. */
TEST(outbox_queue_obeys_the_configuration)
{
	struct rig *r = rig_with("127.0.0.1:40000", &echo_service, NULL, 0, 20000, 50000);
	r->fake.room = 0;
	for (unsigned i = 0; i < 8; i++)
		arrive(r, "127.0.0.1:50001", NULL, 9000);
	turn(r);
	CHECK_EQ(r->w.stats.dropped_queue, 6);
	for (unsigned i = 0; i < 8; i++) {
		char from[32];
		snprintf(from, sizeof from, "127.0.0.1:%u", 50002 + i);
		arrive(r, from, NULL, 9000);
	}
	turn(r);
	CHECK_EQ(r->w.stats.dropped_queue, 6 + 5);
	CHECK_IN(r->w.stats.queued_bytes, 5 * 9000, 50000);
	rig_free(r);
}

/* A unix peer whose queue is full is tried again by timer, in order, and holds up nobody else. */
TEST(outbox_unix_peer_that_is_full_waits_alone)
{
	struct rig *r = rig_new("/s", &echo_service, NULL, 0);
	r->fake.full[1] = true;
	arrive_text(r, "/1", "a");
	arrive_text(r, "/2", "b");
	arrive_text(r, "/1", "c");
	turn(r);
	arrive_text(r, "/1", "d");
	arrive_text(r, "/2", "e");
	turn(r);
	CHECK_EQ(r->fake.sent_n, 2);
	check_sent(r, 0, "/2", "b");
	check_sent(r, 1, "/2", "e");
	unsigned sends = r->fake.sends;
	turn(r);
	turn(r);
	CHECK_EQ(r->fake.sends, sends); /* nothing is tried until the timer says so */
	r->fake.mono += 2 * TIMER_TICK_NS;
	turn(r);
	CHECK_EQ(r->fake.sends, sends + 1);
	r->fake.full[1] = false;
	r->fake.mono += 2 * TIMER_TICK_NS;
	turn(r);
	CHECK_EQ(r->fake.sent_n, 5);
	check_sent(r, 2, "/1", "a");
	check_sent(r, 3, "/1", "c");
	check_sent(r, 4, "/1", "d");
	CHECK_EQ(r->w.stats.queued_bytes, 0);
	CHECK_EQ(r->w.loop.timers.count, 0); /* idle again: nothing runs */
	rig_free(r);
}

/* A unix peer that takes nothing for the stall limit loses what waits for it; one that is gone, at once. */
TEST(outbox_unix_peer_that_never_reads_is_given_up)
{
	struct rig *r = rig_new("/s", &echo_service, NULL, 0);
	r->fake.full[1] = r->fake.full[2] = true;
	arrive_text(r, "/1", "a");
	arrive_text(r, "/1", "b");
	arrive_text(r, "/2", "c");
	turn(r);
	r->fake.full[2] = false;
	r->fake.fails[2] = -ECONNREFUSED;
	for (unsigned i = 0; i < 58; i++) {
		r->fake.mono += CHIME_SEC;
		turn(r);
	}
	CHECK_EQ(r->w.stats.dropped_queue, 1);
	CHECK(r->w.stats.queued_bytes > 0);
	for (unsigned i = 0; i < 4; i++) {
		r->fake.mono += CHIME_SEC;
		turn(r);
	}
	CHECK_EQ(r->w.stats.dropped_queue, 3);
	CHECK_EQ(r->w.stats.queued_bytes, 0);
	rig_free(r);
}

/* Whatever blocks, fails to take all, or comes late: each peer gets every answer once and in order. */
static void random_run(const char *local, const char *form, bool late)
{
	struct rig *r = rig_new(local, &echo_service, NULL, 0);
	unsigned next[PEERS] = { 0 }, got[PEERS] = { 0 };
	char from[64], text[32];
	r->served.rate = 0;
	r->fake.late = late;
	/* In the end all goes well, for as long as something waits: a batch a turn needs its time for a long queue. */
	for (unsigned step = 0; step < 3000 || (step < 5000 && r->w.stats.queued_bytes); step++) {
		unsigned n = step < 2500 ? (unsigned)(test_random() % 6) : 0;
		bool calm = step > 2900;
		r->fake.room = calm ? 1000 : (unsigned)(test_random() % 8);
		r->fake.most = calm ? OP_MSGS : 1 + (unsigned)(test_random() % OP_MSGS);
		r->fake.mono += (int64_t)(test_random() % 3) * TIMER_TICK_NS / 2;
		for (unsigned p = 0; p < PEERS; p++)
			r->fake.full[p] = !calm && local[0] == '/' && test_random() % 3 == 0;
		for (unsigned i = 0; i < n; i++) {
			unsigned p = (unsigned)(test_random() % PEERS);
			snprintf(from, sizeof from, form, p);
			snprintf(text, sizeof text, "%u.%u", p, next[p]++);
			arrive_text(r, from, text);
		}
		turn(r);
	}
	for (unsigned i = 0; i < r->fake.sent_n; i++) {
		unsigned p = peer_number(&r->fake.sent[i].peer);
		snprintf(text, sizeof text, "%u.%u", p, got[p]++);
		CHECK_STR((char *)r->fake.sent[i].bytes, text);
	}
	for (unsigned p = 0; p < PEERS; p++)
		CHECK_EQ(got[p], next[p]);
	CHECK_EQ(r->w.stats.dropped_queue, 0);
	CHECK_EQ(r->w.stats.answers, r->w.stats.messages);
	CHECK_EQ(r->w.stats.queued_bytes, 0);
	rig_free(r);
}

TEST(outbox_loses_and_reorders_nothing_of_udp)
{
	random_run("127.0.0.1:40000", "127.0.0.1:5000%u", false);
	random_run("127.0.0.1:40000", "127.0.0.1:5000%u", true);
}

TEST(outbox_loses_and_reorders_nothing_of_unix)
{
	random_run("/s", "/%u", false);
	random_run("/s", "/%u", true);
}

/* ---- what a service sends of its own ---- */

static chime_addr other;

static ssize_t twice(const struct chime_input *in, chime_reply *out)
{
	chime_reply_add(out, "reply", 5);
	CHECK_EQ(chime_conn_sendto(in->conn, "behind", 6, in->peer), 0);
	CHECK_EQ(chime_conn_sendto(in->conn, "other", 5, &other), 0);
	return 0;
}

static const chime_service twice_service = { .size = sizeof(chime_service), .name = "twice", .received = twice };

/* What a service sends goes out in the same turn, behind the reply, from the address that was asked; IPv4 addresses are understood
 * on a socket for both. */
TEST(outbox_sends_a_services_own_behind_the_reply)
{
	struct rig *r = rig_new("[::]:40000", &twice_service, NULL, 0);
	chime_addr local;
	CHECK_EQ(chime_addr_parse(&other, "127.0.0.1:50005"), 0);
	CHECK_EQ(chime_addr_parse(&local, "[::1]:0"), 0);
	arrive(r, "[::1]:50001", "x", 1)->local = local;
	turn(r);
	CHECK_EQ(r->fake.sent_n, 3);
	check_sent(r, 0, "[::1]:50001", "reply");
	check_sent(r, 1, "[::1]:50001", "behind");
	CHECK(chime_addr_equal(&r->fake.sent[1].local, &local));
	check_sent(r, 2, "[::ffff:127.0.0.1]:50005", "other");
	CHECK_EQ(r->fake.sent[2].local.len, 0);
	rig_free(r);
}

/* Sending has its limits: a message's length, the queue, somebody to send to, an end. */
TEST(outbox_sendto_says_what_cannot_be)
{
	struct rig *r = rig_new("127.0.0.1:40000", &echo_service, NULL, 0);
	chime_addr to, none = chime_addr_none();
	char *big = calloc(1, 70000);
	unsigned n = 0;
	CHECK_EQ(chime_addr_parse(&to, "127.0.0.1:50005"), 0);
	CHECK_EQ(chime__dgram_sendto(r->w.dgrams, big, 65508, &to), -EMSGSIZE);
	CHECK_EQ(chime__dgram_sendto(r->w.dgrams, big, 1, &none), -EDESTADDRREQ);
	while (n < 1000 && chime__dgram_sendto(r->w.dgrams, big, 65507, &to) == 0)
		n++;
	CHECK_EQ(n, DGRAM_QUEUE_PEER / 65800);
	CHECK_EQ(chime__dgram_sendto(r->w.dgrams, big, 65507, &to), -ENOBUFS);
	turn(r);
	CHECK_EQ(r->fake.sent_n, n);
	chime__dgram_cut(r->w.dgrams);
	turn(r);
	CHECK_EQ(chime__dgram_sendto(r->w.dgrams, big, 1, &to), -EPIPE);
	free(big);
	rig_free(r);
}

TEST_MAIN()
