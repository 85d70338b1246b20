/* The table between the engine and the system: what holds for operations on every backend, on real sockets. */
#include "loop/each_backend.h"

#include "loop/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static struct loop lp;

/* What an operation has reported. */
struct seen {
	struct op op;
	int reports, last, total, fds[8], fd_count;
	bool ended, end_mark;
	char bytes[4096];
	void (*then)(struct seen *s); /* called in each report */
};

static void on_done(struct loop *l, struct op *op, const struct op_event *ev)
{
	struct seen *s = (struct seen *)op;
	CHECK_PTR(l, &lp);
	CHECK(!s->ended);
	s->reports++;
	s->last = ev->res;
	s->ended = !ev->more;
	s->end_mark = ev->end;
	if (ev->res > 0 && ev->buf && s->total + ev->res <= (int)sizeof s->bytes)
		memcpy(s->bytes + s->total, ev->buf->data, (size_t)ev->res);
	if (ev->res > 0)
		s->total += ev->res;
	if (op->kind == OP_ACCEPT && ev->res >= 0)
		s->fds[s->fd_count++] = ev->res;
	if (s->then)
		s->then(s);
}

static void op_make(struct seen *s, int fd, enum op_kind kind, int flags)
{
	*s = (struct seen){ 0 };
	s->op = (struct op){ .done = on_done, .fd = fd, .kind = (uint8_t)kind, .flags = (uint8_t)flags };
}

static void start(struct seen *s, int fd, enum op_kind kind, int flags)
{
	op_make(s, fd, kind, flags);
	CHECK_EQ(op_submit(&lp, &s->op), 0);
}

/* Turns until cond, at most two seconds. */
#define TURN_UNTIL(cond)                                                                                               \
	do {                                                                                                           \
		int64_t end_ = test_now() + 2000000000ll;                                                              \
		while (!(cond) && test_now() < end_)                                                                   \
			CHECK_EQ(chime__loop_turn(&lp, 10 * CHIME_MSEC), 0);                                           \
		CHECK(cond);                                                                                           \
	} while (0)

/* A few turns in which nothing is expected. */
static void turn(int n)
{
	while (n--)
		CHECK_EQ(chime__loop_turn(&lp, 0), 0);
}

static void setup(void)
{
	CHECK_EQ(chime__loop_init(&lp, test_backend, NULL), 0);
}

static void pair(int fds[2], int type)
{
	CHECK_EQ(socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
}

static int listener(chime_addr *at)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	CHECK_EQ(chime_addr_ip(at, AF_INET, "127.0.0.1", 0), 0);
	CHECK_EQ(bind(fd, &at->u.sa, at->len), 0);
	CHECK_EQ(listen(fd, 16), 0);
	CHECK_EQ(getsockname(fd, &at->u.sa, &at->len), 0);
	return fd;
}

static int dial(const chime_addr *to)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK_EQ(connect(fd, &to->u.sa, to->len), 0);
	return fd;
}

/* Sends, and returns the result, whether it comes at once or is reported. */
static int send_now(struct seen *s, int fd, int flags, struct iovec *iov, int n)
{
	op_make(s, fd, OP_SEND, flags);
	s->op.u.iov = iov;
	s->op.n = (uint16_t)n;
	int res = op_submit(&lp, &s->op);
	if (res == 1)
		return s->op.res;
	CHECK_EQ(res, 0);
	TURN_UNTIL(s->ended);
	return s->last;
}

static void end_op(struct seen *s)
{
	op_cancel(&lp, &s->op);
	TURN_UNTIL(s->ended);
}

static void teardown(int *fds, int n)
{
	for (int i = 0; i < n; i++)
		CHECK_EQ(lp.backend->close(&lp, fds[i], false), 0);
	chime__loop_fini(&lp);
}

