/* What only io_uring can do to us: no buffer left, more completions than fit, bytes after a cancel. */
#include "loop/turn.h"

#include <chime/error.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define KEEP 4096

static struct buf *kept[KEEP];
static unsigned kept_n, reports, ends, cancelled;
static size_t total;
static bool keep;

static void on_done(struct loop *l, struct op *op, const struct op_event *ev)
{
	(void)l, (void)op;
	if (ev->res > 0) {
		reports++;
		total += (size_t)ev->res;
		for (int i = 0; ev->buf && i < ev->res; i++)
			CHECK_EQ(ev->buf->data[i], 'x');
		if (keep) {
			CHECK(kept_n < KEEP);
			kept[kept_n++] = buf_ref(ev->buf);
		}
	}
	if (!ev->more) {
		ends++;
		cancelled += ev->res == -ECANCELED;
	}
}

static void give_back(void)
{
	while (kept_n)
		buf_unref(kept[--kept_n]);
}

struct pairs {
	unsigned n;
	int (*fds)[2];
	struct op *ops;
};

/* Whose loop has not had a turn. */
static void make_pairs(struct pairs *p, unsigned n)
{
	struct backend_caps caps;
	int err = chime__backend_uring.probe(&caps);
	if (err < 0)
		SKIP("backend uring: %s", chime_strerror(err));
	struct rlimit limit;
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur < 2 * n + 64)
		SKIP("%u descriptors are needed, the limit is %lu", 2 * n + 64, (unsigned long)limit.rlim_cur);
	CHECK_EQ(chime__loop_init(&lp, &chime__backend_uring, NULL), 0);
	p->n = n;
	p->fds = test_calloc(n, sizeof *p->fds);
	p->ops = test_calloc(n, sizeof *p->ops);
	for (unsigned i = 0; i < n; i++) {
		CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, p->fds[i]), 0);
		p->ops[i] = (struct op){ .done = on_done, .fd = p->fds[i][0], .kind = OP_RECV };
	}
}

static void open_pairs(struct pairs *p, unsigned n)
{
	make_pairs(p, n);
	CHECK_EQ(chime__loop_turn(&lp, 0), 0);
}

static void submit_all(struct pairs *p)
{
	for (unsigned i = 0; i < p->n; i++)
		CHECK_EQ(op_submit(&lp, &p->ops[i]), 0);
}

static void write_all(struct pairs *p)
{
	for (unsigned i = 0; i < p->n; i++)
		CHECK_EQ(write(p->fds[i][1], "xxx", 3), 3);
}

static void close_pairs(struct pairs *p)
{
	for (unsigned i = 0; i < p->n; i++)
		op_cancel(&lp, &p->ops[i]); /* of one that has ended it is nothing */
	TURN_UNTIL(ends == p->n);
	CHECK_EQ(cancelled, p->n);
	for (unsigned i = 0; i < p->n; i++) {
		CHECK_EQ(lp.backend->close(&lp, p->fds[i][0], false), 0);
		close(p->fds[i][1]);
	}
	chime__loop_fini(&lp);
	test_free(p->fds);
	test_free(p->ops);
}

/* Receives that find no buffer wait for one and lose nothing; those that are cancelled meanwhile end. */
TEST(receives_wait_for_buffers)
{
	struct pairs p;
	open_pairs(&p, 900);
	keep = true;
	submit_all(&p);
	write_all(&p);
	for (int i = 0; i < 20; i++)
		CHECK_EQ(chime__loop_turn(&lp, 0), 0);
	unsigned had = reports;
	CHECK_IN(had, 64, 899); /* the others found none */
	for (int i = 0; i < 5; i++)
		CHECK_EQ(chime__loop_turn(&lp, 0), 0);
	CHECK_EQ(reports, had);
	CHECK_EQ(ends, 0);
	keep = false;
	give_back();
	TURN_UNTIL(total == 3 * 900);
	CHECK_EQ(reports, 900);
	close_pairs(&p);
}

/* A cancelled receive that waits for a buffer ends, though there is none. */
TEST(cancel_while_there_is_no_buffer)
{
	struct pairs p;
	open_pairs(&p, 900);
	keep = true;
	submit_all(&p);
	write_all(&p);
	for (int i = 0; i < 20; i++)
		CHECK_EQ(chime__loop_turn(&lp, 0), 0);
	CHECK_IN(reports, 64, 899);
	for (unsigned i = 0; i < p.n; i++)
		op_cancel(&lp, &p.ops[i]);
	TURN_UNTIL(ends == p.n);
	give_back();
	close_pairs(&p);
}

/* More completions at once than the ring holds: none is lost. */
TEST_LIMIT(more_completions_than_fit, 60)
{
	struct pairs p;
	open_pairs(&p, 9500);
	write_all(&p);
	submit_all(&p);
	TURN_UNTIL(total == 3 * 9500);
	for (int round = 0; round < 2; round++) {
		write_all(&p);
		TURN_UNTIL(total == 3u * 9500 * (unsigned)(round + 2));
	}
	close_pairs(&p);
}

/*
 * Until the loop's first turn the kernel takes nothing. What does not fit into the queue by then, be it receives or the cancels of
 * those that do, waits for room: each receive ends once, cancelled, or receives.
 */
TEST(what_the_queue_has_no_room_for_is_asked_later)
{
	struct pairs p;
	make_pairs(&p, 3000);
	submit_all(&p);
	for (unsigned i = 0; i < p.n; i += 3)
		op_cancel(&lp, &p.ops[i]);
	CHECK_EQ(ends, 0);
	write_all(&p);
	TURN_UNTIL(ends == 1000 && total >= 3 * 2000); /* one that was cancelled may still have received */
	CHECK_EQ(cancelled, 1000);
	for (unsigned i = 0; i < p.n; i++)
		CHECK_EQ(op_running(&p.ops[i]), i % 3 != 0);
	close_pairs(&p);
}

