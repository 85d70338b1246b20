/*
 * Operations over epoll: readiness turned into completions.
 *
 * A descriptor is registered, level-triggered, for what its operations wait for. Changes are collected and applied before the
 * next wait, so that an operation that ends and starts again within a turn costs no system call. A late event is known by
 * the generation that it carries.
 */
#include "loop/backend/ready.h"
#include "net/closer.h"

#include <assert.h>
#include <chime/service.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define SLOTS 256  /* in a page */
#define EVENTS 256 /* taken in one wait; what is left comes with the next */

struct slot { /* of a descriptor */
	struct op *in, *out;
	uint32_t gen;   /* counts what used this number */
	uint8_t armed;  /* the events it is registered for (EPOLLIN, EPOLLOUT); 0: it is not registered */
	bool changed;   /* stands in epoll.changed */
	bool exclusive; /* registered with EPOLLEXCLUSIVE, which cannot be modified */
};

struct epoll {
	int fd, wake_fd;
	struct slot **pages; /* of SLOTS slots, by descriptor */
	unsigned page_count;
	int *changed;
	unsigned changed_count, changed_room;
	struct ready ready;
	struct epoll_event events[EVENTS];
};

static bool report(struct loop *lp, struct op *op, struct op_event *ev, bool more);
static void try(struct loop *lp, struct op *op, bool sure);

static int64_t clock_ns(clockid_t clock)
{
	struct timespec ts;
	clock_gettime(clock, &ts);
	return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

static int64_t epoll_mono(struct loop *lp)
{
	(void)lp;
	return clock_ns(CLOCK_MONOTONIC);
}

static int64_t epoll_real(struct loop *lp)
{
	(void)lp;
	return clock_ns(CLOCK_REALTIME);
}

static int epoll_probe(struct backend_caps *caps)
{
	*caps = (struct backend_caps){ .inline_send = true };
	return 0;
}

static void epoll_shut(struct loop *lp)
{
	struct epoll *ep = lp->impl;
	chime__ready_fini(&ep->ready);
	if (ep->wake_fd >= 0)
		close(ep->wake_fd);
	if (ep->fd >= 0)
		close(ep->fd);
	for (unsigned i = 0; i < ep->page_count; i++)
		free(ep->pages[i]);
	free(ep->pages);
	free(ep->changed);
	free(ep);
	lp->impl = NULL;
}

static int epoll_open(struct loop *lp, void *arg)
{
	(void)arg;
	struct epoll *ep = calloc(1, sizeof *ep);
	if (!ep)
		return -ENOMEM;
	lp->impl = ep;
	chime__ready_init(&ep->ready, report, try);
	ep->wake_fd = -1;
	ep->fd = epoll_create1(EPOLL_CLOEXEC);
	if (ep->fd >= 0)
		ep->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = UINT64_MAX };
	if (ep->wake_fd < 0 || epoll_ctl(ep->fd, EPOLL_CTL_ADD, ep->wake_fd, &ev) < 0) {
		int err = -errno;
		epoll_shut(lp);
		return err;
	}
	return 0;
}

/* ---- descriptors and what they are registered for ---- */

static struct slot *slot_of(const struct epoll *ep, int fd)
{
	return &ep->pages[(unsigned)fd / SLOTS][(unsigned)fd % SLOTS];
}

static bool has_slot(const struct epoll *ep, int fd)
{
	return (unsigned)fd / SLOTS < ep->page_count && ep->pages[(unsigned)fd / SLOTS];
}

static int make_slot(struct epoll *ep, int fd)
{
	unsigned page = (unsigned)fd / SLOTS;
	if (has_slot(ep, fd))
		return 0;
	if (page >= ep->page_count) {
		struct slot **pages = realloc(ep->pages, (page + 1) * sizeof(struct slot *));
		if (!pages)
			return -ENOMEM;
		memset(pages + ep->page_count, 0, (page + 1 - ep->page_count) * sizeof(struct slot *));
		ep->pages = pages;
		ep->page_count = page + 1;
	}
	ep->pages[page] = calloc(SLOTS, sizeof(struct slot));
	return ep->pages[page] ? 0 : -ENOMEM;
}

static int mark_changed(struct epoll *ep, int fd)
{
	struct slot *s = slot_of(ep, fd);
	if (s->changed)
		return 0;
	if (ep->changed_count == ep->changed_room) {
		unsigned room = ep->changed_room ? 2 * ep->changed_room : 64;
		int *changed = realloc(ep->changed, room * sizeof *changed);
		if (!changed)
			return -ENOMEM;
		ep->changed = changed;
		ep->changed_room = room;
	}
	ep->changed[ep->changed_count++] = fd;
	s->changed = true;
	return 0;
}

