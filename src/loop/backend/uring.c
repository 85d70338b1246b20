/*
 * Operations over io_uring. Over 600 lines, because who starts an operation, ends it and is told of it must agree on one set of states.
 *
 * Accepting and receiving are multishot; received bytes come in buffers of ours that the kernel picks from a ring, each with the
 * headroom that answers are written into. What is submitted in a turn goes in with the one system call that waits.
 *
 * A report carries the operation's address. That is safe because no operation is forgotten: its owner has it back only
 * after the kernel's last word on it, so neither the address nor the descriptor can mean something else by then.
 *
 * Sends are tried once, without waiting (MSG_DONTWAIT), and report -EAGAIN if there is no room: so a peer that does not read
 * keeps none of the shared buffers; its bytes are copied out and sent with OP_WAIT_FIRST. Datagrams and seqpackets are polled for, then
 * received as over epoll: recvmmsg(2) takes a batch with one call, which io_uring has no counterpart for. So are streams in bulk:
 * whoever fills a buffer is polled for from then on, and received from by recv(2) into the one buffer that is in the cache, until
 * less comes; a turn's receives into the ring's buffers would pass through the cache instead (docs/performance.md).
 *
 * Ring flags, and why: SINGLE_ISSUER and DEFER_TASKRUN (Linux 6.1: completions are worked off when this thread waits, not
 * when it is interrupted; a third less CPU at 1000 connections), R_DISABLED (the thread that runs the loop, not the
 * one that makes it, shall be the issuer), CQSIZE (a turn's completions fit without the overflow list), SUBMIT_ALL (one bad
 * entry shall not hold up the others), CLAMP (small machines), TASKRUN_FLAG (a wait works off some 20 completions only, and those in
 * bulk shall not have their turn between: take_all()).
 */
#include "loop/backend/ready.h"
#include "loop/backend/ring_bufs.h"
#include "net/closer.h"

#include <assert.h>
#include <chime/service.h>
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define ENTRIES 1024 /* submissions in a turn; more go in by themselves when it is full */
#define CQ_FACTOR 8
#define AT_ONCE 16       /* completions that the kernel works off in a wait, at least */
#define LARGE 8192       /* bytes of a send that is not queued */
#define AGAIN_NS 1000000 /* until what the kernel did not take is tried again */

/* How a stream is received from: OP_RECV's op->prepared. */
enum {
	ONCE, /* into a buffer of the ring: a multishot receive goes on to 32 before others have their turn, so who fills one has none */
	INTO_RING,   /* multishot */
	ENDING_RING, /* in bulk from the next start on: what is under way was asked to end */
	IN_BULK
};

/* What user_data is when it is not an operation. */
enum {
	FOR_CANCEL = 1,
	FOR_WAKE = 2
};

struct uring {
	struct io_uring ring;
	bool enabled;
	int wake_fd;
	uint64_t wake_count; /* what is read from it */

	struct ring_bufs bufs;

	struct msghdr msgs[ENTRIES]; /* for sends of several pieces, until they are submitted */
	unsigned msgs_used;

	struct op *starved;  /* receives that found no buffer; started again when there is one */
	struct op *unasked;  /* the queue had no room for them: started in the next wait */
	struct op *unwanted; /* the same for their cancels: asked for in the next wait */
	bool unwoken;        /* the same for what wakes the loop */
	struct ready ready;
};

static bool report(struct loop *lp, struct op *op, struct op_event *ev, bool more);
static void try(struct loop *lp, struct op *op, bool sure);
static void start(struct uring *u, struct op *op);