/* A receive reports what comes, again and again, and the end once, as its last report. */
TEST_EACH_BACKEND(receive_reports_until_the_end)
{
	int fds[2];
	struct seen s;
	setup();
	pair(fds, SOCK_STREAM);
	start(&s, fds[0], OP_RECV, 0);
	for (int i = 1; i <= 3; i++) {
		CHECK_EQ(write(fds[1], "abc", 3), 3);
		TURN_UNTIL(s.reports == i);
		CHECK(!s.ended);
	}
	CHECK_MEM(s.bytes, "abcabcabc", 9);
	shutdown(fds[1], SHUT_WR);
	TURN_UNTIL(s.ended);
	CHECK_EQ(s.last, 0);
	CHECK(!op_running(&s.op));
	turn(3);
	CHECK_EQ(s.reports, 4);
	teardown(fds, 2);
}

/* A cancelled operation ends once, in a wait and not inside cancel, with -ECANCELED; what comes afterwards is not lost. */
TEST_EACH_BACKEND(cancelled_operation_ends_once)
{
	int fds[2];
	struct seen s;
	setup();
	pair(fds, SOCK_STREAM);
	start(&s, fds[0], OP_RECV, 0);
	turn(1);
	op_cancel(&lp, &s.op);
	op_cancel(&lp, &s.op);
	CHECK_EQ(s.reports, 0);
	CHECK_EQ(write(fds[1], "late", 4), 4);
	TURN_UNTIL(s.ended);
	CHECK_EQ(s.last, -ECANCELED);
	turn(3);
	CHECK_EQ(s.reports, 1);
	start(&s, fds[0], OP_RECV, 0);
	TURN_UNTIL(s.reports == 1);
	CHECK_MEM(s.bytes, "late", 4);
	end_op(&s);
	teardown(fds, 2);
}

/* A send that can be done is done at once; one that can't reports when there is room, with what was taken. */
TEST_EACH_BACKEND(blocked_send_reports_when_there_is_room)
{
	int fds[2];
	static char big[1 << 20], sink[1 << 20];
	struct iovec iov = { big, sizeof big };
	struct seen s;
	setup();
	pair(fds, SOCK_STREAM);
	CHECK_IN(send_now(&s, fds[0], 0, &iov, 1), 1, (int)sizeof big - 1);
	op_make(&s, fds[0], OP_SEND, OP_WAIT_FIRST);
	s.op.u.iov = &iov;
	s.op.n = 1;
	CHECK_EQ(op_submit(&lp, &s.op), 0);
	turn(3);
	CHECK_EQ(s.reports, 0);
	CHECK(read(fds[1], sink, sizeof sink) > 0);
	TURN_UNTIL(s.ended);
	CHECK_IN(s.last, 1, (int)sizeof big);
	teardown(fds, 2);
}

/* A pipe of many pieces is sent as one. */
TEST_EACH_BACKEND(pieces_are_gathered)
{
	int fds[2];
	char got[16] = "";
	struct iovec iov[3] = { { (char[]){ "one" }, 3 }, { (char[]){ "" }, 0 }, { (char[]){ "two" }, 3 } };
	struct seen s;
	setup();
	pair(fds, SOCK_SEQPACKET);
	CHECK_EQ(send_now(&s, fds[0], 0, iov, 3), 6);
	CHECK_EQ(recv(fds[1], got, sizeof got, 0), 6);
	CHECK_STR(got, "onetwo");
	teardown(fds, 2);
}

/* Sending to a peer that is gone is an error in the result, never a signal. */
TEST_EACH_BACKEND(send_to_nobody_is_an_error)
{
	int fds[2];
	struct iovec iov = { (char[]){ "x" }, 1 };
	struct seen s;
	setup();
	pair(fds, SOCK_STREAM);
	close(fds[1]);
	CHECK_EQ(send_now(&s, fds[0], 0, &iov, 1), -EPIPE);
	teardown(fds, 1);
}

