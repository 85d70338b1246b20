/* The table between the engine and the system, on every backend, with every type of socket: accepting and receiving. */
#include "loop/world/ops.h"

#include <fcntl.h>
#include <sys/socket.h>

WORLD_TELLS_MISSING()

/* ---- accepting ---- */

/* Accept reports every connection that waits and comes; after a cancel they wait for the next one; with OP_NOWAIT it reports those
 * that wait now and then ends with -EAGAIN. */
TEST_EACH_WORLD(accept_reports_every_connection, CONNECTED)
{
	chime_addr at;
	int peers[5];
	struct seen s, now;
	world_open();
	int l = world_listener(&at);
	peers[0] = world_dial(l, &at);
	start(&s, l, OP_ACCEPT, 0);
	for (int i = 1; i < 3; i++)
		peers[i] = world_dial(l, &at);
	TURN_UNTIL(s.fd_count == 3);
	CHECK(!s.ended);
	end_op(&s);
	for (int i = 3; i < 5; i++)
		peers[i] = world_dial(l, &at);
	TURN_UNTIL(world_waiting(l, 2));
	turns(3);
	CHECK_EQ(s.fd_count, 3);
	start(&now, l, OP_ACCEPT, OP_NOWAIT);
	TURN_UNTIL(now.ended);
	CHECK_EQ(now.fd_count, 2);
	CHECK_EQ(now.last, -EAGAIN);
	if (!simulated) { /* there are no flags of descriptors there */
		CHECK(fcntl(now.fds[0], F_GETFL) & O_NONBLOCK);
		CHECK(fcntl(now.fds[0], F_GETFD) & FD_CLOEXEC);
	}
	for (int i = 0; i < 5; i++) {
		world_gone(peers[i]);
		world_shut(i < 3 ? s.fds[i] : now.fds[i - 3]);
	}
	world_shut(l);
	world_close();
}

/* Out of descriptors accepting ends with that error; the connection waits, and is there when there is room. */
TEST_EACH_WORLD(accept_without_descriptors_ends_and_loses_nobody, CONNECTED)
{
	chime_addr at;
	struct seen s;
	world_open();
	int l = world_listener(&at);
	int peer = world_dial(l, &at);
	world_hoard(true);
	start(&s, l, OP_ACCEPT, 0);
	TURN_UNTIL(s.ended);
	CHECK_EQ(s.last, -EMFILE);
	CHECK_EQ(s.reports, 1);
	world_hoard(false);
	start(&s, l, OP_ACCEPT, 0);
	TURN_UNTIL(s.fd_count == 1);
	end_op(&s);
	world_gone(peer);
	world_shut(s.fds[0]);
	world_shut(l);
	world_close();
}

/* ---- receiving ---- */

/* A receive reports what comes, again and again, and the end once, as its last report, marked where messages could be empty. */
TEST_EACH_WORLD(receive_reports_until_the_end, CONNECTED)
{
	struct ends e;
	struct seen s;
	open_ends(&e);
	start(&s, e.fd, receiving(), 0);
	for (unsigned i = 1; i <= 3; i++) {
		put(&e, "abc", 3);
		TURN_UNTIL(s.total == 3 * i);
		CHECK(!s.ended);
	}
	CHECK_MEM(s.bytes, "abcabcabc", 9);
	world_end(e.peer);
	TURN_UNTIL(s.ended);
	CHECK_EQ(s.last, 0);
	CHECK_EQ(s.end_mark, kind->form == MESSAGES);
	CHECK(!op_running(&s.op));
	turns(3);
	close_ends(&e);
}

/* A peer that resets ends the receive with an error, once. */
TEST_EACH_WORLD(a_reset_ends_the_receive, STREAM | RESET)
{
	struct ends e;
	struct seen s;
	open_ends(&e);
	start(&s, e.fd, receiving(), 0);
	turns(1);
	world_reset(e.peer);
	TURN_UNTIL(s.ended);
	CHECK_EQ(s.last, -ECONNRESET);
	e.peer = -1;
	close_ends(&e);
}

