/* Draining: what was received is answered, whoever is idle is ended at once, and the grace is the end. */
#include "server/rig.h"

#include <errno.h>

/* Idle connections are shut down at once and closed when the peer ends, without a reset; then all has ended. */
TEST(idle_connections_end_at_once)
{
	struct rig r;
	rig_init(&r, "stamp");
	rig_start(&r);
	int a = rig_peer(&r), b = rig_peer(&r);
	rig_stop(&r);
	CHECK_EQ(rig_turns(&r), 1);
	CHECK(sim_ended(&r.sim, a) && sim_ended(&r.sim, b));
	sim_write(&r.sim, a, "late", 4);
	sim_end(&r.sim, a);
	sim_end(&r.sim, b);
	CHECK_EQ(rig_turns(&r), 0);
	CHECK(sim_closed(&r.sim, a) && sim_closed(&r.sim, b));
	CHECK(!sim_was_reset(&r.sim, a));
	CHECK_EQ(r.w->stats.cut, 0);
	rig_fini(&r);
}

/* Idle peers that do not end are not waited for: a quarter of a second, not the grace. */
TEST(idle_connections_are_not_waited_for)
{
	struct rig r;
	rig_init(&r, "stamp");
	rig_start(&r);
	int a = rig_peer(&r);
	rig_stop(&r);
	rig_turns(&r);
	sim_pass(&r.sim, 200 * CHIME_MSEC);
	CHECK_EQ(rig_turns(&r), 1);
	sim_pass(&r.sim, 60 * CHIME_MSEC);
	CHECK_EQ(rig_turns(&r), 0);
	CHECK(sim_closed(&r.sim, a) && !sim_was_reset(&r.sim, a));
	CHECK_EQ(r.w->stats.cut, 0);
	rig_fini(&r);
}

/* Who was idle and sends behind our end, as who has much under way does, is waited for as all others are: a reset could overtake answers. */
TEST(who_sends_behind_the_end_is_waited_for)
{
	struct rig r;
	rig_init(&r, "stamp");
	rig_start(&r);
	int ends = rig_peer(&r), never = rig_peer(&r);
	rig_stop(&r);
	rig_turns(&r);
	sim_pass(&r.sim, 200 * CHIME_MSEC);
	sim_write(&r.sim, ends, "under way", 9);
	sim_write(&r.sim, never, "under way", 9);
	CHECK_EQ(rig_turns(&r), 1);
	sim_pass(&r.sim, CHIME_SEC);
	CHECK_EQ(rig_turns(&r), 1);
	sim_end(&r.sim, ends);
	CHECK_EQ(rig_turns(&r), 1);
	CHECK(sim_closed(&r.sim, ends) && !sim_was_reset(&r.sim, ends));
	CHECK(!sim_closed(&r.sim, never));
	sim_pass(&r.sim, 5 * CHIME_SEC);
	CHECK_EQ(rig_turns(&r), 0);
	CHECK(sim_closed(&r.sim, never));
	CHECK_EQ(r.w->stats.cut, 0);
	rig_fini(&r);
}

/* What is queued in the listener is accepted and answered. */
TEST(queued_connections_are_accepted_and_answered)
{
	struct rig r;
	char got[64];
	int p[5];
	rig_init(&r, "stamp");
	rig_start(&r);
	rig_turns(&r);
	for (int i = 0; i < 5; i++) {
		p[i] = sim_connect(&r.sim, r.listener);
		sim_write(&r.sim, p[i], "i", 1);
		sim_end(&r.sim, p[i]);
	}
	rig_stop(&r);
	CHECK_EQ(rig_turns(&r), 0);
	for (int i = 0; i < 5; i++) {
		CHECK_EQ(sim_read(&r.sim, p[i], got, sizeof got), 25);
		CHECK(sim_closed(&r.sim, p[i]) && !sim_was_reset(&r.sim, p[i]));
	}
	rig_fini(&r);
}