/* On a seqpacket connection an empty message and the end are told apart, and each message is one report. */
TEST_EACH_BACKEND(empty_message_is_not_the_end)
{
	int fds[2];
	struct seen s;
	setup();
	pair(fds, SOCK_SEQPACKET);
	start(&s, fds[0], OP_RECV_MSG, 0);
	turn(1);
	CHECK_EQ(send(fds[1], "ab", 2, 0), 2);
	CHECK_EQ(send(fds[1], "", 0, 0), 0);
	CHECK_EQ(send(fds[1], "c", 1, 0), 1);
	TURN_UNTIL(s.reports == 3);
	CHECK(!s.ended && !s.end_mark);
	CHECK_MEM(s.bytes, "abc", 3);
	close(fds[1]);
	TURN_UNTIL(s.ended);
	CHECK_EQ(s.last, 0);
	CHECK(s.end_mark);
	teardown(fds, 1);
}

/* Also those that are still there when the peer has ended already, and one that came right before its end. */
TEST_EACH_BACKEND(empty_messages_before_the_end_are_not_it)
{
	setup();
	for (int early = 0; early < 2; early++) { /* read before the end, or only after it */
		int fds[2];
		struct seen s;
		pair(fds, SOCK_SEQPACKET);
		start(&s, fds[0], OP_RECV_MSG, 0);
		turn(1);
		CHECK_EQ(send(fds[1], "ab", 2, 0), 2);
		CHECK_EQ(send(fds[1], "", 0, 0), 0);
		if (early)
			TURN_UNTIL(s.reports == 2);
		CHECK_EQ(send(fds[1], "", 0, 0), 0);
		close(fds[1]);
		TURN_UNTIL(s.ended);
		CHECK_EQ(s.reports, 4);
		CHECK_EQ(s.last, 0);
		CHECK(s.end_mark);
		CHECK_EQ(lp.backend->close(&lp, fds[0], false), 0);
	}
	teardown(NULL, 0);
}

