/* The connection's state machine, on a simulated network. */
#include "server/rig.h"

#include <errno.h>

#define STAMP "Tue Sep 13 11:11:20 2016"

/* Only the moves of the drawing are allowed: every state can end, and none comes back. */
TEST(states_only_go_forward)
{
	for (unsigned from = 0; from < CONN_STATES; from++) {
		CHECK(chime__conn_state_name[from] != NULL);
		for (unsigned to = 0; to <= from; to++)
			CHECK(!(chime__conn_next[from] & (1u << to)));
		if (from < CONN_CLOSING)
			CHECK(chime__conn_next[from] & (1u << CONN_CLOSING));
	}
	CHECK_EQ(chime__conn_next[CONN_CLOSING], 1u << CONN_CLOSED);
}

/* A message is answered by the stamp and itself. */
TEST(answers_a_message)
{
	struct rig r;
	char got[64];
	rig_init(&r, "stamp");
	((struct chime_stamp_config *)r.served.config)->utc = true;
	rig_start(&r);
	int p = rig_peer(&r);
	sim_write(&r.sim, p, "i", 1);
	rig_turns(&r);
	CHECK_EQ(sim_read(&r.sim, p, got, sizeof got), 25);
	CHECK_MEM(got, STAMP "i", 25);
	CHECK_EQ(r.w->stats.answers, 1);
	rig_end(&r);
}

/* Whatever way sends end (at once, later, in parts), all that was sent is answered once and in order. */
static void all_is_answered(bool inline_send, size_t recv_max, size_t send_max, size_t window)
{
	enum {
		N = 30000
	};
	static unsigned char sent[N], got[N + 1], raw[N * 25];
	struct rig r;
	size_t done = 0, raw_len = 0, back = 0;
	rig_init(&r, "stamp");
	rig_start(&r);
	r.sim.inline_send = r.w->loop.caps.inline_send = inline_send;
	r.sim.recv_max = recv_max;
	r.sim.send_max = send_max;
	r.sim.window = window;
	for (size_t i = 0; i < N; i++)
		sent[i] = (unsigned char)('a' + test_random() % 26);
	int p = rig_peer(&r);
	while (done < N || r.w->stats.received_bytes < N || sim_readable(&r.sim, p) || r.w->stats.queued_bytes) {
		size_t n = test_random() % 5000;
		if (n > N - done)
			n = N - done;
		sim_write(&r.sim, p, sent + done, n);
		done += n;
		CHECK_EQ(chime__worker_turn(r.w, 0), 1);
		raw_len += sim_read(&r.sim, p, raw + raw_len, sizeof raw - raw_len);
	}
	/* The payload is lower-case letters, and each stamp begins with one of the others. */
	for (size_t at = 0; at < raw_len;)
		if (raw[at] >= 'A' && raw[at] <= 'Z') {
			CHECK_MEM(raw + at + 13, ":", 1);
			at += 24;
		} else {
			CHECK(back < N);
			got[back++] = raw[at++];
		}
	CHECK_EQ(back, N);
	CHECK_MEM(got, sent, N);
	CHECK_EQ(r.w->stats.sent_bytes, N + 24 * r.w->stats.answers);
	rig_end(&r);
}

/* Sends that end at once: nothing lost, doubled or out of order. */
TEST(all_is_answered_when_sends_end_at_once)
{
	all_is_answered(true, 0, 0, 65536);
}

/* Sends that end later: the same. */
TEST(all_is_answered_when_sends_end_later)
{
	all_is_answered(false, 0, 0, 65536);
}

/* Sends that take a little at a time, receives that give a little: the same. */
TEST(all_is_answered_in_small_pieces)
{
	all_is_answered(true, 7, 11, 65536);
}

/* And later as well as little by little, to a peer with a small window: the same. */
TEST(all_is_answered_through_a_small_window)
{
	all_is_answered(false, 1000, 100, 500);
}

/* At once, but never more than a small window holds: the same. */
TEST(all_is_answered_a_window_at_a_time)
{
	all_is_answered(true, 0, 0, 333);
}