/* What was sent before the stop is answered, then our side ends; input after that is thrown away until the peer ends. */
TEST(what_was_received_is_answered_then_the_end)
{
	struct rig r;
	static char bytes[200000], got[400000];
	rig_init(&r, "echo");
	int p = rig_start_narrow(&r, 5000);
	memset(bytes, 'x', sizeof bytes);
	sim_write(&r.sim, p, bytes, sizeof bytes);
	rig_stop(&r);
	size_t back = 0;
	while (back < sizeof bytes) {
		CHECK_EQ(rig_turns(&r), 1);
		CHECK(!sim_ended(&r.sim, p) || sim_readable(&r.sim, p) + back == sizeof bytes);
		back += sim_read(&r.sim, p, got, sizeof got);
	}
	CHECK_EQ(back, sizeof bytes);
	rig_turns(&r);
	CHECK(sim_ended(&r.sim, p) && !sim_closed(&r.sim, p));
	sim_write(&r.sim, p, "late", 4);
	rig_turns(&r);
	CHECK_EQ(sim_readable(&r.sim, p), 0);
	CHECK(!sim_was_reset(&r.sim, p));
	sim_end(&r.sim, p);
	CHECK_EQ(rig_turns(&r), 0);
	CHECK(!sim_was_reset(&r.sim, p));
	rig_fini(&r);
}

/* A line that is not finished when draining finds nothing more is answered as it is. */
TEST(unfinished_line_is_answered)
{
	struct rig r;
	char got[64];
	rig_init(&r, "stamp");
	((struct chime_stamp_config *)r.served.config)->frame = 1;
	rig_start(&r);
	int p = rig_peer(&r);
	sim_write(&r.sim, p, "half", 4);
	rig_turns(&r);
	CHECK_EQ(sim_readable(&r.sim, p), 0);
	rig_stop(&r);
	rig_turns(&r);
	CHECK_EQ(sim_read(&r.sim, p, got, sizeof got), 28);
	sim_end(&r.sim, p);
	CHECK_EQ(rig_turns(&r), 0);
	rig_fini(&r);
}

/* A peer that neither reads nor ends is cut off when the grace is over, and counted. */
TEST(grace_cuts_off)
{
	struct rig r;
	char bytes[60000] = { 0 };
	rig_init(&r, "echo");
	int p = rig_start_narrow(&r, 1000);
	sim_write(&r.sim, p, bytes, sizeof bytes);
	rig_turns(&r);
	rig_stop(&r);
	rig_turns(&r);
	sim_pass(&r.sim, 4900 * CHIME_MSEC);
	CHECK_EQ(rig_turns(&r), 1);
	sim_pass(&r.sim, 300 * CHIME_MSEC);
	CHECK_EQ(rig_turns(&r), 0);
	CHECK_EQ(r.w->stats.cut, 1);
	CHECK(sim_was_reset(&r.sim, p));
	rig_fini(&r);
}

/* A second stop ends at once. */
TEST(second_stop_ends_at_once)
{
	struct rig r;
	char bytes[60000] = { 0 };
	rig_init(&r, "echo");
	int p = rig_start_narrow(&r, 1000);
	sim_write(&r.sim, p, bytes, sizeof bytes);
	rig_stop(&r);
	CHECK_EQ(rig_turns(&r), 1);
	rig_stop(&r);
	CHECK_EQ(rig_turns(&r), 0);
	rig_fini(&r);
}

/* Draining while accepting is paused for want of descriptors: it goes on when there are some, or ends with the grace. */
TEST(drains_while_out_of_descriptors)
{
	struct rig r;
	char got[64];
	rig_init(&r, "stamp");
	rig_start(&r);
	r.sim.accept_err = -EMFILE;
	int p = sim_connect(&r.sim, r.listener);
	sim_write(&r.sim, p, "i", 1);
	sim_end(&r.sim, p);
	rig_turns(&r);
	rig_stop(&r);
	CHECK_EQ(rig_turns(&r), 1);
	r.sim.accept_err = 0;
	sim_pass(&r.sim, 200 * CHIME_MSEC);
	CHECK_EQ(rig_turns(&r), 0);
	CHECK_EQ(sim_read(&r.sim, p, got, sizeof got), 25);
	rig_fini(&r);
}

TEST_MAIN()