/* Descriptors that a peer sends along are never opened here, where nobody would close them. */
TEST_EACH_BACKEND(descriptors_that_come_along_are_not_kept)
{
	static const enum op_kind kinds[] = { OP_RECV, OP_RECV_MSG, OP_RECV_MSGS };
	static const int types[] = { SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM };
	setup();
	for (int i = 0; i < 3; i++) {
		int fds[2];
		union {
			char bytes[CMSG_SPACE(sizeof(int))];
			struct cmsghdr head;
		} control = { .head = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
		struct iovec iov = { (char[]){ "x" }, 1 };
		struct msghdr msg = {
			.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control
		};
		struct seen s;
		pair(fds, types[i]);
		memcpy(CMSG_DATA(&control.head), &fds[1], sizeof(int));
		start(&s, fds[0], kinds[i], 0);
		turn(1);
		int next = dup(fds[0]);
		close(next);
		CHECK_EQ(sendmsg(fds[1], &msg, 0), 1);
		TURN_UNTIL(s.reports == 1);
		CHECK_EQ(s.last, 1);
		int again = dup(fds[0]);
		CHECK_EQ(again, next);
		close(again);
		op_cancel(&lp, &s.op);
		TURN_UNTIL(s.ended);
		lp.backend->close(&lp, fds[0], false);
		close(fds[1]);
	}
	teardown(NULL, 0);
}

/* Accept reports every connection that waits, with OP_NOWAIT those that wait now and then -EAGAIN. */
TEST_EACH_BACKEND(accept_reports_every_connection)
{
	chime_addr at;
	int fds[5], held[4];
	struct seen s;
	setup();
	int l = listener(&at);
	for (int i = 0; i < 3; i++)
		fds[i] = dial(&at);
	start(&s, l, OP_ACCEPT, 0);
	TURN_UNTIL(s.fd_count == 3);
	CHECK(!s.ended);
	op_cancel(&lp, &s.op);
	TURN_UNTIL(s.ended);
	memcpy(held, s.fds, sizeof held);
	fds[3] = dial(&at);
	start(&s, l, OP_ACCEPT, OP_NOWAIT);
	TURN_UNTIL(s.ended);
	CHECK_EQ(s.fd_count, 1);
	CHECK_EQ(s.last, -EAGAIN);
	CHECK(fcntl(s.fds[0], F_GETFL) & O_NONBLOCK);
	CHECK(fcntl(s.fds[0], F_GETFD) & FD_CLOEXEC);
	for (int i = 0; i < 3; i++)
		close(held[i]);
	close(s.fds[0]);
	fds[4] = l;
	teardown(fds, 5);
}

/* OP_NOWAIT receives what is there, in order, then ends with -EAGAIN; cancelled before its turn it ends with -ECANCELED. */
TEST_EACH_BACKEND(receive_now_ends_when_nothing_is_there)
{
	int fds[2];
	struct seen s;
	setup();
	pair(fds, SOCK_STREAM);
	CHECK_EQ(write(fds[1], "now", 3), 3);
	start(&s, fds[0], OP_RECV, OP_NOWAIT);
	TURN_UNTIL(s.ended);
	CHECK_EQ(s.last, -EAGAIN);
	CHECK_MEM(s.bytes, "now", 3);
	start(&s, fds[0], OP_RECV, OP_NOWAIT);
	op_cancel(&lp, &s.op);
	TURN_UNTIL(s.ended);
	CHECK_EQ(s.last, -ECANCELED);
	CHECK_EQ(s.reports, 1);
	teardown(fds, 2);
}

/* Connecting reports its result: done, refused. */
TEST_EACH_BACKEND(connect_reports_its_result)
{
	chime_addr at;
	int fds[2];
	struct seen s;
	setup();
	fds[1] = listener(&at);
	fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	op_make(&s, fds[0], OP_CONNECT, 0);
	s.op.u.to = &at;
	CHECK_EQ(op_submit(&lp, &s.op), 0);
	TURN_UNTIL(s.ended);
	CHECK_EQ(s.last, 0);
	CHECK_EQ(lp.backend->close(&lp, fds[1], false), 0);
	int again = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	op_make(&s, again, OP_CONNECT, 0);
	s.op.u.to = &at;
	CHECK_EQ(op_submit(&lp, &s.op), 0);
	TURN_UNTIL(s.ended);
	CHECK_EQ(s.last, -ECONNREFUSED);
	fds[1] = again;
	teardown(fds, 2);
}

static struct seen second;

/* In the report of the first: cancels the second, whose event is in the same batch. */
static void cancel_second(struct seen *s)
{
	(void)s;
	op_cancel(&lp, &second.op);
}

/* An event for an operation that was cancelled in the same turn is not reported to it; and a number that is used again starts afresh. */
TEST_EACH_BACKEND(late_event_finds_nobody)
{
	int a[2], b[2], reused[2];
	struct seen first;
	setup();
	pair(a, SOCK_STREAM);
	pair(b, SOCK_STREAM);
	start(&first, a[0], OP_RECV, 0);
	start(&second, b[0], OP_RECV, 0);
	first.then = cancel_second;
	turn(1);
	CHECK_EQ(write(a[1], "1", 1), 1);
	CHECK_EQ(write(b[1], "2", 1), 1);
	TURN_UNTIL(second.ended);
	CHECK_IN(second.reports, 1, 2); /* the order of events is open: reported before, or not at all */
	CHECK_EQ(second.last, -ECANCELED);
	CHECK_EQ(lp.backend->close(&lp, b[0], false), 0);
	CHECK_EQ(lp.backend->close(&lp, b[1], false), 0);
	pair(reused, SOCK_STREAM);
	start(&second, reused[0], OP_RECV, 0);
	turn(3);
	CHECK_EQ(second.reports, 0);
	CHECK_EQ(write(reused[1], "new", 3), 3);
	TURN_UNTIL(second.total == 3);
	CHECK_MEM(second.bytes, "new", 3);
	end_op(&first);
	end_op(&second);
	int all[4] = { a[0], a[1], reused[0], reused[1] };
	teardown(all, 4);
}

/* A peer that has gone while nothing is asked of its socket costs no turns: hang-ups are not waited for. */
TEST_EACH_BACKEND(hang_up_does_not_spin)
{
	int fds[2];
	struct seen s;
	setup();
	pair(fds, SOCK_STREAM);
	start(&s, fds[0], OP_RECV, 0);
	turn(1);
	end_op(&s);
	close(fds[1]);
	int64_t began = test_now();
	CHECK_EQ(chime__loop_turn(&lp, 50 * CHIME_MSEC), 0);
	CHECK_IN(test_now() - began, 45 * CHIME_MSEC, 2 * CHIME_SEC);
	teardown(fds, 1);
}

static bool task_ran;

static void run_task(struct loop *l, struct loop_task *t)
{
	(void)l, (void)t;
	task_ran = true;
}

static void *post_it(void *arg)
{
	CHECK_EQ(chime__loop_post_from_any(&lp, arg), 0);
	return NULL;
}

/* A post from another thread ends the wait and runs; after the loop has ended it is refused. */
TEST_EACH_BACKEND(post_wakes_the_loop)
{
	struct loop_task task = { .run = run_task };
	pthread_t thread;
	setup();
	CHECK_EQ(pthread_create(&thread, NULL, post_it, &task), 0);
	while (!task_ran)
		CHECK_EQ(chime__loop_turn(&lp, 10 * CHIME_SEC), 0);
	pthread_join(thread, NULL);
	chime__loop_fini(&lp);
}

static int batch_n;
static chime_addr batch_peer, batch_local;
static struct op_msg batch_answer;

static void on_batch(struct loop *l, struct op *op, const struct op_event *ev)
{
	if (ev->res <= 0)
		return;
	batch_n += ev->res;
	batch_peer = ev->msgs[0].peer;
	batch_local = ev->msgs[0].local;
	struct iovec iov = { ev->msgs[0].data, ev->msgs[0].len };
	struct op send = { .done = on_batch, .fd = op->fd, .kind = OP_SEND_MSGS, .n = 1 };
	batch_answer = (struct op_msg){ .peer = batch_peer, .local = batch_local, .iov = &iov, .n = 1 };
	send.u.msgs = &batch_answer;
	CHECK_EQ(op_submit(l, &send), 1);
	CHECK_EQ(send.res, 1);
}

/* A batch of datagrams comes in one report, each with its sender and the address it was sent to; answers leave from there. */
TEST_EACH_BACKEND(datagrams_come_in_batches_with_their_addresses)
{
	chime_addr at, to, from = { .len = sizeof from.u };
	int on = 1;
	char got[8] = "";
	setup();
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	CHECK_EQ(setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on), 0);
	CHECK_EQ(chime_addr_ip(&at, AF_INET, "", 0), 0);
	CHECK_EQ(bind(fd, &at.u.sa, at.len), 0);
	CHECK_EQ(getsockname(fd, &at.u.sa, &at.len), 0);
	CHECK_EQ(chime_addr_ip(&to, AF_INET, "127.0.0.7", chime_addr_port(&at)), 0);
	int client = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	for (int i = 0; i < 5; i++)
		CHECK_EQ(sendto(client, "abc", 3, 0, &to.u.sa, to.len), 3);
	struct op op = { .done = on_batch, .fd = fd, .kind = OP_RECV_MSGS, .flags = OP_PKTINFO };
	CHECK_EQ(op_submit(&lp, &op), 0);
	TURN_UNTIL(batch_n == 5);
	chime_addr_set_port(&batch_local, chime_addr_port(&at));
	CHECK(chime_addr_equal(&batch_local, &to));
	CHECK_EQ(recvfrom(client, got, sizeof got, 0, &from.u.sa, &from.len), 3);
	CHECK(chime_addr_equal(&from, &to));
	op_cancel(&lp, &op);
	TURN_UNTIL(!op_running(&op));
	int fds[2] = { fd, client };
	teardown(fds, 2);
}

TEST_MAIN()