/* A peer that does not read is not read from, and what it cost is bounded; when it reads, all is answered. */
TEST(peer_that_does_not_read_is_not_read_from)
{
	struct rig r;
	static unsigned char bytes[1 << 20], got[1 << 20];
	size_t back = 0;
	rig_init(&r, "echo");
	int p = rig_start_narrow(&r, 1000);
	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (unsigned char)(i * 31);
	sim_write(&r.sim, p, bytes, sizeof bytes);
	rig_turns(&r);
	CHECK_IN(sim_unread(&r.sim, p), sizeof bytes - 2 * CHIME_INPUT_MAX, sizeof bytes);
	CHECK_IN(r.w->stats.queued_bytes, 1, 2 * CHIME_INPUT_MAX);
	while (back < sizeof bytes) {
		size_t n = sim_read(&r.sim, p, got + back, sizeof got - back);
		CHECK(n > 0);
		back += n;
		rig_turns(&r);
	}
	CHECK_MEM(got, bytes, sizeof bytes);
	rig_end(&r);
}

/* A half-closed peer gets every answer, then the end; and not before. */
TEST(half_closed_peer_gets_every_answer)
{
	struct rig r;
	static unsigned char bytes[100000], got[200000];
	size_t back = 0;
	rig_init(&r, "echo");
	int p = rig_start_narrow(&r, 1000);
	memset(bytes, 'x', sizeof bytes);
	sim_write(&r.sim, p, bytes, sizeof bytes);
	sim_end(&r.sim, p);
	rig_turns(&r);
	while (back < sizeof bytes) {
		CHECK(!sim_ended(&r.sim, p) || sim_readable(&r.sim, p));
		back += sim_read(&r.sim, p, got, sizeof got);
		rig_turns(&r);
	}
	CHECK_EQ(back, sizeof bytes);
	CHECK(sim_closed(&r.sim, p));
	CHECK(!sim_was_reset(&r.sim, p));
	rig_end(&r);
}

/* A reset, whatever the connection is doing, ends it alone, once; the others are served on. */
TEST(reset_in_any_state_ends_that_connection_alone)
{
	struct rig r;
	char bytes[5000] = { 0 }, got[64];
	rig_init(&r, "stamp");
	rig_start(&r);
	int other = rig_peer(&r);
	for (int what = 0; what < 6; what++) {
		r.sim.window = 100;
		r.sim.inline_send = r.w->loop.caps.inline_send = what & 1;
		int p = rig_peer(&r);
		if (what >= 2)
			sim_write(&r.sim, p, bytes, sizeof bytes); /* it will be blocked in a send */
		if (what >= 4)
			sim_end(&r.sim, p);
		if (what != 3)
			rig_turns(&r);
		sim_reset(&r.sim, p);
		rig_turns(&r);
		CHECK(sim_closed(&r.sim, p));
		sim_write(&r.sim, other, "i", 1);
		rig_turns(&r);
		CHECK_EQ(sim_read(&r.sim, other, got, sizeof got), 25);
	}
	CHECK_EQ(r.w->stats.peer_resets, 6);
	rig_end(&r);
}

/* Lines: an unfinished one waits for its rest, however it comes; the tail is answered at the end. */
TEST(lines_wait_for_their_end)
{
	struct rig r;
	char got[256] = { 0 };
	rig_init(&r, "stamp");
	((struct chime_stamp_config *)r.served.config)->frame = 1;
	((struct chime_stamp_config *)r.served.config)->utc = true;
	rig_start(&r);
	int p = rig_peer(&r);
	const char *text = "one\ntwo\nthree";
	for (const char *c = text; *c; c++) {
		sim_write(&r.sim, p, c, 1);
		rig_turns(&r);
	}
	CHECK_EQ(sim_read(&r.sim, p, got, sizeof got), 2 * 28);
	CHECK_MEM(got, STAMP "one\n" STAMP "two\n", 56);
	sim_end(&r.sim, p);
	rig_turns(&r);
	CHECK_EQ(sim_read(&r.sim, p, got, sizeof got), 24 + 5);
	CHECK_MEM(got, STAMP "three", 29);
	CHECK(sim_closed(&r.sim, p));
	rig_end(&r);
}

/* Over the ceiling a connection is accepted and closed at once, counted; when one goes, the next is served. */
TEST(ceiling_refuses_and_counts)
{
	struct rig r;
	rig_init(&r, "stamp");
	r.server.max_conns = 2;
	rig_start(&r);
	int a = rig_peer(&r), b = rig_peer(&r), c = rig_peer(&r);
	CHECK(!sim_closed(&r.sim, a) && !sim_closed(&r.sim, b));
	CHECK(sim_closed(&r.sim, c));
	CHECK_EQ(r.w->stats.refused, 1);
	sim_end(&r.sim, a);
	rig_turns(&r);
	int d = rig_peer(&r);
	CHECK(!sim_closed(&r.sim, d));
	rig_end(&r);
}

