/* The datagram socket of a worker: whom it answers, what it counts, how it ends. */
#include "server/dgram_rig.h"

/* ---- answering ---- */

/* Each message is answered to its sender, from the address it came to, in order; an empty one too. */
TEST(dgram_answers_each_message_from_where_it_was_asked)
{
	struct rig *r = rig_new("127.0.0.1:40000", &echo_service, NULL, 0);
	chime_addr local;
	CHECK_EQ(chime_addr_parse(&local, "192.0.2.7:0"), 0);
	arrive(r, "127.0.0.1:50001", "one", 3)->local = local;
	arrive_text(r, "127.0.0.1:50002", "two");
	arrive_text(r, "127.0.0.1:50001", "");
	turn(r);
	CHECK_EQ(r->fake.sent_n, 3);
	CHECK_EQ(r->fake.sends, 1);
	check_sent(r, 0, "127.0.0.1:50001", "one");
	CHECK(chime_addr_equal(&r->fake.sent[0].local, &local));
	check_sent(r, 1, "127.0.0.1:50002", "two");
	CHECK_EQ(r->fake.sent[1].local.len, 0);
	check_sent(r, 2, "127.0.0.1:50001", "");
	CHECK_EQ(r->w.stats.messages, 3);
	CHECK_EQ(r->w.stats.answers, 3);
	CHECK_EQ(r->w.stats.received_bytes, 6);
	CHECK_EQ(r->w.stats.sent_bytes, 6);
	rig_free(r);
}

/* The stamp is of the time after the batch was received, one reading for all of it; a bare one for an empty message. */
TEST(dgram_stamps_a_batch_with_one_reading)
{
	struct rig *r = rig_new("127.0.0.1:40000", chime_service_find("stamp"), NULL, 0);
	setenv("TZ", "UTC", 1);
	arrive_text(r, "127.0.0.1:50001", "i");
	arrive_text(r, "127.0.0.1:50001", "");
	int64_t before = r->fake.real;
	turn(r);
	CHECK_EQ(r->fake.real, before + 1);
	check_sent(r, 0, "127.0.0.1:50001", "Tue Sep 13 11:11:20 2016i");
	check_sent(r, 1, "127.0.0.1:50001", "Tue Sep 13 11:11:20 2016");
	rig_free(r);
}

/* What the guard refuses is not answered, counted, and told in a line a second; on unix nobody is refused. */
TEST(dgram_answers_only_whom_the_guard_allows)
{
	static const uint16_t ports[] = { 40000 };
	struct rig *r = rig_new("127.0.0.1:40000", &echo_service, ports, 1);
	arrive_text(r, "127.0.0.1:7", "x");
	arrive_text(r, "127.0.0.1:40000", "x");
	arrive_text(r, "127.0.0.1:9999", "x");
	arrive_text(r, "127.0.0.1:50001", "x");
	turn(r);
	CHECK_EQ(r->fake.sent_n, 1);
	CHECK_EQ(r->w.stats.dropped_source, 3);
	CHECK_EQ(r->lines, 1);
	CHECK_EQ(r->told, 1);
	r->fake.mono += CHIME_SEC;
	arrive_text(r, "127.0.0.1:9999", "x");
	turn(r);
	CHECK_EQ(r->lines, 2);
	CHECK_EQ(r->told, 4); /* what was not told then is in the next line */
	rig_free(r);
	r = rig_new("/s", &echo_service, ports, 1);
	arrive_text(r, "/1", "x");
	turn(r);
	CHECK_EQ(r->fake.sent_n, 1);
	rig_free(r);
}

