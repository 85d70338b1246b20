/* The table between the engine and the system, on every backend, with every type of socket: what is of messages. */
#include "loop/world/ops.h"

#include <netinet/in.h>

/* ---- messages ---- */

/* Each message is one report (or one of a batch), an empty one too, and an empty one is not the end. */
TEST_EACH_WORLD(empty_messages_are_messages, MESSAGES | DATAGRAMS | EMPTY)
{
	struct ends e;
	struct seen s;
	open_ends(&e);
	start(&s, e.fd, receiving(), 0);
	turns(1);
	put(&e, "ab", 2);
	put(&e, "", 0);
	put(&e, "c", 1);
	TURN_UNTIL(s.messages == 3);
	CHECK(!s.ended && !s.end_mark);
	CHECK_EQ(s.empty, 1);
	CHECK_MEM(s.bytes, "abc", 3);
	end_op(&s);
	close_ends(&e);
}

/* Also those that are still there when the peer has ended already, and one that came right before its end. */
TEST_EACH_WORLD(empty_messages_before_the_end_are_not_it, MESSAGES | EMPTY)
{
	for (unsigned early = 0; early < 2; early++) { /* read before the end, or only after it */
		struct ends e;
		struct seen s;
		open_ends(&e);
		start(&s, e.fd, receiving(), 0);
		turns(1);
		put(&e, "ab", 2);
		put(&e, "", 0);
		if (early)
			TURN_UNTIL(s.reports == 2);
		put(&e, "", 0);
		world_gone(e.peer);
		e.peer = -1;
		TURN_UNTIL(s.ended);
		CHECK_EQ(s.reports, 4);
		CHECK_EQ(s.empty, 2);
		CHECK_EQ(s.last, 0);
		CHECK(s.end_mark);
		close_ends(&e);
	}
}

/* The longest message comes whole, and goes whole. */
TEST_EACH_WORLD(the_longest_message_comes_and_goes_whole, MESSAGES | DATAGRAMS)
{
	static char big[CHIME_MESSAGE_MAX], got[CHIME_MESSAGE_MAX];
	size_t len = kind_of_test()->longest;
	struct ends e;
	struct seen s;
	open_ends(&e);
	for (size_t i = 0; i < len; i++)
		big[i] = (char)(i * 31 % 251);
	start(&s, e.fd, receiving(), 0);
	put(&e, big, len);
	TURN_UNTIL(s.messages == 1);
	CHECK_EQ(s.longest, len);
	CHECK_EQ(s.truncated, 0);
	end_op(&s);
	CHECK_EQ(answer(&e, big, len), kind->form == DATAGRAMS ? 1 : (int)len);
	CHECK_EQ(world_take(e.peer, got, sizeof got), len);
	CHECK_MEM(got, big, len);
	close_ends(&e);
}

/* A longer one, be it by a byte, is cut at the longest and marked; the one behind it is whole. */
TEST_EACH_WORLD(an_over_long_message_is_marked, MESSAGES | DATAGRAMS | OVER_LONG)
{
	static char big[CHIME_MESSAGE_MAX + 1000];
	static const size_t more[] = { 1, 10, 1000 };
	struct ends e;
	struct seen s;
	open_ends(&e);
	for (unsigned i = 0; i < 3; i++) {
		start(&s, e.fd, receiving(), 0);
		put(&e, big, CHIME_MESSAGE_MAX + more[i]);
		put(&e, "x", 1);
		TURN_UNTIL(s.messages == 2);
		CHECK_EQ(s.truncated, 1);
		CHECK_EQ(s.longest, CHIME_MESSAGE_MAX);
		CHECK_EQ(s.total, CHIME_MESSAGE_MAX + 1);
		end_op(&s);
	}
	close_ends(&e);
}

/* More messages than a batch holds come all, once and in order. */
TEST_EACH_WORLD(a_burst_of_messages_comes_in_order, MESSAGES | DATAGRAMS)
{
	struct ends e;
	struct seen s;
	char want[3 * OP_MSGS];
	unsigned n = kind_of_test()->family == AF_UNIX && kind_of_test()->form == DATAGRAMS ? 10 : sizeof want;
	open_ends(&e);
	for (unsigned i = 0; i < n; i++) {
		want[i] = (char)('!' + i % 90);
		put(&e, &want[i], 1); /* a unix datagram socket's queue is short */
	}
	start(&s, e.fd, receiving(), 0);
	TURN_UNTIL(s.messages == n);
	CHECK_MEM(s.bytes, want, n);
	end_op(&s);
	close_ends(&e);
}

/* A datagram says who sent it and, where it is asked for, which address of ours it came to; the answer leaves from there. */
TEST_EACH_WORLD(datagrams_come_with_their_addresses, DATAGRAMS | ANYWHERE)
{
	chime_addr at, to, from;
	struct seen s;
	char got[8];
	world_open();
	int fd = world_bound(&at, true), peer = world_peer(&from);
	CHECK_EQ(chime_addr_ip(&to, kind->family, kind->family == AF_INET ? "127.0.0.7" : "::1", chime_addr_port(&at)),
		 0);
	start(&s, fd, OP_RECV_MSGS, OP_PKTINFO);
	world_put_to(peer, fd, &to, "abc", 3);
	TURN_UNTIL(s.messages == 1);
	CHECK(chime_addr_equal(&s.peer, &from));
	if (simulated) /* there it has one address only */
		chime_addr_ip(&to, AF_INET, "192.0.2.9", chime_addr_port(&at));
	chime_addr_set_port(&s.local, chime_addr_port(&at));
	CHECK(chime_addr_equal(&s.local, &to));
	struct iovec iov = { got, 3 };
	struct op_msg m = { .peer = from, .local = s.local, .iov = &iov, .n = 1 };
	struct seen out;
	memcpy(got, "def", 3);
	op_make(&out, fd, OP_SEND_MSGS, 0);
	out.op.u.msgs = &m;
	out.op.n = 1;
	CHECK_EQ(sent(&out), 1);
	memset(got, 0, 3);
	if (simulated)
		CHECK_EQ(world_take(peer, got, sizeof got), 3);
	else
		world_take_from(peer, got, sizeof got, &to);
	CHECK_MEM(got, "def", 3);
	end_op(&s);
	world_gone(peer);
	world_shut(fd);
	world_close();
}

/* What was sent to a broadcast or multicast address is told as such, what came to ours alone is not. */
TEST_EACH_WORLD(messages_to_many_are_told, DATAGRAMS | MANY)
{
	chime_addr at, to, from;
	struct seen s;
	world_open();
	int fd = world_bound(&at, true), peer = world_peer(&from);
	CHECK_EQ(chime_addr_ip(&to, kind->family, kind->family == AF_INET ? "127.0.0.1" : "::1", chime_addr_port(&at)),
		 0);
	start(&s, fd, OP_RECV_MSGS, OP_PKTINFO);
	world_put_to(peer, fd, &to, "one", 3);
	TURN_UNTIL(s.messages == 1);
	CHECK_EQ(s.to_many, 0);
	world_put_to_many(peer, fd, chime_addr_port(&at), "many", 4);
	TURN_UNTIL(s.messages == 2);
	CHECK_EQ(s.to_many, 1);
	CHECK_MEM(s.bytes, "onemany", 7);
	end_op(&s);
	world_gone(peer);
	world_shut(fd);
	world_close();
}

TEST_MAIN()