/* Without descriptors accepting pauses, without spinning; then the connections that waited are served. */
TEST(out_of_descriptors_pauses_accepting)
{
	struct rig r;
	char got[64];
	rig_init(&r, "stamp");
	rig_start(&r);
	r.sim.accept_err = -EMFILE;
	int p = sim_connect(&r.sim, r.listener);
	sim_write(&r.sim, p, "i", 1);
	rig_turns(&r);
	CHECK_EQ(r.w->stats.emfile, 1);
	rig_pass(&r, CHIME_SEC);
	CHECK_IN(r.w->stats.emfile, 5, 12); /* ten times a second */
	r.sim.accept_err = 0;
	rig_pass(&r, 200 * CHIME_MSEC);
	CHECK_EQ(sim_read(&r.sim, p, got, sizeof got), 25);
	rig_end(&r);
}

/* A write that makes no progress ends its connection after the limit; one that makes some does not. */
TEST(stalled_peer_is_ended)
{
	struct rig r;
	char bytes[60000] = { 0 };
	rig_init(&r, "echo");
	r.server.config.stall_timeout_ns = 60 * CHIME_SEC;
	int dead = rig_start_narrow(&r, 1000), slow = rig_peer(&r);
	sim_write(&r.sim, dead, bytes, sizeof bytes);
	sim_write(&r.sim, slow, bytes, sizeof bytes);
	for (int s = 0; s < 58; s++) {
		rig_pass(&r, CHIME_SEC);
		CHECK_EQ(sim_read(&r.sim, slow, bytes, 100), 100);
	}
	CHECK(!sim_closed(&r.sim, dead));
	rig_pass(&r, 4 * CHIME_SEC);
	CHECK(sim_closed(&r.sim, dead));
	CHECK(!sim_closed(&r.sim, slow));
	CHECK_EQ(r.w->stats.stalled_ended, 1);
	rig_end(&r);
}

/* Who has made room while the server itself stood still is no stalled peer: he gets his answers when it goes on. */
TEST(standing_still_makes_no_peer_stalled)
{
	struct rig r;
	char bytes[3000] = { 0 };
	rig_init(&r, "echo");
	r.server.config.stall_timeout_ns = 10 * CHIME_SEC;
	int p = rig_start_narrow(&r, 1000);
	sim_write(&r.sim, p, bytes, 2000);
	r.sim.weather.delay = 1000;
	r.sim.weather.delay_ns = 1000 * CHIME_SEC; /* until the server notices that there is room */
	rig_turns(&r);
	CHECK_EQ(sim_read(&r.sim, p, bytes, 1000), 1000);
	r.sim.weather.delay = 0;
	rig_pass(&r, 15 * CHIME_SEC);
	CHECK(!sim_closed(&r.sim, p));
	rig_pass(&r, 15 * CHIME_SEC); /* nothing goes, for all the room that there seems to be: for that it is ended */
	CHECK(sim_closed(&r.sim, p));
	CHECK_EQ(r.w->stats.stalled_ended, 1);
	rig_end(&r);
}

/* At the ceiling over all queues the one that has been stalled longest is ended, not the others. */
TEST(ceiling_of_all_queues_ends_the_longest_stalled)
{
	struct rig r;
	char bytes[60000] = { 0 };
	int p[4];
	rig_init(&r, "echo");
	r.server.config.queue_total_max = 150000;
	rig_start(&r);
	r.sim.window = 1000;
	for (int i = 0; i < 4; i++) {
		p[i] = rig_peer(&r);
		sim_write(&r.sim, p[i], bytes, sizeof bytes);
		rig_pass(&r, CHIME_SEC);
	}
	CHECK(sim_closed(&r.sim, p[0]) && sim_closed(&r.sim, p[1]));
	CHECK(!sim_closed(&r.sim, p[2]) && !sim_closed(&r.sim, p[3]));
	CHECK_EQ(r.w->stats.queue_ended, 2);
	rig_end(&r);
}

