/* The table between the engine and the system, on every backend, with every type of socket: connecting, ending, timers, posts, clocks. */
#include "loop/world/ops.h"

/* ---- connecting ---- */

/* Connecting reports its result: done, and then bytes go both ways; or refused. */
TEST_EACH_WORLD(connect_reports_its_result, CONNECTED)
{
	chime_addr at;
	struct seen s, in;
	char got[8];
	int peer = -1;
	world_open();
	int place = world_place(&at), fd = world_socket();
	op_make(&s, fd, OP_CONNECT, 0);
	s.op.u.to = &at;
	CHECK_EQ(op_submit(&lp, &s.op), 0);
	TURN_UNTIL((peer = world_called(place)) >= 0);
	TURN_UNTIL(s.ended);
	CHECK_EQ(s.last, 0);
	start(&in, fd, receiving(), 0);
	world_put(peer, "ping", 4);
	TURN_UNTIL(in.total == 4);
	CHECK_EQ(send_bytes(fd, "pong", 4), 4);
	if (kind->form == STREAM)
		world_take_all(peer, got, 4);
	else
		CHECK_EQ(world_take(peer, got, sizeof got), 4);
	CHECK_MEM(got, "pong", 4);
	end_op(&in);
	world_gone(peer);
	world_shut(fd);
	world_place_gone(place);
	fd = world_socket();
	op_make(&s, fd, OP_CONNECT, 0);
	s.op.u.to = &at;
	CHECK_EQ(op_submit(&lp, &s.op), 0);
	TURN_UNTIL(s.ended);
	if (kind->family == AF_TIPC)
		CHECK(s.last < 0); /* -EINVAL by io_uring, which asks a second time */
	else
		CHECK_EQ(s.last, -ECONNREFUSED);
	world_shut(fd);
	world_close();
}

/* A connect that is cancelled ends once: with its result, if that was there already, or cancelled. */
TEST_EACH_WORLD(a_cancelled_connect_ends_once, CONNECTED)
{
	chime_addr at;
	struct seen s;
	int peer;
	world_open();
	int place = world_place(&at), fd = world_socket();
	op_make(&s, fd, OP_CONNECT, 0);
	s.op.u.to = &at;
	CHECK_EQ(op_submit(&lp, &s.op), 0);
	op_cancel(&lp, &s.op);
	CHECK_EQ(s.reports, 0);
	TURN_UNTIL(s.ended);
	CHECK(s.last == 0 || s.last == -ECANCELED);
	turns(3);
	CHECK_EQ(s.reports, 1);
	world_shut(fd);
	if ((peer = world_called(place)) >= 0)
		world_gone(peer);
	world_place_gone(place);
	world_close();
}

/* ---- ending ---- */

/* What was sent before our end reaches the peer, then the end does; and what the peer sends meanwhile still comes. */
TEST_EACH_WORLD(after_our_end_the_peer_can_still_send, CONNECTED | HALF_CLOSE)
{
	struct ends e;
	struct seen s;
	char got[8];
	open_ends(&e);
	start(&s, e.fd, receiving(), 0);
	CHECK_EQ(send_bytes(e.fd, "last", 4), 4);
	CHECK_EQ(lp.backend->shutdown(&lp, e.fd, SHUT_WR), 0);
	if (kind->form == STREAM)
		world_take_all(e.peer, got, 4);
	else
		CHECK_EQ(world_take(e.peer, got, sizeof got), 4);
	CHECK_MEM(got, "last", 4);
	TURN_UNTIL(world_sees_end(e.peer));
	put(&e, "more", 4);
	TURN_UNTIL(s.total == 4);
	CHECK(!s.ended);
	world_end(e.peer);
	TURN_UNTIL(s.ended);
	CHECK_EQ(s.last, 0);
	close_ends(&e);
}

/* A close with a reset is seen as one, where there is such a thing. */
TEST_EACH_WORLD(a_close_can_be_a_reset, STREAM | RESET)
{
	struct ends e;
	open_ends(&e);
	CHECK_EQ(lp.backend->close(&lp, e.fd, true), 0);
	TURN_UNTIL(world_sees_reset(e.peer));
	world_gone(e.peer);
	world_close();
}

/* ---- the loop over the table ---- */

static char order[8];
static int order_n;

static void note_timer(chime_timer *t, void *arg)
{
	(void)t;
	order[order_n++] = *(const char *)arg;
}

/* Timers run at their time, not before it, the earlier one first; a wait without a limit ends for them. */
TEST_EACH_WORLD(timers_end_a_wait, 0)
{
	chime_timer late = { 0 }, early = { 0 };
	world_open();
	int64_t began_ns = lp.backend->mono(&lp);
	chime__timer_start(&lp.timers, &late, began_ns + 60 * CHIME_MSEC, note_timer, (char[]){ "b" });
	chime__timer_start(&lp.timers, &early, began_ns + 20 * CHIME_MSEC, note_timer, (char[]){ "a" });
	while (order_n < 1)
		turn(CHIME_FOREVER);
	CHECK(lp.backend->mono(&lp) - began_ns >= 20 * CHIME_MSEC);
	while (order_n < 2)
		turn(CHIME_FOREVER);
	CHECK_IN(lp.backend->mono(&lp) - began_ns, 60 * CHIME_MSEC, 50 * CHIME_SEC);
	CHECK_STR(order, "ab");
	world_close();
}

static void note_task(struct loop *l, struct loop_task *t)
{
	(void)t;
	CHECK_PTR(l, &lp);
	order[order_n++] = 'p';
}

/* A wait without a limit ends for a post that was made before it, and for two of them once each. */
TEST_EACH_WORLD(posts_end_a_wait, 0)
{
	struct loop_task one = { .run = note_task }, two = { .run = note_task };
	world_open();
	CHECK_EQ(chime__loop_post_from_any(&lp, &one), 0);
	CHECK_EQ(chime__loop_post_from_any(&lp, &two), 0);
	CHECK_EQ(order_n, 0);
	while (order_n < 2)
		turn(CHIME_FOREVER);
	turns(3);
	CHECK_EQ(order_n, 2);
	world_close();
}

/* The real clock is read anew each time, and does not stand still between a wait and what comes after it. */
TEST_EACH_WORLD(the_clocks_go_on, 0)
{
	world_open();
	int64_t mono = lp.backend->mono(&lp), real = lp.backend->real(&lp);
	chime_timer t = { 0 };
	chime__timer_start(&lp.timers, &t, mono + 20 * CHIME_MSEC, note_timer, (char[]){ "a" });
	while (!order_n)
		turn(CHIME_FOREVER);
	CHECK(lp.backend->mono(&lp) - mono >= 20 * CHIME_MSEC);
	CHECK(lp.backend->real(&lp) - real >= 19 * CHIME_MSEC);
	CHECK(lp.now_ns >= mono);
	world_close();
}

TEST_MAIN()