static int64_t clock_ns(clockid_t clock)
{
	struct timespec ts;
	clock_gettime(clock, &ts);
	return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

static int64_t uring_mono(struct loop *lp)
{
	(void)lp;
	return clock_ns(CLOCK_MONOTONIC);
}

static int64_t uring_real(struct loop *lp)
{
	(void)lp;
	return clock_ns(CLOCK_REALTIME);
}

/* ---- the ring ---- */

static int make_ring(struct io_uring *ring, unsigned entries, unsigned flags)
{
	struct io_uring_params p = { .flags = flags | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
					      IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE |
					      IORING_SETUP_TASKRUN_FLAG,
				     .cq_entries = entries * CQ_FACTOR };
	int err = io_uring_queue_init_params(entries, ring, &p);
	if (err < 0)
		return err;
	if (!(p.features & IORING_FEAT_NODROP) || !(p.features & IORING_FEAT_EXT_ARG)) {
		io_uring_queue_exit(ring);
		return -EOPNOTSUPP;
	}
	return 0;
}

/* -ENOSYS: the kernel has no io_uring; -EPERM: it is forbidden (sysctl, seccomp); -EOPNOTSUPP: it is older than 6.1. */
static int uring_probe(struct backend_caps *caps)
{
	struct io_uring ring;
	*caps = (struct backend_caps){ .shared_bufs = true };
	int err = make_ring(&ring, 4, 0);
	if (err == 0)
		io_uring_queue_exit(&ring);
	return err == -EINVAL ? -EOPNOTSUPP : err; /* flags of 6.1 were refused */
}

/* io_uring_enable_rings(3), which Debian 12's shared liburing does not export. */
static int enable(struct io_uring *ring)
{
	return syscall(__NR_io_uring_register, ring->ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0) < 0 ? -errno : 0;
}

/* What was submitted may refer to u->msgs as long as the kernel has not taken it. */
static void submitted(struct uring *u)
{
	if (io_uring_sq_ready(&u->ring) == 0)
		u->msgs_used = 0;
}

/* NULL: the queue is full and the kernel takes nothing: before the loop runs, or because it has no memory. */
static struct io_uring_sqe *get_sqe(struct uring *u)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
	if (!sqe && u->enabled) {
		io_uring_submit(&u->ring);
		submitted(u);
		sqe = io_uring_get_sqe(&u->ring);
	}
	return sqe;
}

static void put_in(struct op **list, struct op *op)
{
	op->next = *list;
	*list = op;
}

static bool take_out(struct op **list, const struct op *op)
{
	for (; *list; list = &(*list)->next)
		if (*list == op) {
			*list = op->next;
			return true;
		}
	return false;
}

/* ---- the loop's own wake ---- */

static void start_wake(struct uring *u)
{
	struct io_uring_sqe *sqe = get_sqe(u);
	u->unwoken = !sqe;
	if (!sqe)
		return;
	io_uring_prep_read(sqe, u->wake_fd, &u->wake_count, sizeof u->wake_count, 0);
	io_uring_sqe_set_data64(sqe, FOR_WAKE);
}

static void uring_wake(struct loop *lp)
{
	struct uring *u = lp->impl;
	uint64_t one = 1;
	(void)!write(u->wake_fd, &one, sizeof one); /* full: it will wake all the same */
}

static void uring_shut(struct loop *lp)
{
	struct uring *u = lp->impl;
	if (u->ring.ring_fd > 0)
		io_uring_queue_exit(&u->ring);
	chime__ring_bufs_fini(&u->bufs);
	chime__ready_fini(&u->ready);
	if (u->wake_fd >= 0)
		close(u->wake_fd);
	free(u);
	lp->impl = NULL;
}

static int uring_open(struct loop *lp, void *arg)
{
	(void)arg;
	struct uring *u = calloc(1, sizeof *u);
	if (!u)
		return -ENOMEM;
	lp->impl = u;
	u->ring.ring_fd = -1;
	chime__ready_init(&u->ready, report, try);
	u->wake_fd = eventfd(0, EFD_CLOEXEC);
	int err = u->wake_fd < 0 ? -errno : 0;
	if (err == 0)
		err = make_ring(&u->ring, ENTRIES, IORING_SETUP_R_DISABLED);
	if (err == 0)
		err = chime__ring_bufs_init(&u->bufs, &u->ring);
	if (err == 0)
		start_wake(u);
	else
		uring_shut(lp);
	return err;
}