/* Halves of lines whose other halves do not come count there too: whoever sent nothing for longest is ended; the others go on. */
TEST(ceiling_of_all_queues_ends_the_oldest_unfinished_line)
{
	struct rig r;
	static char bytes[40000];
	int p[4];
	rig_init(&r, "stamp");
	struct chime_stamp_config *stamp = r.served.config;
	stamp->frame = 1;
	stamp->chunk = 65536;
	r.server.config.queue_total_max = 100000;
	rig_start(&r);
	memset(bytes, 'x', sizeof bytes);
	for (int i = 0; i < 4; i++) {
		p[i] = rig_peer(&r);
		sim_write(&r.sim, p[i], bytes, sizeof bytes);
		rig_pass(&r, CHIME_SEC);
		if (i == 1) { /* the first one goes on: now the second is the oldest */
			sim_write(&r.sim, p[0], "y", 1);
			rig_turns(&r);
		}
		CHECK(r.w->stats.queued_bytes <= 100000);
	}
	CHECK(sim_closed(&r.sim, p[0]) && sim_closed(&r.sim, p[1]));
	CHECK(!sim_closed(&r.sim, p[2]) && !sim_closed(&r.sim, p[3]));
	CHECK_EQ(r.w->stats.queue_ended, 2);
	sim_write(&r.sim, p[3], "\n", 1);
	rig_turns(&r);
	CHECK_EQ(sim_readable(&r.sim, p[3]), 24 + sizeof bytes + 1);
	rig_end(&r);
}

/* An idle connection is closed after the limit, one on which something happens is not. */
TEST(idle_connection_is_closed)
{
	struct rig r;
	char got[64];
	rig_init(&r, "stamp");
	r.served.idle_timeout_ns = 10 * CHIME_SEC;
	rig_start(&r);
	int idle = rig_peer(&r), busy = rig_peer(&r);
	for (int s = 0; s < 9; s++) {
		rig_pass(&r, CHIME_SEC);
		sim_write(&r.sim, busy, "i", 1);
		rig_turns(&r);
		CHECK_EQ(sim_read(&r.sim, busy, got, sizeof got), 25);
	}
	CHECK(!sim_closed(&r.sim, idle));
	rig_pass(&r, 1200 * CHIME_MSEC);
	CHECK(sim_closed(&r.sim, idle) && !sim_closed(&r.sim, busy));
	rig_pass(&r, 12 * CHIME_SEC);
	CHECK(sim_closed(&r.sim, busy));
	CHECK_EQ(r.w->stats.idle_closed, 2);
	rig_end(&r);
}

/* What came before the limit was over is answered, though the server was kept from reading it until after that. */
TEST(unread_input_is_not_idle)
{
	struct rig r;
	char got[64];
	rig_init(&r, "stamp");
	r.served.idle_timeout_ns = 10 * CHIME_SEC;
	rig_start(&r);
	int p = rig_peer(&r), gone = rig_peer(&r);
	rig_pass(&r, 5 * CHIME_SEC);
	r.sim.weather.delay = 1000;
	r.sim.weather.delay_ns = 1000 * CHIME_SEC;
	sim_write(&r.sim, p, "i", 1);
	r.sim.weather.delay = 0;
	rig_pass(&r, 15 * CHIME_SEC);
	CHECK(sim_closed(&r.sim, gone) && !sim_closed(&r.sim, p));
	CHECK_EQ(sim_readable(&r.sim, p), 0);
	rig_pass(&r, 1000 * CHIME_SEC);
	CHECK_EQ(sim_read(&r.sim, p, got, sizeof got), 25);
	CHECK(sim_closed(&r.sim, p)); /* and idle from then on */
	CHECK_EQ(r.w->stats.idle_closed, 2);
	rig_end(&r);
}

/* The stamp is of the time after the receive, one for all its chunks, and a new one for the next receive. */
TEST(stamp_is_of_the_receive)
{
	struct rig r;
	char bytes[3000] = { 0 }, got[4000];
	rig_init(&r, "stamp");
	((struct chime_stamp_config *)r.served.config)->utc = true;
	rig_start(&r);
	int p = rig_peer(&r);
	sim_write(&r.sim, p, bytes, 2500);
	rig_turns(&r);
	CHECK_EQ(sim_read(&r.sim, p, got, sizeof got), 2500 + 3 * 24);
	for (int i = 0; i < 3; i++)
		CHECK_MEM(got + i * 1048, STAMP, 24);
	r.sim.real_ns += CHIME_SEC;
	sim_write(&r.sim, p, "i", 1);
	rig_turns(&r);
	CHECK_EQ(sim_read(&r.sim, p, got, sizeof got), 25);
	CHECK_MEM(got, "Tue Sep 13 11:11:21 2016i", 25);
	rig_end(&r);
}

TEST_MAIN()