/* A flood from one source is held at its bucket while another source gets every answer. */
TEST(dgram_holds_a_flood_and_serves_another)
{
	struct rig *r = rig_new("127.0.0.1:40000", &echo_service, NULL, 0);
	unsigned flood = 0, good = 0;
	for (unsigned ms = 0; ms < 1000; ms++) {
		r->fake.mono += CHIME_MSEC;
		for (unsigned i = 0; i < 31 && ms < 990; i++)
			arrive_text(r, "192.0.2.66:50001", "flood");
		arrive_text(r, "198.51.100.1:50002", "good");
		turn(r);
		if (r->fake.sent_n > SENT_MAX - 100) {
			for (unsigned i = 0; i < r->fake.sent_n; i++)
				*(r->fake.sent[i].bytes[0] == 'g' ? &good : &flood) += 1;
			r->fake.sent_n = 0;
			r->fake.room = SENT_MAX;
		}
	}
	for (unsigned i = 0; i < r->fake.sent_n; i++)
		*(r->fake.sent[i].bytes[0] == 'g' ? &good : &flood) += 1;
	CHECK_EQ(good, 1000);
	CHECK_IN(flood, 29800, 30000); /* 2 s of 10000 at once, and 1 s of it */
	CHECK_EQ(r->w.stats.dropped_rate, 31 * 990 - flood);
	rig_free(r);
}

/* Moves what from sent since *seen to be received by to, from the address given. */
static unsigned carry(struct rig *from, unsigned *seen, struct rig *to, const char *as)
{
	unsigned n = 0;
	for (; *seen < from->fake.sent_n; (*seen)++, n++)
		arrive(to, as, from->fake.sent[*seen].bytes, from->fake.sent[*seen].len);
	return n;
}

/* One forged datagram joins two stamp servers: the third message of their talk is the last, and it is counted. */
TEST(dgram_two_servers_joined_by_a_forged_datagram_stop_at_once)
{
	struct rig *a = rig_new("127.0.0.1:40001", chime_service_find("stamp"), NULL, 0);
	struct rig *b = rig_new("127.0.0.1:40002", chime_service_find("stamp"), NULL, 0);
	unsigned from_a = 0, from_b = 0, carried = 0;
	arrive_text(a, "127.0.0.1:40002", "x");
	for (unsigned i = 0; i < 50; i++) {
		turn(a);
		carried += carry(a, &from_a, b, "127.0.0.1:40001");
		turn(b);
		carried += carry(b, &from_b, a, "127.0.0.1:40002");
	}
	CHECK_EQ(carried, 2); /* stamp x, stamp stamp x */
	CHECK_EQ(a->w.stats.dropped_loop, 1);
	rig_free(b);
	rig_free(a);
	/* On the default ports not even the first is answered. */
	a = rig_new("127.0.0.1:9999", chime_service_find("stamp"), NULL, 0);
	arrive_text(a, "192.0.2.1:9999", "x");
	turn(a);
	CHECK_EQ(a->fake.sent_n, 0);
	CHECK_EQ(a->w.stats.dropped_source, 1);
	rig_free(a);
}

static ssize_t moody(const struct chime_input *in, chime_reply *out)
{
	switch (in->len ? in->data[0] : 0) {
	case 'l':
		return -ELOOP;
	case 'e':
		return -EIO;
	case 'b':
		return -EMSGSIZE;
	case 's':
		return (ssize_t)in->len; /* silent */
	default:
		chime_reply_add(out, in->data, in->len);
		chime_reply_count(out, 3);
		return 0; /* of a message all is consumed whatever is returned */
	}
}

static const chime_service moody_service = { .size = sizeof(chime_service), .name = "moody", .received = moody };

/* What a service refuses is counted by its reason, and what it says nothing to is not answered. */
TEST(dgram_counts_what_a_service_refuses)
{
	struct rig *r = rig_new("127.0.0.1:40000", &moody_service, NULL, 0);
	static const char *const texts[] = { "loop", "loop", "error", "big", "silent", "fine" };
	for (unsigned i = 0; i < 6; i++)
		arrive_text(r, "127.0.0.1:50001", texts[i]);
	turn(r);
	CHECK_EQ(r->fake.sent_n, 1);
	check_sent(r, 0, "127.0.0.1:50001", "fine");
	CHECK_EQ(r->w.stats.dropped_loop, 2);
	CHECK_EQ(r->w.stats.errors, 1);
	CHECK_EQ(r->w.stats.dropped_long, 1);
	CHECK_EQ(r->w.stats.answers, 3);
	CHECK_EQ(r->w.stats.messages, 6);
	rig_free(r);
}