/* A cancelled receive ends once, in a wait and not inside cancel, with -ECANCELED; what comes afterwards is the next one's. */
TEST_EACH_WORLD(a_cancelled_receive_ends_once_and_loses_nothing, ANY)
{
	struct ends e;
	struct seen s;
	open_ends(&e);
	start(&s, e.fd, receiving(), 0);
	turns(2);
	op_cancel(&lp, &s.op);
	op_cancel(&lp, &s.op);
	CHECK_EQ(s.reports, 0);
	TURN_UNTIL(s.ended);
	CHECK_EQ(s.last, -ECANCELED);
	put(&e, "late", 4);
	turns(3);
	CHECK_EQ(s.reports, 1);
	start(&s, e.fd, receiving(), 0);
	TURN_UNTIL(s.total == 4);
	CHECK_MEM(s.bytes, "late", 4);
	end_op(&s);
	close_ends(&e);
}

/* Whatever comes round cancels, started and ended again and again, is reported once and in order, by one receive or by the next. */
TEST_EACH_WORLD(no_byte_is_lost_round_a_cancel, ANY)
{
	struct ends e;
	struct seen s;
	char want[400], got[400];
	size_t written = 0, had = 0;
	open_ends(&e);
	for (unsigned i = 0; i < sizeof want; i++)
		want[i] = (char)('a' + i * 7 % 26);
	while (had < sizeof want) {
		start(&s, e.fd, receiving(), test_random() % 4 ? 0 : OP_NOWAIT);
		for (unsigned k = (unsigned)(test_random() % 3); k && written < sizeof want && written - had < 8; k--) {
			put(&e, want + written, 1);
			written++;
			if (test_random() % 2)
				turns(1);
		}
		turns(written == sizeof want || written - had >= 8);
		op_cancel(&lp, &s.op);
		TURN_UNTIL(s.ended);
		CHECK_IN(had + s.total, 0, (int)sizeof got); /* and no byte twice */
		memcpy(got + had, s.bytes, s.total);
		had += s.total;
	}
	CHECK_MEM(got, want, sizeof want);
	close_ends(&e);
}

/* OP_NOWAIT receives what is there, in order, then ends with -EAGAIN; cancelled before its turn it ends with -ECANCELED. */
TEST_EACH_WORLD(receive_now_ends_when_nothing_is_there, ANY)
{
	struct ends e;
	struct seen s;
	open_ends(&e);
	put_there(&e, "n", 1);
	put_there(&e, "ow", 2);
	start(&s, e.fd, receiving(), OP_NOWAIT);
	TURN_UNTIL(s.ended);
	CHECK_EQ(s.last, -EAGAIN);
	CHECK_EQ(s.total, 3);
	CHECK_MEM(s.bytes, "now", 3);
	start(&s, e.fd, receiving(), OP_NOWAIT);
	op_cancel(&lp, &s.op);
	TURN_UNTIL(s.ended);
	CHECK_EQ(s.last, -ECANCELED);
	CHECK_EQ(s.reports, 1);
	close_ends(&e);
}

static struct seen second;

/* In the report of the first: cancels the second, whose event is in the same batch. */
static void cancel_second(struct seen *s)
{
	(void)s;
	op_cancel(&lp, &second.op);
}

/* An event for an operation that was cancelled in the same turn is not reported to it twice; and a number that is used again, at once,
 * starts afresh: nothing of who had it before is heard. */
TEST_EACH_WORLD(a_number_used_again_starts_afresh, CONNECTED)
{
	chime_addr at;
	struct ends a, b;
	struct seen first, s;
	world_open();
	world_pair(&a.fd, &a.peer);
	world_pair(&b.fd, &b.peer);
	int l = world_listener(&at);
	start(&first, a.fd, receiving(), 0);
	start(&second, b.fd, receiving(), 0);
	first.then = cancel_second;
	turns(1);
	put(&a, "1", 1);
	put(&b, "2", 1);
	TURN_UNTIL(second.ended);
	CHECK_IN(second.reports, 1, 2); /* the order of events is open: reported before, or not at all */
	CHECK_EQ(second.last, -ECANCELED);
	first.then = NULL;
	int peer = world_dial(l, &at), number = b.fd;
	put(&b, "for nobody", 10);
	world_shut(b.fd);
	start(&s, l, OP_ACCEPT, 0);
	TURN_UNTIL(s.fd_count == 1);
	end_op(&s);
	CHECK_EQ(s.fds[0], number);
	start(&second, number, receiving(), 0);
	turns(3);
	CHECK_EQ(second.reports, 0);
	world_put(peer, "new", 3);
	TURN_UNTIL(second.total == 3);
	CHECK_MEM(second.bytes, "new", 3);
	end_op(&first);
	end_op(&second);
	world_gone(peer);
	world_gone(a.peer);
	world_gone(b.peer);
	world_shut(a.fd);
	world_shut(number);
	world_shut(l);
	world_close();
}

