/* The table between the engine and the system, on every backend, with every type of socket: sending. */
#include "loop/world/ops.h"

/* ---- sending ---- */

/* Many pieces, empty ones among them, are sent as one; on message sockets as one message. */
TEST_EACH_WORLD(pieces_are_gathered, ANY)
{
	struct ends e;
	struct seen s;
	char got[16] = "";
	struct iovec iov[3] = { { (char[]){ "one" }, 3 }, { (char[]){ "" }, 0 }, { (char[]){ "two" }, 3 } };
	open_ends(&e);
	if (kind->form == DATAGRAMS) {
		struct op_msg m = { .peer = e.from, .iov = iov, .n = 3 };
		op_make(&s, e.fd, OP_SEND_MSGS, 0);
		s.op.u.msgs = &m;
		s.op.n = 1;
		CHECK_EQ(sent(&s), 1);
	} else {
		CHECK_EQ(send_pieces(&s, e.fd, 0, iov, 3), 6);
	}
	if (kind->form == STREAM)
		world_take_all(e.peer, got, 6);
	else
		CHECK_EQ(world_take(e.peer, got, sizeof got), 6);
	CHECK_STR(got, "onetwo");
	close_ends(&e);
}

/* A batch of messages goes to each of its peers, in order. */
TEST_EACH_WORLD(a_batch_goes_to_each_peer, DATAGRAMS)
{
	struct ends e;
	chime_addr other;
	char letters[] = "abcdef";
	struct op_msg m[6];
	struct iovec iov[6];
	struct seen s;
	char got[8];
	open_ends(&e);
	int peer = world_peer(&other);
	for (unsigned i = 0; i < 6; i++) {
		iov[i] = (struct iovec){ &letters[i], 1 };
		m[i] = (struct op_msg){ .peer = i % 2 ? other : e.from, .iov = &iov[i], .n = 1 };
	}
	op_make(&s, e.fd, OP_SEND_MSGS, 0);
	s.op.u.msgs = m;
	s.op.n = 6;
	CHECK_EQ(sent(&s), 6);
	for (unsigned i = 0; i < 6; i++) {
		CHECK_EQ(world_take(i % 2 ? peer : e.peer, got, sizeof got), 1);
		CHECK_EQ(got[0], "abcdef"[i]);
	}
	world_gone(peer);
	close_ends(&e);
}

/* Sends until there is no room: how much went. Where it can't be done at once the send reports -EAGAIN. */
static size_t fill(const struct ends *e, size_t piece)
{
	static char big[1 << 16];
	struct iovec iov = { big, piece };
	struct seen s;
	size_t went = 0;
	world_narrow(e->fd, e->peer);
	/* A kernel passes on what it has taken, and then has room again, for a while. */
	for (unsigned full = 0; full < 10;) {
		int res = send_pieces(&s, e->fd, lp.caps.inline_send ? OP_NOWAIT : 0, &iov, 1);
		full = res == -EAGAIN && world_stuck(e->fd) ? full + 1 : 0;
		if (res == -EAGAIN)
			turn(CHIME_MSEC);
		else
			CHECK(res > 0);
		went += res > 0 ? (size_t)res : 0;
	}
	return went;
}

/* A send that finds no room says so or waits for it; one that waits for room reports when there is some; cancelled, it ends; and what
 * the peer gets is what was reported as sent, no byte more or less. */
TEST_EACH_WORLD(a_blocked_send_reports_when_there_is_room, CONNECTED)
{
	static char big[1 << 16], sink[1 << 16];
	size_t piece = kind_of_test()->form == STREAM ? sizeof big : 1000, went, got = 0;
	struct iovec iov = { big, piece };
	struct ends e;
	struct seen s;
	open_ends(&e);
	went = fill(&e, piece);
	CHECK(went > 0);
	for (int again = 0; again < 2; again++) {
		op_make(&s, e.fd, OP_SEND, OP_WAIT_FIRST);
		s.op.u.iov = &iov;
		s.op.n = 1;
		CHECK_EQ(op_submit(&lp, &s.op), 0);
		turns(3);
		CHECK_EQ(s.reports, 0);
		if (again == 0)
			end_op(&s);
	}
	while (got < went || !s.ended) {
		ssize_t n = world_try(e.peer, sink, sizeof sink);
		if (n > 0)
			got += (size_t)n;
		turn(0);
		if (s.ended && s.reports == 1) {
			CHECK_IN(s.last, 1, (int)piece);
			went += (size_t)s.last;
			s.reports = 2;
		}
	}
	CHECK_EQ(got, went);
	close_ends(&e);
}