/* Messages too long to receive, and answers too long for UDP over IPv4, over IPv6, are counted and not sent; one byte less is. */
TEST(dgram_counts_what_is_too_long)
{
	struct rig *r = rig_new("[::]:40000", &echo_service, NULL, 0);
	arrive(r, "[::1]:50001", NULL, 100)->truncated = true;
	arrive(r, "[::ffff:127.0.0.1]:50001", NULL, 65508);
	arrive(r, "[::1]:50001", NULL, 65528);
	turn(r);
	CHECK_EQ(r->fake.sent_n, 0);
	CHECK_EQ(r->w.stats.dropped_long, 3);
	arrive(r, "[::ffff:127.0.0.1]:50001", NULL, 65507);
	arrive(r, "[::1]:50001", NULL, 65527);
	turn(r);
	CHECK_EQ(r->fake.sent_n, 2);
	CHECK_EQ(r->fake.sent[0].len, 65507);
	CHECK_EQ(r->fake.sent[1].len, 65527);
	rig_free(r);
	r = rig_new("/s", &echo_service, NULL, 0);
	arrive(r, "/1", NULL, CHIME_MESSAGE_MAX);
	r->fake.fails[2] = -EMSGSIZE;
	arrive(r, "/2", NULL, CHIME_MESSAGE_MAX);
	turn(r);
	CHECK_EQ(r->fake.sent_n, 1);
	CHECK_EQ(r->w.stats.dropped_long, 1);
	rig_free(r);
}

/* A unix sender without a name cannot be answered: counted, but its message reaches the service. */
TEST(dgram_counts_senders_without_a_name)
{
	struct rig *r = rig_new("/s", &moody_service, NULL, 0);
	arrive_text(r, "", "x");
	arrive_text(r, "", "silent");
	struct op_msg *m = arrive(r, "", "x", 1);
	m->peer.len = sizeof(sa_family_t);
	m->peer.u.sa.sa_family = AF_UNIX;
	turn(r);
	CHECK_EQ(r->fake.sent_n, 0);
	CHECK_EQ(r->w.stats.dropped_source, 2);
	CHECK_EQ(r->w.stats.messages, 3);
	rig_free(r);
}

/* ---- ending, and trouble ---- */

/* Draining reads what is there, answers it, sends what waits, closes, and says so once, in this order. */
TEST(dgram_drains_what_was_received)
{
	for (unsigned late = 0; late < 2; late++) {
		struct rig *r = rig_new("127.0.0.1:40000", &echo_service, NULL, 0);
		r->fake.late = late;
		r->fake.room = 1;
		arrive_text(r, "127.0.0.1:50001", "a");
		arrive_text(r, "127.0.0.1:50001", "b");
		turn(r);
		turn(r);
		chime__dgram_drain(r->w.dgrams);
		arrive_text(r, "127.0.0.1:50001", "c");
		arrive_text(r, "127.0.0.1:50001", "d");
		turn(r);
		turn(r);
		turn(r);
		CHECK_EQ(r->gone, 0); /* b, c and d have no room */
		CHECK_EQ(((struct chime_conn *)r->w.dgrams)->state, DGRAM_DRAINING);
		CHECK_EQ(r->fake.sent_n, 1);
		r->fake.room = SENT_MAX;
		for (unsigned i = 0; i < 8; i++)
			turn(r);
		CHECK_EQ(r->fake.sent_n, 4);
		for (unsigned i = 0; i < 4; i++)
			CHECK_EQ(r->fake.sent[i].bytes[0], "abcd"[i]);
		CHECK_EQ(r->gone, 1);
		CHECK_EQ(((struct chime_conn *)r->w.dgrams)->state, DGRAM_CLOSED);
		CHECK_EQ(r->w.stats.dropped_queue, 0);
		rig_free(r);
	}
}

/* Draining without the memory to receive: tried again, and what was there is answered. A cut does not wait for it. */
TEST(dgram_drains_when_receiving_was_refused)
{
	for (unsigned cut = 0; cut < 2; cut++) {
		struct rig *r = rig_new("127.0.0.1:40000", &echo_service, NULL, 0);
		turn(r);
		chime__dgram_drain(r->w.dgrams);
		r->fake.refusals = 3;
		for (unsigned i = 0; i < 3; i++) {
			turn(r);
			CHECK(!r->fake.recv);
			CHECK_EQ(r->gone, 0);
			r->fake.mono += 100 * CHIME_MSEC;
		}
		if (cut) {
			chime__dgram_cut(r->w.dgrams);
		} else {
			arrive_text(r, "127.0.0.1:50001", "there");
			turn(r);
			turn(r);
			check_sent(r, 0, "127.0.0.1:50001", "there");
			turn(r);
		}
		CHECK_EQ(r->gone, 1);
		CHECK_EQ(r->fake.sent_n, !cut);
		rig_free(r);
	}
}