static void apply_change(struct epoll *ep, int fd)
{
	struct slot *s = slot_of(ep, fd);
	uint32_t want = (s->in ? EPOLLIN : 0) | (s->out ? EPOLLOUT : 0);
	struct epoll_event ev = { .events = want, .data.u64 = (uint64_t)s->gen << 32 | (uint32_t)fd };
	int err = 0;
	s->changed = false;
	if (want == s->armed)
		return;
	if (s->armed && (!want || s->exclusive)) {
		/* With nothing to wait for it must go: errors and hang-ups are always reported. */
		epoll_ctl(ep->fd, EPOLL_CTL_DEL, fd, &ev);
		s->armed = 0;
	}
	if (want) {
		s->exclusive = s->in && s->in->flags & OP_EXCLUSIVE;
		if (s->exclusive)
			ev.events |= EPOLLEXCLUSIVE;
		if (s->in && s->in->kind == OP_RECV_MSG)
			ev.events |= EPOLLRDHUP; /* where its end cannot be told from an empty message */
		err = epoll_ctl(ep->fd, s->armed ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &ev);
	}
	if (err == 0) {
		s->armed = (uint8_t)want;
		return;
	}
	err = -errno;
	struct op *in = s->in, *out = s->out;
	s->in = s->out = NULL;
	if (in && in->state != WAITING)
		chime__ready_unrow(&ep->ready, in);
	if (out && out->state != WAITING)
		chime__ready_unrow(&ep->ready, out);
	if (in)
		chime__ready_end(&ep->ready, in, err);
	if (out)
		chime__ready_end(&ep->ready, out, err);
}

/* Takes the operation off its descriptor. */
static void unhook(struct epoll *ep, struct op *op)
{
	struct slot *s = slot_of(ep, op->fd);
	if (op_reads(op) && op->flags & OP_NOWAIT)
		return; /* hooked nowhere while it is tried */
	*(op_reads(op) ? &s->in : &s->out) = NULL;
	/* Cannot want memory: the place was got when the operation was hooked, or the next event finds nothing to do. */
	mark_changed(ep, op->fd);
}

/* ---- writing ---- */

static int epoll_submit(struct loop *lp, struct op *op)
{
	struct epoll *ep = lp->impl;
	if (op->kind == OP_SEND && op->flags == OP_NOWAIT) { /* as nearly all answers go */
		do
			op->res = send_iov(op);
		while (op->res == -EINTR);
		return 1;
	}
	int err = make_slot(ep, op->fd);
	if (err < 0)
		return err;
	assert(op->state == OWNED);
	if (op_reads(op)) {
		if (op->flags & OP_NOWAIT) {
			chime__ready_now(&ep->ready, op);
			return 0;
		}
		assert(!slot_of(ep, op->fd)->in);
		if ((err = mark_changed(ep, op->fd)) < 0)
			return err;
		slot_of(ep, op->fd)->in = op;
		op->state = WAITING;
		return 0;
	}
	assert(!slot_of(ep, op->fd)->out);
	if (op->kind == OP_CONNECT) {
		op->res = connect(op->fd, &op->u.to->u.sa, op->u.to->len) < 0 ? -errno : 0;
		if (op->res != -EINPROGRESS && op->res != -EINTR) {
			chime__ready_end(&ep->ready, op, op->res);
			return 0;
		}
	} else if (!(op->flags & OP_WAIT_FIRST)) {
		op->res = chime__ready_write(op);
		if (op->res != -EAGAIN || op->flags & OP_NOWAIT)
			return 1;
	}
	if ((err = mark_changed(ep, op->fd)) < 0)
		return err;
	slot_of(ep, op->fd)->out = op;
	op->state = WAITING;
	return 0;
}

static void epoll_cancel(struct loop *lp, struct op *op)
{
	struct epoll *ep = lp->impl;
	if (op->state != WAITING && op->state != IN_ROW)
		return; /* its end is on its way */
	if (op->state == IN_ROW || (op_reads(op) && op->flags & OP_NOWAIT && op != ep->ready.trying)) {
		op->state = CANCELLED;
		return;
	}
	unhook(ep, op);
	chime__ready_end(&ep->ready, op, -ECANCELED);
}

/* ---- results ---- */