/* A send of more than there is room for reports what was taken, in the middle of a piece too, and that is what the peer gets. */
TEST_EACH_WORLD(a_short_send_reports_what_was_taken, STREAM)
{
	static unsigned char big[1 << 20], got[1 << 20];
	struct iovec iov[3] = { { big, 3000 }, { big + 3000, 5001 }, { big + 8001, sizeof big - 8001 } };
	struct ends e;
	struct seen s;
	open_ends(&e);
	world_narrow(e.fd, e.peer);
	for (size_t i = 0; i < sizeof big; i++)
		big[i] = (unsigned char)(i * 31 % 251);
	int flags = kind->proto == IPPROTO_SCTP ? OP_PIECES : 0;
	int res = send_pieces(&s, e.fd, flags, iov, kind->family == AF_TIPC ? 2 : 3);
	CHECK_IN(res, 1, (int)sizeof big - 1);
	world_take_all(e.peer, got, (size_t)res);
	CHECK_MEM(got, big, (size_t)res);
	turns(3);
	CHECK_EQ(world_try(e.peer, got, 1), -1);
	close_ends(&e);
}

/* While a send waits for room, a receive of the same descriptor goes on. */
TEST_EACH_WORLD(a_blocked_send_does_not_hold_up_receiving, CONNECTED)
{
	static char big[1 << 16];
	struct iovec iov = { big, 1000 };
	struct ends e;
	struct seen in, out;
	open_ends(&e);
	fill(&e, 1000);
	op_make(&out, e.fd, OP_SEND, OP_WAIT_FIRST);
	out.op.u.iov = &iov;
	out.op.n = 1;
	CHECK_EQ(op_submit(&lp, &out.op), 0);
	start(&in, e.fd, receiving(), 0);
	put(&e, "hello", 5);
	TURN_UNTIL(in.total == 5);
	end_op(&in);
	op_cancel(&lp, &out.op);
	TURN_UNTIL(out.ended);
	CHECK(out.last == -ECANCELED || out.last > 0); /* what came may have brought room */
	close_ends(&e);
}

/* A unix peer whose queue is full is -EAGAIN at once, and others are sent to meanwhile; when it has read, it is sent to again. */
TEST_EACH_WORLD(a_full_datagram_peer_says_so, DATAGRAMS | FULL_PEER)
{
	struct ends e;
	chime_addr other;
	struct iovec iov = { (char[]){ "x" }, 1 };
	struct op_msg m = { .iov = &iov, .n = 1 };
	struct seen s;
	char got[8];
	unsigned n = 0;
	open_ends(&e);
	int peer = world_peer(&other), res;
	do {
		m.peer = e.from;
		op_make(&s, e.fd, OP_SEND_MSGS, OP_NOWAIT);
		s.op.u.msgs = &m;
		s.op.n = 1;
		res = sent(&s);
	} while (res == 1 && ++n < 10000);
	CHECK_EQ(res, -EAGAIN);
	m.peer = other;
	op_make(&s, e.fd, OP_SEND_MSGS, OP_NOWAIT);
	s.op.u.msgs = &m;
	s.op.n = 1;
	CHECK_EQ(sent(&s), 1);
	for (unsigned i = 0; i < n; i++)
		CHECK_EQ(world_take(e.peer, got, sizeof got), 1);
	CHECK_EQ(answer(&e, "y", 1), 1);
	CHECK_EQ(world_take(e.peer, got, sizeof got), 1);
	CHECK_EQ(got[0], 'y');
	world_gone(peer);
	close_ends(&e);
}

/* A datagram to nobody is an error of that message, or lost; never of those before it. */
TEST_EACH_WORLD(a_datagram_to_nobody_harms_no_other, DATAGRAMS)
{
	struct ends e;
	chime_addr nobody;
	struct iovec iov = { (char[]){ "x" }, 1 };
	char got[8];
	struct seen s;
	open_ends(&e);
	int gone = world_peer(&nobody);
	world_gone(gone);
	struct op_msg m[2] = { { .peer = e.from, .iov = &iov, .n = 1 }, { .peer = nobody, .iov = &iov, .n = 1 } };
	op_make(&s, e.fd, OP_SEND_MSGS, 0);
	s.op.u.msgs = m;
	s.op.n = 2;
	CHECK_IN(sent(&s), 1, 2);
	CHECK_EQ(world_take(e.peer, got, sizeof got), 1);
	op_make(&s, e.fd, OP_SEND_MSGS, 0);
	s.op.u.msgs = &m[1];
	s.op.n = 1;
	int res = sent(&s);
	if (kind->family == AF_UNIX)
		CHECK_EQ(res, -ECONNREFUSED);
	else
		CHECK(res == 1 || res == -ECONNREFUSED || res == -EHOSTUNREACH);
	close_ends(&e);
}

/* Sending to a peer that is gone is an error in the result, never a signal. */
TEST_EACH_WORLD(send_to_a_peer_that_is_gone_is_an_error, CONNECTED)
{
	struct ends e;
	int res = 1;
	open_ends(&e);
	world_reset(e.peer);
	e.peer = -1;
	TURN_UNTIL((res = send_bytes(e.fd, "x", 1)) < 0);
	CHECK(res == -EPIPE || res == -ECONNRESET);
	close_ends(&e);
}

TEST_MAIN()
