/* What only io_uring can do to us: no buffer left, more completions than fit, bytes after a cancel. */
#include "runner/test.h"

#include "loop/loop.h"

#include <chime/error.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define KEEP 4096

static struct loop lp;
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
		for (int i = 0; i < ev->res; i++)
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

static void open_pairs(struct pairs *p, unsigned n)
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

#define TURN_UNTIL(cond)                                                                                               \
	do {                                                                                                           \
		int64_t end_ = test_now() + 10000000000ll;                                                             \
		while (!(cond) && test_now() < end_)                                                                   \
			CHECK_EQ(chime__loop_turn(&lp, 10 * CHIME_MSEC), 0);                                           \
		CHECK(cond);                                                                                           \
	} while (0)

static void close_pairs(struct pairs *p)
{
	for (unsigned i = 0; i < p->n; i++)
		op_cancel(&lp, &p->ops[i]);
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