/* The same with nothing but cancels, which would all be forgotten. */
TEST(cancels_that_find_no_room_are_not_forgotten)
{
	struct pairs p;
	make_pairs(&p, 1023); /* what wakes the loop has the last place */
	submit_all(&p);
	for (unsigned i = 0; i < p.n; i++)
		op_cancel(&lp, &p.ops[i]);
	for (unsigned i = 0; i < p.n; i++)
		CHECK_EQ(op_running(&p.ops[i]), 1);
	close_pairs(&p);
	CHECK_EQ(total, 0);
}

/* Sends of many pieces too: more than there are headers for, before the first turn. */
TEST(sends_that_find_no_room_are_sent_in_the_end)
{
	struct pairs p;
	struct iovec(*iov)[2];
	static char one[] = "one", two[] = "two";
	char got[16];
	make_pairs(&p, 2000);
	iov = test_calloc(p.n, sizeof *iov);
	for (unsigned i = 0; i < p.n; i++) {
		iov[i][0] = (struct iovec){ one, 3 };
		iov[i][1] = (struct iovec){ two, 3 };
		p.ops[i].kind = OP_SEND;
		p.ops[i].u.iov = iov[i];
		p.ops[i].n = 2;
	}
	submit_all(&p);
	TURN_UNTIL(ends == p.n);
	CHECK_EQ(reports, p.n);
	for (unsigned i = 0; i < p.n; i++) {
		CHECK_EQ(read(p.fds[i][1], got, sizeof got), 6);
		CHECK_MEM(got, "onetwo", 6);
	}
	cancelled = p.n;
	close_pairs(&p);
	test_free(iov);
}

#define STREAMS 20

/* Streams whose n-th byte is n's lowest. */
static struct stream {
	struct op op; /* first */
	int fds[2];
	size_t in, out;
	unsigned large; /* receives of more than a buffer of the ring holds */
	bool over;
} streams[STREAMS];

static void on_stream(struct loop *l, struct op *op, const struct op_event *ev)
{
	struct stream *s = (struct stream *)op;
	(void)l;
	for (int i = 0; i < ev->res; i++)
		CHECK_EQ(ev->buf->data[i], (unsigned char)s->out++);
	s->large += ev->res > 32768;
	s->over = !ev->more;
	if (!ev->more)
		CHECK_EQ(ev->res, -ECANCELED);
}

/* Writes as much as goes of so many bytes. */
static void write_stream(struct stream *s, size_t len)
{
	static unsigned char bytes[150000 + 256];
	if (!bytes[1])
		for (size_t i = 0; i < sizeof bytes; i++)
			bytes[i] = (unsigned char)i;
	ssize_t n = write(s->fds[1], bytes + s->in % 256, len);
	CHECK(n > 0 || errno == EAGAIN);
	s->in += n > 0 ? (size_t)n : 0;
}

/* Between bulk and little, with cancels at any time, every byte comes once and in order; and bulk comes in large pieces. */
TEST_LIMIT(bulk_comes_whole_and_in_order, 100)
{
	struct pairs none;
	unsigned large = 0;
	open_pairs(&none, 0);
	for (struct stream *s = streams; s < streams + STREAMS; s++) {
		CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, s->fds), 0);
		s->op = (struct op){ .done = on_stream, .fd = s->fds[0], .kind = OP_RECV };
		CHECK_EQ(op_submit(&lp, &s->op), 0);
	}
	for (int round = 0; round < 4000; round++) {
		struct stream *s = &streams[test_random() % STREAMS];
		unsigned what = (unsigned)(test_random() % 16);
		if (what == 0 && op_running(&s->op))
			op_cancel(&lp, &s->op);
		else if (!op_running(&s->op))
			CHECK_EQ(op_submit(&lp, &s->op), 0);
		write_stream(s, (round / 500) % 2 ? 1 + test_random() % 100 : 1 + test_random() % 150000);
		if (what % 4 == 0)
			CHECK_EQ(chime__loop_turn(&lp, 0), 0);
	}
	for (struct stream *s = streams; s < streams + STREAMS; s++) {
		if (!op_running(&s->op))
			CHECK_EQ(op_submit(&lp, &s->op), 0);
		TURN_UNTIL(s->out == s->in);
		op_cancel(&lp, &s->op);
		TURN_UNTIL(!op_running(&s->op));
		CHECK(s->over);
		CHECK_EQ(lp.backend->close(&lp, s->fds[0], false), 0);
		close(s->fds[1]);
		large += s->large;
	}
	CHECK(large > 0);
	close_pairs(&none);
}

/* A multishot receive that was cancelled may still report what it had taken; nothing is lost between it and the next. */
TEST(no_byte_is_lost_round_a_cancel)
{
	struct pairs p;
	size_t sent = 0;
	open_pairs(&p, 50);
	for (int round = 0; round < 200; round++) {
		ends = 0;
		submit_all(&p);
		for (unsigned i = 0; i < p.n; i++)
			for (unsigned k = (unsigned)(test_random() % 4); k; k--) {
				CHECK_EQ(write(p.fds[i][1], "xx", 2), 2);
				sent += 2;
				if (test_random() % 8 == 0)
					CHECK_EQ(chime__loop_turn(&lp, 0), 0);
			}
		for (unsigned i = 0; i < p.n; i++)
			op_cancel(&lp, &p.ops[i]);
		TURN_UNTIL(ends == p.n);
	}
	ends = cancelled = 0;
	submit_all(&p);
	TURN_UNTIL(total == sent);
	close_pairs(&p);
}

TEST_MAIN()