/* An idle socket is drained in a moment; draining twice is draining once. */
TEST(dgram_drains_an_idle_socket_at_once)
{
	struct rig *r = rig_new("127.0.0.1:40000", &echo_service, NULL, 0);
	turn(r);
	chime__dgram_drain(r->w.dgrams);
	chime__dgram_drain(r->w.dgrams);
	turn(r);
	turn(r);
	CHECK_EQ(r->gone, 1);
	rig_free(r);
}

/* Under a flood the socket is never empty: draining ends all the same, after what can have been there at its start. */
TEST(dgram_drains_in_spite_of_a_flood)
{
	struct rig *r = rig_new("127.0.0.1:40000", &moody_service, NULL, 0);
	unsigned turns = 0;
	chime__dgram_drain(r->w.dgrams);
	while (!r->gone && turns++ < 10000 && r->fake.recv) {
		/* Always more: the fake's NOWAIT receive ends empty, unless something else ends it before. */
		for (unsigned i = 0; i < OP_MSGS; i++)
			arrive_text(r, "127.0.0.1:50001", "silent");
		r->fake.in_err = -EIO;
		turn(r);
	}
	while (!r->gone && turns++ < 10010)
		turn(r);
	CHECK_EQ(r->gone, 1);
	CHECK_IN(turns, DGRAM_DRAIN / (OP_MSGS + 1), DGRAM_DRAIN / OP_MSGS + 5);
	for (unsigned i = 0; i < r->fake.in_n; i++)
		buf_unref(r->fake.in[i].buf);
	rig_free(r);
}

/* A cut ends with what is under way and drops what waits, counted. */
TEST(dgram_cut_drops_and_counts)
{
	for (unsigned late = 0; late < 2; late++) {
		struct rig *r = rig_new("127.0.0.1:40000", &echo_service, NULL, 0);
		r->fake.room = 0;
		r->fake.late = late;
		for (unsigned i = 0; i < 5; i++)
			arrive_text(r, "127.0.0.1:50001", "x");
		turn(r);
		turn(r);
		chime__dgram_drain(r->w.dgrams);
		turn(r);
		turn(r);
		CHECK_EQ(r->gone, 0);
		chime__dgram_cut(r->w.dgrams);
		chime__dgram_cut(r->w.dgrams);
		turn(r);
		turn(r);
		CHECK_EQ(r->gone, 1);
		CHECK_EQ(r->w.stats.dropped_queue, 5);
		CHECK_EQ(r->w.stats.answers, 0);
		rig_free(r);
	}
}

/* A failing receive is counted, told, and begun again a little later, not at once for ever. */
TEST(dgram_receives_again_after_an_error)
{
	struct rig *r = rig_new("127.0.0.1:40000", &echo_service, NULL, 0);
	r->fake.in_err = -ENOMEM;
	turn(r);
	CHECK(!r->fake.recv);
	CHECK_EQ(r->w.stats.errors, 1);
	CHECK_EQ(r->lines, 1);
	r->fake.mono += 2 * TIMER_TICK_NS;
	turn(r);
	CHECK(r->fake.recv != NULL);
	arrive_text(r, "127.0.0.1:50001", "x");
	turn(r);
	CHECK_EQ(r->fake.sent_n, 1);
	rig_free(r);
}

/* A worker without a descriptor of a shared socket serves nothing of it, and that is no error. */
TEST(dgram_of_another_worker_is_none)
{
	struct rig *r = rig_new("/s", &echo_service, NULL, 0);
	struct dgram *only = r->w.dgrams;
	CHECK_EQ(chime__dgram_open(&r->w, &r->served, &r->sock, NULL, 0), 0);
	CHECK_PTR(r->w.dgrams, only);
	CHECK(chime__dgram_next(only) == NULL);
	rig_free(r);
}

TEST_MAIN()
