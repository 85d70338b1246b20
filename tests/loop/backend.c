/* What holds on every backend of the kernel and is of the kernel only: descriptors, hang-ups, threads. The table: conform_*.c. */
#include "loop/each_backend.h"

#include "loop/turn.h"

#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

/* What an operation has reported. */
struct seen {
	struct op op;
	int reports, last;
	bool ended;
};

static void on_done(struct loop *l, struct op *op, const struct op_event *ev)
{
	struct seen *s = (struct seen *)op;
	CHECK_PTR(l, &lp);
	s->reports++;
	s->last = ev->res;
	s->ended = !ev->more;
}

static void start(struct seen *s, int fd, enum op_kind kind)
{
	*s = (struct seen){ .op = { .done = on_done, .fd = fd, .kind = (uint8_t)kind } };
	CHECK_EQ(op_submit(&lp, &s->op), 0);
}

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

static void teardown(int *fds, int n)
{
	for (int i = 0; i < n; i++)
		CHECK_EQ(lp.backend->close(&lp, fds[i], false), 0);
	chime__loop_fini(&lp);
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
		start(&s, fds[0], kinds[i]);
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

/* A peer that has gone while nothing is asked of its socket costs no turns: hang-ups are not waited for. */
TEST_EACH_BACKEND(hang_up_does_not_spin)
{
	int fds[2];
	struct seen s;
	setup();
	pair(fds, SOCK_STREAM);
	start(&s, fds[0], OP_RECV);
	turn(1);
	op_cancel(&lp, &s.op);
	TURN_UNTIL(s.ended);
	close(fds[1]);
	int64_t began = test_now();
	CHECK_EQ(chime__loop_turn(&lp, 50 * CHIME_MSEC), 0);
	CHECK_IN(test_now() - began, 45 * CHIME_MSEC, 50 * CHIME_SEC);
	teardown(fds, 1);
}

enum {
	MANY = 600 /* more than one wait brings */
};
static struct seen many[MANY];
static int heard; /* of them, when the timer ran; -1: it has not run */

static void count_heard(chime_timer *t, void *arg)
{
	(void)t, (void)arg;
	heard = 0;
	for (int i = 0; i < MANY; i++)
		heard += many[i].reports > 0;
}

/* A loop that was held up hears all that came in time before it runs a timer that is late by then: else who spoke were taken for silent. */
TEST_EACH_BACKEND(what_came_in_time_is_heard_before_a_late_timer)
{
	static int ours[MANY], theirs[MANY];
	chime_timer timer = { 0 };
	setup();
	for (int i = 0; i < MANY; i++) {
		int fds[2];
		pair(fds, SOCK_STREAM);
		ours[i] = fds[0];
		theirs[i] = fds[1];
		start(&many[i], fds[0], OP_RECV);
	}
	turn(20);
	heard = -1;
	chime__timer_start(&lp.timers, &timer, lp.backend->mono(&lp) + 20 * CHIME_MSEC, count_heard, NULL);
	for (int i = 0; i < MANY; i++)
		CHECK_EQ(write(theirs[i], "x", 1), 1);
	for (int64_t until = test_now() + CHIME_SEC; test_now() < until;) /* held up by somebody's call */
		poll(NULL, 0, 10);
	TURN_UNTIL(heard >= 0);
	CHECK_EQ(heard, MANY);
	for (int i = 0; i < MANY; i++) {
		op_cancel(&lp, &many[i].op);
		TURN_UNTIL(many[i].ended);
		close(theirs[i]);
	}
	teardown(ours, MANY);
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

TEST_MAIN()