/* Polling says that there is something to be read, leaves it where it is, and ends when it is cancelled. */
TEST_EACH_WORLD(a_poll_tells_and_takes_nothing, ANY)
{
	struct ends e;
	struct seen s;
	open_ends(&e);
	start(&s, e.fd, OP_POLL, 0);
	turns(3);
	CHECK_EQ(s.reports, 0);
	put(&e, "here", 4);
	TURN_UNTIL(s.reports > 0);
	CHECK_EQ(s.last, 1);
	CHECK(!s.ended);
	end_op(&s);
	start(&s, e.fd, receiving(), 0);
	TURN_UNTIL(s.total == 4);
	CHECK_MEM(s.bytes, "here", 4);
	end_op(&s);
	close_ends(&e);
}

/* A poll that goes on is silent once all is read, and tells again when more comes; so does the next one. */
TEST_EACH_WORLD(a_poll_tells_again_when_more_comes, ANY)
{
	struct ends e;
	struct seen s, r;
	char bytes[64];
	open_ends(&e);
	start(&s, e.fd, OP_POLL, 0);
	put(&e, "one", 3);
	TURN_UNTIL(s.reports > 0);
	if (!simulated) { /* its sockets are read by operations only */
		CHECK(recv(e.fd, bytes, sizeof bytes, MSG_DONTWAIT) >= 3);
		turns(3); /* it may have been found readable before that */
		int before = s.reports;
		turns(3);
		CHECK_EQ(s.reports, before);
		put(&e, "two", 3);
		TURN_UNTIL(s.reports > before);
		CHECK_EQ(s.last, 1);
		CHECK(!s.ended);
	}
	end_op(&s);
	start(&r, e.fd, receiving(), 0);
	TURN_UNTIL(r.total == 3);
	CHECK_MEM(r.bytes, simulated ? "one" : "two", 3);
	end_op(&r);
	start(&s, e.fd, OP_POLL, 0);
	turns(3);
	CHECK_EQ(s.reports, 0);
	put(&e, "three", 5);
	TURN_UNTIL(s.reports > 0);
	CHECK_EQ(s.last, 1);
	end_op(&s);
	close_ends(&e);
}

/* A cancelled poll ends once, in a wait and not inside cancel, with -ECANCELED; what comes afterwards is told to the next one. */
TEST_EACH_WORLD(a_cancelled_poll_ends_once, ANY)
{
	struct ends e;
	struct seen s, next;
	open_ends(&e);
	start(&s, e.fd, OP_POLL, 0);
	turns(1);
	end_op(&s);
	CHECK_EQ(s.reports, 1);
	CHECK(!op_running(&s.op));
	put(&e, "late", 4);
	turns(3);
	CHECK_EQ(s.reports, 1);
	start(&next, e.fd, OP_POLL, 0);
	TURN_UNTIL(next.reports > 0);
	CHECK_EQ(next.last, 1);
	end_op(&next);
	CHECK_EQ(s.reports, 1);
	int reports = next.reports;
	turns(3); /* it is still readable */
	CHECK_EQ(next.reports, reports);
	close_ends(&e);
}

/* The end of a connection is readable: a poll tells it, goes on until it is cancelled, and leaves the end to who receives. */
TEST_EACH_WORLD(a_poll_tells_of_the_end_and_leaves_it, CONNECTED)
{
	struct ends e;
	struct seen s;
	open_ends(&e);
	start(&s, e.fd, OP_POLL, 0);
	turns(3);
	CHECK_EQ(s.reports, 0);
	world_end(e.peer);
	TURN_UNTIL(s.reports > 0);
	CHECK_EQ(s.last, 1);
	CHECK(!s.ended);
	end_op(&s);
	start(&s, e.fd, receiving(), 0);
	TURN_UNTIL(s.ended);
	CHECK_EQ(s.last, 0);
	CHECK_EQ(s.reports, 1);
	close_ends(&e);
}

TEST_MAIN()