/* Reports one result; more: the operation goes on. Whether it does after done has run. */
static bool report(struct loop *lp, struct op *op, struct op_event *ev, bool more)
{
	struct epoll *ep = lp->impl;
	ev->more = more;
	if (!more) {
		unhook(ep, op);
		op->state = OWNED;
	}
	op->done(lp, op, ev);
	return more && op->state == WAITING;
}

static void do_write(struct loop *lp, struct op *op)
{
	struct epoll *ep = lp->impl;
	int res = chime__ready_write(op);
	if (res > 0)
		ep->ready.spent += (size_t)res;
	if (res != -EAGAIN)
		report(lp, op, &(struct op_event){ .res = res }, false);
}

static void try(struct loop *lp, struct op *op, bool sure)
{
	struct epoll *ep = lp->impl;
	if (op_reads(op))
		chime__ready_read(&ep->ready, lp, op, sure);
	else
		do_write(lp, op);
}

/* The descriptor is ready for that operation: now, in its turn, or that has come to it already. */
static void is_ready(struct loop *lp, struct op *op, bool sure)
{
	struct epoll *ep = lp->impl;
	if (op->state != WAITING)
		return;
	if (ready_in_bulk(op))
		chime__ready_row(&ep->ready, op, sure);
	else
		try(lp, op, sure);
}

/* ---- a wait ---- */

static void do_event(struct loop *lp, const struct epoll_event *e)
{
	struct epoll *ep = lp->impl;
	if (e->data.u64 == UINT64_MAX) {
		uint64_t count;
		(void)!read(ep->wake_fd, &count, sizeof count);
		return;
	}
	unsigned fd = (uint32_t)e->data.u64;
	uint32_t gen = (uint32_t)(e->data.u64 >> 32);
	struct slot *s = slot_of(ep, fd);
	if (s->gen == gen && s->in && e->events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		is_ready(lp, s->in, !(e->events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)));
	if (s->gen == gen && s->out && e->events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		is_ready(lp, s->out, true);
}

static int epoll_wait_(struct loop *lp, int64_t timeout_ns)
{
	struct epoll *ep = lp->impl;
	int ms = -1;
	for (unsigned i = 0; i < ep->changed_count; i++)
		apply_change(ep, ep->changed[i]);
	ep->changed_count = 0;
	if (ready_pending(&ep->ready))
		ms = 0;
	else if (timeout_ns >= 0)
		ms = timeout_ns > INT_MAX * 1000000ll ? INT_MAX : (int)((timeout_ns + 999999) / 1000000);
	/* epoll_wait(2), without the C library's cancellation point: see recv_now(). */
	int n = (int)syscall(SYS_epoll_pwait, ep->fd, ep->events, EVENTS, ms, NULL, 0);
	if (n < 0 && errno != EINTR)
		return -errno;
	lp->now_ns = epoll_mono(lp);
	int count = n > 0 ? n : 0;
	for (int i = 0; i < n; i++)
		do_event(lp, &ep->events[i]);
	return count + chime__ready_run(&ep->ready, lp);
}

static void epoll_wake(struct loop *lp)
{
	struct epoll *ep = lp->impl;
	uint64_t one = 1;
	(void)!write(ep->wake_fd, &one, sizeof one); /* full: it will wake all the same */
}

static int epoll_socket(struct loop *lp, int family, int type)
{
	(void)lp;
	return chime__socket(family, type);
}

static int epoll_close(struct loop *lp, int fd, bool reset)
{
	struct epoll *ep = lp->impl;
	if (has_slot(ep, fd)) {
		struct slot *s = slot_of(ep, fd);
		assert(!s->in && !s->out);
		s->gen++;
		s->armed = 0;
		s->exclusive = false;
	}
	bool waits = chime__close_waits(fd);
	if (waits) /* it stays open for a while */
		epoll_ctl(ep->fd, EPOLL_CTL_DEL, fd, NULL);
	return chime__close(fd, reset, waits);
}

static int epoll_shutdown(struct loop *lp, int fd, int how)
{
	(void)lp;
	return chime__shutdown(fd, how);
}

static bool epoll_ready(struct loop *lp, int fd, bool out)
{
	(void)lp;
	return chime__poll_now(fd, out);
}

const struct backend chime__backend_epoll = {
	.name = "epoll",
	.probe = epoll_probe,
	.open = epoll_open,
	.shut = epoll_shut,
	.submit = epoll_submit,
	.cancel = epoll_cancel,
	.wait = epoll_wait_,
	.wake = epoll_wake,
	.socket = epoll_socket,
	.close = epoll_close,
	.shutdown = epoll_shutdown,
	.ready = epoll_ready,
	.mono = epoll_mono,
	.real = epoll_real,
};