/* ---- handing operations over ---- */

/* Whether the descriptor is polled for the operation, which is then tried by its system call. */
static bool polled(const struct op *op)
{
	return op->kind == OP_RECV_MSG || op->kind == OP_RECV_MSGS || op->kind == OP_POLL || op->kind == OP_SEND_MSGS ||
	       (op->kind == OP_RECV && op->prepared == IN_BULK) || (op->kind == OP_SEND && op->flags & OP_PIECES);
}

static void prep_send(struct uring *u, struct io_uring_sqe *sqe, struct op *op)
{
	int flags = MSG_NOSIGNAL | (op->flags & OP_WAIT_FIRST ? 0 : MSG_DONTWAIT);
	if (op->n == 1) {
		io_uring_prep_send(sqe, op->fd, op->u.iov->iov_base, op->u.iov->iov_len, flags);
		return;
	}
	/* The kernel reads the header when the entry is submitted (IORING_FEAT_SUBMIT_STABLE). */
	struct msghdr *m = &u->msgs[u->msgs_used++];
	*m = (struct msghdr){ .msg_iov = op->u.iov, .msg_iovlen = op->n };
	io_uring_prep_sendmsg(sqe, op->fd, m, (unsigned)flags);
}

/* Puts op's entry into the queue; where that has no room, in the next wait. */
static void start(struct uring *u, struct op *op)
{
	struct io_uring_sqe *sqe;
	if (u->msgs_used == ENTRIES && u->enabled) {
		io_uring_submit(&u->ring);
		submitted(u);
	}
	sqe = u->msgs_used < ENTRIES ? get_sqe(u) : NULL;
	op->state = WAITING;
	if (!sqe) {
		put_in(&u->unasked, op);
		return;
	}
	if (op->kind == OP_RECV && op->prepared == ENDING_RING)
		op->prepared = IN_BULK;
	if (polled(op)) {
		io_uring_prep_poll_add(sqe, op->fd, op_reads(op) ? POLLIN : POLLOUT);
	} else if (op->kind == OP_ACCEPT) {
		io_uring_prep_multishot_accept(sqe, op->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	} else if (op->kind == OP_RECV) {
		if (op->prepared == ONCE)
			io_uring_prep_recv(sqe, op->fd, NULL, 0, 0);
		else
			io_uring_prep_recv_multishot(sqe, op->fd, NULL, 0, 0);
		sqe->flags |= IOSQE_BUFFER_SELECT;
		sqe->buf_group = RING_GROUP;
	} else if (op->kind == OP_CONNECT) {
		io_uring_prep_connect(sqe, op->fd, &op->u.to->u.sa, op->u.to->len);
	} else {
		prep_send(u, sqe, op);
	}
	io_uring_sqe_set_data64(sqe, (uintptr_t)op);
}

/*
 * Whether a send is worth a system call of its own: what it saves is that the buffer is back at once, and that what came
 * behind is answered from where it lies instead of being kept (in bulk about 1.5 instead of 2.5 times the bare
 * program's CPU, in one run beside other work).
 */
static bool is_large(const struct op *op)
{
	size_t bytes = 0;
	for (unsigned i = 0; i < op->n && bytes < LARGE; i++)
		bytes += op->u.iov[i].iov_len;
	return bytes >= LARGE;
}

static int uring_submit(struct loop *lp, struct op *op)
{
	struct uring *u = lp->impl;
	assert(op->state == OWNED);
	if (op_reads(op) && op->flags & OP_NOWAIT) {
		chime__ready_now(&u->ready, op);
		return 0;
	}
	if (op->kind == OP_SEND && !(op->flags & OP_WAIT_FIRST) && (op->flags & OP_PIECES || is_large(op))) {
		op->res = chime__ready_write(op);
		return 1;
	}
	if (op->kind == OP_SEND_MSGS && !(op->flags & OP_WAIT_FIRST)) {
		op->res = chime__ready_write(op);
		if (op->res != -EAGAIN || op->flags & OP_NOWAIT)
			return 1;
	}
	start(u, op);
	return 0;
}

static void prep_cancel(struct io_uring_sqe *sqe, struct op *op)
{
	io_uring_prep_cancel64(sqe, (uintptr_t)op, 0);
	io_uring_sqe_set_data64(sqe, FOR_CANCEL);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
}

/* Asks the kernel to end it, now or in the next wait. */
static void ask_cancel(struct uring *u, struct op *op)
{
	struct io_uring_sqe *sqe = get_sqe(u);
	op->state = CANCELLED;
	if (sqe)
		prep_cancel(sqe, op);
	else
		put_in(&u->unwanted, op);
}

/* A stream has filled a buffer: it goes on in bulk when its multishot receive has ended, which is asked for if need be. */
static void end_ring(struct uring *u, struct op *op, bool ended)
{
	struct io_uring_sqe *sqe = ended ? NULL : get_sqe(u);
	if (!ended && !sqe)
		return; /* the next full buffer will do */
	op->prepared = ENDING_RING;
	op->bulk = true;
	if (sqe)
		prep_cancel(sqe, op);
}

static void uring_cancel(struct loop *lp, struct op *op)
{
	struct uring *u = lp->impl;
	if (op->state != WAITING && op->state != IN_ROW)
		return; /* its end is on its way */
	if (op == u->ready.trying) {
		chime__ready_end(&u->ready, op, -ECANCELED);
		return;
	}
	if (op->state == IN_ROW || (op_reads(op) && op->flags & OP_NOWAIT)) {
		op->state = CANCELLED;
		return;
	}
	if (take_out(&u->starved, op) || take_out(&u->unasked, op))
		chime__ready_end(&u->ready, op, -ECANCELED);
	else
		ask_cancel(u, op);
}

/* ---- results ---- */

/* Reports one result; more: the operation goes on. Whether it does after done has run. */
static bool report(struct loop *lp, struct op *op, struct op_event *ev, bool more)
{
	struct uring *u = lp->impl;
	ev->more = more;
	if (!more) {
		if (op->state == CANCELLED)
			take_out(&u->unwanted, op);
		op->state = OWNED;
	}
	op->done(lp, op, ev);
	return more && op->state == WAITING;
}

/* The kernel's last word on a multishot operation that is not at its end: it goes on, or ends as it was asked to. */
static void go_on(struct loop *lp, struct op *op)
{
	if (op->state == WAITING)
		start(lp->impl, op);
	else if (op->state == CANCELLED)
		report(lp, op, &(struct op_event){ .res = -ECANCELED }, false);
}

static void on_accept(struct loop *lp, struct op *op, int res, bool more)
{
	chime_addr peer;
	if (res >= 0) {
		/* A multishot accept has no room for addresses. */
		peer.len = sizeof peer.u;
		if (getpeername(res, &peer.u.sa, &peer.len) < 0 || peer.len > sizeof peer.u)
			peer.len = 0;
		report(lp, op, &(struct op_event){ .res = res, .peer = &peer }, true);
	} else if (res != -ECONNABORTED && res != -EINTR && res != -EPROTO && res != -EPERM && res != -EAGAIN) {
		if (!more) {
			report(lp, op, &(struct op_event){ .res = res }, false);
			return;
		}
	}
	if (!more)
		go_on(lp, op);
}

static void on_recv(struct loop *lp, struct op *op, int res, unsigned flags)
{
	struct uring *u = lp->impl;
	bool more = flags & IORING_CQE_F_MORE;
	struct buf *b = NULL;
	if (flags & IORING_CQE_F_BUFFER) {
		b = ring_bufs_take(&u->bufs, flags >> IORING_CQE_BUFFER_SHIFT);
	}
	if (res > 0) {
		assert(b);
		bool full = res == RING_ROOM && op->prepared <= INTO_RING;
		u->ready.spent += (size_t)res;
		if (op->prepared == ONCE)
			op->prepared = INTO_RING;
		bool on = report(lp, op, &(struct op_event){ .res = res, .buf = b }, true);
		buf_unref(b);
		if (on && full)
			end_ring(u, op, !more);
		if (!more)
			go_on(lp, op);
		return;
	}
	if (b)
		buf_unref(b);
	if (res == -ENOBUFS && op->state == WAITING && op->prepared <= INTO_RING) {
		put_in(&u->starved, op);
	} else if (res == -ENOBUFS || res == -EINTR || res == -EAGAIN ||
		   (res == -ECANCELED && op->state == WAITING && op->prepared == ENDING_RING)) {
		if (!more)
			go_on(lp, op);
	} else {
		report(lp, op, &(struct op_event){ .res = res }, false);
	}
}

/* The descriptor of a polled operation is ready, or the poll was cancelled. */
static void on_poll(struct loop *lp, struct op *op, int res)
{
	struct uring *u = lp->impl;
	if (op->state == CANCELLED || res < 0) {
		report(lp, op, &(struct op_event){ .res = op->state == CANCELLED ? -ECANCELED : res }, false);
		return;
	}
	/* Not sure: what woke the poll may have been read before it began (its mask can be the waker's, not a look of its own). */
	if (ready_in_bulk(op))
		chime__ready_row(&u->ready, op, false);
	else
		try(lp, op, false);
}

/* The kernel has nothing of it now. */
static void try(struct loop *lp, struct op *op, bool sure)
{
	struct uring *u = lp->impl;
	if (!op_reads(op)) {
		int res = chime__ready_write(op);
		if (res > 0)
			u->ready.spent += (size_t)res;
		if (res == -EAGAIN)
			go_on(lp, op);
		else
			report(lp, op, &(struct op_event){ .res = res }, false);
		return;
	}
	u->ready.trying = op; /* a cancel ends it at once */
	bool more = chime__ready_read(&u->ready, lp, op, sure);
	u->ready.trying = NULL;
	if (more && op->kind == OP_RECV && !op->bulk)
		op->prepared = ONCE;
	if (more)
		go_on(lp, op);
}

static void on_cqe(struct loop *lp, struct io_uring_cqe *cqe)
{
	struct uring *u = lp->impl;
	uint64_t data = cqe->user_data;
	if (data == FOR_WAKE) {
		start_wake(u);
		return;
	}
	if (data == FOR_CANCEL)
		return; /* it was over already: its own end comes, or came */
	struct op *op = (struct op *)(uintptr_t)data;
	if (op->kind == OP_ACCEPT)
		on_accept(lp, op, cqe->res, cqe->flags & IORING_CQE_F_MORE);
	else if (polled(op))
		on_poll(lp, op, cqe->res);
	else if (op->kind == OP_RECV)
		on_recv(lp, op, cqe->res, cqe->flags);
	else
		report(lp, op, &(struct op_event){ .res = cqe->res }, false);
}

/* ---- a wait ---- */

/* Receives that found no buffer start again, as many as there are buffers now. */
static void restart_starved(struct loop *lp)
{
	struct uring *u = lp->impl;
	for (unsigned n = u->bufs.free; n && u->starved; n--) {
		struct op *op = u->starved;
		u->starved = op->next;
		go_on(lp, op);
	}
}

/* What the queue had no room for, as far as it has now. */
static void ask_again(struct uring *u)
{
	struct op *unasked = u->unasked, *unwanted = u->unwanted;
	u->unasked = u->unwanted = NULL;
	if (u->unwoken)
		start_wake(u);
	while (unwanted) {
		struct op *op = unwanted;
		unwanted = op->next;
		ask_cancel(u, op);
	}
	while (unasked) {
		struct op *op = unasked;
		unasked = op->next;
		start(u, op);
	}
}

static int submit_and_wait(struct uring *u, int64_t timeout_ns)
{
	struct io_uring_cqe *cqe;
	struct __kernel_timespec ts = { timeout_ns / 1000000000, timeout_ns % 1000000000 };
	int err;
	if (timeout_ns == 0)
		err = io_uring_submit_and_get_events(&u->ring);
	else
		err = io_uring_submit_and_wait_timeout(&u->ring, &cqe, 1, timeout_ns < 0 ? NULL : &ts, NULL);
	submitted(u);
	/* -EBUSY, -EAGAIN: completions must be taken before more can be submitted; which is what comes now. */
	return err < 0 && err != -ETIME && err != -EINTR && err != -EBUSY && err != -EAGAIN ? err : 0;
}

static unsigned take(struct loop *lp, unsigned most)
{
	struct uring *u = lp->impl;
	struct io_uring_cqe *cqe;
	unsigned head, taken = 0;
	io_uring_for_each_cqe(&u->ring, head, cqe)
	{
		on_cqe(lp, cqe);
		if (++taken == most)
			break; /* timers and posts have their turn too */
	}
	io_uring_cq_advance(&u->ring, taken);
	return taken;
}

/* Whether the kernel has completions that it has not worked off, or entries are to be handed over: answers among them. */
static bool has_more(const struct uring *u)
{
	return io_uring_sq_ready(&u->ring) || __atomic_load_n(u->ring.sq.kflags, __ATOMIC_RELAXED) & IORING_SQ_TASKRUN;
}

/* What a wait has brought; and before those in the row have their turn all that there is of the others, and their answers go. */
static unsigned take_all(struct loop *lp)
{
	struct uring *u = lp->impl;
	unsigned taken = take(lp, ENTRIES);
	for (int i = 0; i < ENTRIES / AT_ONCE && u->ready.row && taken < ENTRIES && has_more(u); i++) {
		if (submit_and_wait(u, 0) < 0)
			break;
		taken += take(lp, ENTRIES - taken);
	}
	return taken;
}

static int uring_wait(struct loop *lp, int64_t timeout_ns)
{
	struct uring *u = lp->impl;
	int err = 0;
	if (!u->enabled) {
		err = enable(&u->ring);
		u->enabled = err == 0;
	}
	restart_starved(lp);
	if (u->unasked || u->unwanted || u->unwoken)
		ask_again(u);
	if (ready_pending(&u->ready))
		timeout_ns = 0;
	else if ((u->unasked || u->unwanted || u->unwoken) && (timeout_ns < 0 || timeout_ns > AGAIN_NS))
		timeout_ns = AGAIN_NS;
	if (err == 0)
		err = submit_and_wait(u, timeout_ns);
	if (err < 0)
		return err;
	lp->now_ns = uring_mono(lp);
	int count = (int)take_all(lp);
	return count + chime__ready_run(&u->ready, lp);
}

static int uring_socket(struct loop *lp, int family, int type)
{
	(void)lp;
	return chime__socket(family, type);
}

static int uring_close(struct loop *lp, int fd, bool reset)
{
	(void)lp;
	return chime__close(fd, reset, chime__close_waits(fd));
}

static int uring_shutdown(struct loop *lp, int fd, int how)
{
	(void)lp;
	return chime__shutdown(fd, how);
}

static bool uring_ready(struct loop *lp, int fd, bool out)
{
	(void)lp;
	return chime__poll_now(fd, out);
}

const struct backend chime__backend_uring = {
	.name = "uring",
	.probe = uring_probe,
	.open = uring_open,
	.shut = uring_shut,
	.submit = uring_submit,
	.cancel = uring_cancel,
	.wait = uring_wait,
	.wake = uring_wake,
	.socket = uring_socket,
	.close = uring_close,
	.shutdown = uring_shutdown,
	.ready = uring_ready,
	.mono = uring_mono,
	.real = uring_real,
};
