/* The table between the engine and the system: what holds for operations on every backend, with every type of socket. */
#include "loop/world/world.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>

#define ANY (STREAM | MESSAGES | DATAGRAMS)
#define CONNECTED (STREAM | MESSAGES)

/* What an operation has reported. */
struct seen {
	struct op op;
	int reports, last, fds[8], fd_count;
	bool ended, end_mark;
	unsigned messages, empty, truncated, to_many;
	size_t total, longest;
	char bytes[4096];
	chime_addr peer, local; /* of the last message */
	void (*then)(struct seen *s);
};

static void saw_bytes(struct seen *s, const unsigned char *data, size_t len)
{
	size_t header = kind && len >= kind->header ? kind->header : 0;
	data += header;
	len -= header;
	if (s->total + len <= sizeof s->bytes)
		memcpy(s->bytes + s->total, data, len);
	s->total += len;
	s->messages++;
	s->empty += len == 0;
	if (len > s->longest)
		s->longest = len;
}

static void on_done(struct loop *l, struct op *op, const struct op_event *ev)
{
	struct seen *s = (struct seen *)op;
	CHECK_PTR(l, &lp);
	CHECK(waiting); /* never inside submit or cancel */
	CHECK(!s->ended);
	s->reports++;
	s->last = ev->res;
	s->ended = !ev->more;
	s->end_mark = ev->end;
	if (op->kind == OP_ACCEPT && ev->res >= 0)
		s->fds[s->fd_count++] = ev->res;
	else if (ev->buf && (ev->res > 0 || !ev->end))
		saw_bytes(s, ev->buf->data, (size_t)ev->res);
	s->truncated += ev->truncated;
	for (int i = 0; ev->msgs && i < ev->res; i++) {
		saw_bytes(s, ev->msgs[i].data, ev->msgs[i].len);
		s->truncated += ev->msgs[i].truncated;
		s->to_many += ev->msgs[i].to_many;
		s->peer = ev->msgs[i].peer;
		s->local = ev->msgs[i].local;
	}
	if (s->then)
		s->then(s);
}

static void op_make(struct seen *s, int fd, enum op_kind what, int flags)
{
	*s = (struct seen){ 0 };
	s->op = (struct op){ .done = on_done, .fd = fd, .kind = (uint8_t)what, .flags = (uint8_t)flags };
}

static void start(struct seen *s, int fd, enum op_kind what, int flags)
{
	op_make(s, fd, what, flags);
	CHECK_EQ(op_submit(&lp, &s->op), 0);
}

static enum op_kind receiving(void)
{
	return kind->form == STREAM ? OP_RECV : kind->form == MESSAGES ? OP_RECV_MSG : OP_RECV_MSGS;
}

static void end_op(struct seen *s)
{
	op_cancel(&lp, &s->op);
	TURN_UNTIL(s->ended);
	CHECK_EQ(s->last, -ECANCELED);
}

/* What a submitted send has said, at once or later. */
static int sent(struct seen *s)
{
	int res = op_submit(&lp, &s->op);
	if (res == 1)
		return s->op.res;
	CHECK_EQ(res, 0);
	TURN_UNTIL(s->ended);
	CHECK_EQ(s->reports, 1);
	return s->last;
}

static int send_pieces(struct seen *s, int fd, int flags, struct iovec *iov, int n)
{
	op_make(s, fd, OP_SEND, flags);
	s->op.u.iov = iov;
	s->op.n = (uint16_t)n;
	return sent(s);
}

static int send_bytes(int fd, const void *bytes, size_t len)
{
	struct seen s;
	struct iovec iov = { (void *)(uintptr_t)bytes, len };
	return send_pieces(&s, fd, 0, &iov, 1);
}

/* The two ends of whatever it is: a connection, or a socket and a peer with an address. */
struct ends {
	int fd, peer;
	chime_addr at, from;
};

static void open_ends(struct ends *e)
{
	world_open();
	if (kind->form != DATAGRAMS) {
		world_pair(&e->fd, &e->peer);
		return;
	}
	e->fd = world_bound(&e->at, false);
	e->peer = world_peer(&e->from);
}

static void close_ends(struct ends *e)
{
	if (e->peer >= 0)
		world_gone(e->peer);
	world_shut(e->fd);
	world_close();
}

static void put(const struct ends *e, const void *bytes, size_t len)
{
	if (kind->form == DATAGRAMS)
		world_put_to(e->peer, e->fd, &e->at, bytes, len);
	else
		world_put(e->peer, bytes, len);
}

static int answer(const struct ends *e, const void *bytes, size_t len)
{
	struct seen s;
	struct iovec iov = { (void *)(uintptr_t)bytes, len };
	struct op_msg m = { .peer = e->from, .iov = &iov, .n = 1 };
	if (kind->form != DATAGRAMS)
		return send_bytes(e->fd, bytes, len);
	op_make(&s, e->fd, OP_SEND_MSGS, 0);
	s.op.u.msgs = &m;
	s.op.n = 1;
	return sent(&s);
}

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
		CHECK(had + s.total <= sizeof got);
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
	put(&e, "n", 1);
	put(&e, "ow", 2);
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
		full = res == -EAGAIN ? full + 1 : 0;
		if (full)
			turn(CHIME_MSEC);
		else
			CHECK(res > 0);
		went += full ? 0 : (size_t)res;
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
	CHECK_IN(lp.backend->mono(&lp) - began_ns, 60 * CHIME_MSEC, 5 * CHIME_SEC);
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
