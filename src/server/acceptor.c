/* A listener in a worker. */
#include "server/acceptor.h"

#include "fault.h"
#include "server/conn.h"

#include <errno.h>
#include <stdlib.h>

#define PAUSE_NS (100 * CHIME_MSEC)

static struct acceptor *of_op(struct op *op)
{
	return (struct acceptor *)((char *)op - offsetof(struct acceptor, op));
}

static void start(struct acceptor *a);

static void resume(chime_timer *t, void *arg)
{
	(void)t;
	start(arg);
}

/* The listener is done with in this worker. */
static void go(struct acceptor *a)
{
	struct chime_worker *w = a->worker;
	int *fd = &a->sock->fds[w->number];
	chime__timer_stop(&w->loop.timers, &a->pause);
	w->loop.backend->close(&w->loop, *fd, false);
	*fd = -1;
	for (struct acceptor **link = &w->acceptors; *link; link = &(*link)->next)
		if (*link == a) {
			*link = a->next;
			break;
		}
	free(a);
}

static void tell(struct acceptor *a, enum worker_told kind, const char *event, int err, const char *msg)
{
	struct chime_worker *w = a->worker;
	uint64_t count;
	if (!log_wanted(w, CHIME_LOG_WARN) || !chime__worker_tell(w, kind, &count))
		return;
	struct chime_log_event e = { .level = CHIME_LOG_WARN,
				     .event = event,
				     .endpoint = &a->served->endpoint,
				     .op = "accept",
				     .err = err,
				     .count = count,
				     .msg = msg };
	log_tell(w, &e);
}

static void on_accept(struct loop *lp, struct op *op, const struct op_event *ev)
{
	struct acceptor *a = of_op(op);
	struct chime_worker *w = a->worker;
	if (ev->res >= 0) {
		if (w->cut) { /* it was taken before the cancel was: nothing would end it any more */
			stat_add(&w->stats.cut, 1);
			lp->backend->close(lp, ev->res, true);
			return;
		}
		if (!chime__worker_admit(w)) {
			stat_add(&w->stats.refused, 1);
			lp->backend->close(lp, ev->res, false);
			tell(a, TOLD_REFUSED, "refuse", 0, "connection ceiling reached, closed at once");
			return;
		}
		if (a->sock->family == AF_UNIX && a->sock->type == SOCK_STREAM) {
			int on = 1; /* TCP's take it over from their listener */
			(void)setsockopt(ev->res, SOL_SOCKET, SO_OOBINLINE, &on, sizeof on);
		}
		chime__conn_accepted(w, a->served, a->sock->type, ev->res, ev->peer);
		return;
	}
	switch (ev->res) {
	case -EMFILE:
	case -ENFILE:
	case -ENOBUFS:
	case -ENOMEM:
		stat_add(&w->stats.emfile, 1);
		tell(a, TOLD_EMFILE, "emfile", ev->res, "accepting pauses until there is room");
		if (!FAULT(PAUSE_FOREVER))
			chime__worker_timer(w, &a->pause, PAUSE_NS, resume, a);
		return;
	case -ECANCELED:
		if (a->draining && !w->cut && !FAULT(UNACCEPTED)) {
			start(a);
			return;
		}
		break;
	case -EAGAIN: /* draining: the queue is empty */
		break;
	default:
		if (!a->draining) {
			tell(a, TOLD_ERROR, "error", ev->res, "accept failed");
			chime__worker_timer(w, &a->pause, PAUSE_NS, resume, a);
			return;
		}
	}
	go(a);
}

static void start(struct acceptor *a)
{
	a->op.flags = a->draining ? OP_NOWAIT : a->sock->shared ? OP_EXCLUSIVE : 0;
	int err = op_submit(&a->worker->loop, &a->op);
	if (err < 0)
		on_accept(&a->worker->loop, &a->op, &(struct op_event){ .res = err });
}

int chime__acceptor_open(struct chime_worker *w, const struct served *served, struct listen_sock *sock)
{
	struct acceptor *a = calloc(1, sizeof *a);
	if (!a)
		return -ENOMEM;
	a->worker = w;
	a->served = served;
	a->sock = sock;
	a->op.done = on_accept;
	a->op.fd = sock->fds[w->number];
	a->op.kind = OP_ACCEPT;
	a->next = w->acceptors;
	w->acceptors = a;
	start(a);
	return 0;
}

void chime__acceptor_drain(struct acceptor *a)
{
	if (a->draining)
		return;
	a->draining = true;
	if (op_running(&a->op)) {
		op_cancel(&a->worker->loop, &a->op); /* goes on in on_accept */
	} else {
		chime__timer_stop(&a->worker->loop.timers, &a->pause);
		start(a);
	}
}

void chime__acceptor_cut(struct acceptor *a)
{
	a->draining = true;
	if (op_running(&a->op))
		op_cancel(&a->worker->loop, &a->op);
	else
		go(a);
}
