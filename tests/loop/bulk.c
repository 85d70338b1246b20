/* Who is in bulk and who is not, on every backend of the kernel: counted in bytes, not in time. (The simulation has any order there is.) */
#include "loop/each_backend.h"

#include "loop/backend/ready.h"
#include "loop/turn.h"

#include <chime/service.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define STREAMS 40
#define MUCH CHIME_INPUT_MAX

static struct stream {
	struct op op; /* first */
	int fds[2];
	size_t in;
	unsigned ends;
} streams[STREAMS], one;

static size_t sum;        /* bytes reported of all streams */
static size_t sum_at_put; /* sum, when one's message was sent; sum_until: when it was reported */
static size_t sum_until;
static bool put_now; /* with the next report of a stream */

static void on_done(struct loop *l, struct op *op, const struct op_event *ev)
{
	struct stream *s = (struct stream *)op;
	CHECK_PTR(l, &lp);
	if (ev->res > 0)
		s->in += (size_t)ev->res;
	if (!ev->more) {
		s->ends++;
		CHECK_EQ(ev->res, -ECANCELED);
	}
	if (s == &one) {
		sum_until = sum;
		return;
	}
	if (ev->res > 0)
		sum += (size_t)ev->res;
	if (put_now && ev->res > 0) {
		put_now = false;
		sum_at_put = sum;
		CHECK_EQ(write(one.fds[1], "x", 1), 1);
	}
}

static void start(struct stream *s)
{
	s->op.done = on_done;
	s->op.fd = s->fds[0];
	s->op.kind = OP_RECV;
	CHECK_EQ(op_submit(&lp, &s->op), 0);
}

static void write_all(void)
{
	static char bytes[MUCH];
	for (struct stream *s = streams; s < streams + STREAMS; s++)
		CHECK_EQ(write(s->fds[1], bytes, MUCH), MUCH);
}

static void open_all(void)
{
	CHECK_EQ(chime__loop_init(&lp, test_backend, NULL), 0);
	for (int i = 0; i <= STREAMS; i++) {
		struct stream *s = i < STREAMS ? &streams[i] : &one;
		CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, s->fds), 0);
		start(s);
	}
}

static void close_all(void)
{
	for (int i = 0; i <= STREAMS; i++) {
		struct stream *s = i < STREAMS ? &streams[i] : &one;
		op_cancel(&lp, &s->op);
		TURN_UNTIL(!op_running(&s->op));
		CHECK_EQ(lp.backend->close(&lp, s->fds[0], false), 0);
		close(s->fds[1]);
	}
	chime__loop_fini(&lp);
}

/* How many bytes of the streams were reported between one's message and its report. */
static size_t waited(void)
{
	size_t had = one.in;
	sum = 0;
	write_all();
	put_now = true;
	TURN_UNTIL(one.in == had + 1);
	size_t bytes = sum_until - sum_at_put;
	TURN_UNTIL(sum == STREAMS * MUCH);
	return bytes;
}

/*
 * A message of one waits for READY_TURN bytes of those in bulk and not for all of them; where they are not known to be in bulk
 * yet, for READY_LEAST more of each.
 */
TEST_EACH_BACKEND(a_message_waits_for_a_bounded_part_of_others_bulk)
{
	open_all();
	CHECK_IN(waited(), 0, READY_TURN + STREAMS * READY_LEAST + MUCH);
	for (int i = 0; i < 5; i++)
		CHECK_IN(waited(), 0, READY_TURN + MUCH);
	close_all();
}

/* Those in bulk have the same: none is a second time in its turn before all others were. */
TEST_EACH_BACKEND(those_in_bulk_take_turns)
{
	open_all();
	waited();
	for (struct stream *s = streams; s < streams + STREAMS; s++)
		s->in = 0;
	write_all();
	write_all();
	while (sum < 3 * STREAMS * MUCH) {
		size_t least = SIZE_MAX, most = 0, before = sum;
		TURN_UNTIL(sum > before);
		for (struct stream *s = streams; s < streams + STREAMS; s++) {
			least = s->in < least ? s->in : least;
			most = s->in > most ? s->in : most;
		}
		CHECK_IN(most - least, 0, MUCH);
	}
	close_all();
}

/* One that is cancelled while it waits for its turn ends once, and what it has not received is the next one's. */
TEST_EACH_BACKEND(a_cancel_in_the_row_ends_once_and_loses_nothing)
{
	open_all();
	waited();
	for (int round = 0; round < 3; round++) {
		sum = 0;
		write_all();
		TURN_UNTIL(sum > 0);
		CHECK_IN(sum, 1, STREAMS * MUCH - 1);
		for (struct stream *s = streams; s < streams + STREAMS; s++) {
			s->ends = 0;
			op_cancel(&lp, &s->op);
			op_cancel(&lp, &s->op);
		}
		for (struct stream *s = streams; s < streams + STREAMS; s++)
			TURN_UNTIL(s->ends);
		for (int i = 0; i < 3; i++)
			CHECK_EQ(chime__loop_turn(&lp, 0), 0);
		for (struct stream *s = streams; s < streams + STREAMS; s++) {
			CHECK_EQ(s->ends, 1);
			start(s);
		}
		TURN_UNTIL(sum == STREAMS * MUCH);
	}
	close_all();
}

/* Many with little, wait after wait, keep nobody in bulk waiting for ever. */
TEST_EACH_BACKEND(those_in_bulk_have_their_turn_beside_many_with_little)
{
	open_all();
	waited();
	sum = 0;
	write_all();
	for (int i = 0; i < STREAMS && sum < STREAMS * MUCH; i++) {
		size_t before = sum;
		CHECK_EQ(write(one.fds[1], "x", 1), 1);
		CHECK_EQ(chime__loop_turn(&lp, 0), 0);
		if (i)
			CHECK(sum > before);
	}
	TURN_UNTIL(sum == STREAMS * MUCH);
	close_all();
}

TEST_MAIN()
