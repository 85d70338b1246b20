/*
 * One connection's life: the moves of the drawing in conn.h. They are one file, though over 600 lines, because each ends in calls
 * of others: halves would have to show each other nearly all of it.
 */
#include "server/conn.h"

#include "fault.h"
#include "server/reply.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BIT(state) (1u << CONN_##state)

const char *const chime__conn_state_name[CONN_STATES] = {
	"CONNECTING", "OPEN", "DRAINING", "FLUSHING", "LINGERING", "CLOSING", "CLOSED",
};

const uint8_t chime__conn_next[CONN_STATES] = {
	[CONN_CONNECTING] = BIT(OPEN) | BIT(CLOSING),
	[CONN_OPEN] = BIT(DRAINING) | BIT(FLUSHING) | BIT(CLOSING),
	[CONN_DRAINING] = BIT(FLUSHING) | BIT(CLOSING),
	[CONN_FLUSHING] = BIT(LINGERING) | BIT(CLOSING),
	[CONN_LINGERING] = BIT(CLOSING),
	[CONN_CLOSING] = BIT(CLOSED),
	[CONN_CLOSED] = 0,
};

/* Puts the connection's own into a line, and tells it. */
static void tell(const struct conn *c, struct chime_log_event e)
{
	e.conn = c->id;
	e.endpoint = c->base.served_own ? NULL : &c->base.served->endpoint;
	if (e.count == 0)
		e.count = 1;
	log_tell(c->base.worker, &e);
}

static void conn_go(struct conn *c, enum conn_state to)
{
	assert(chime__conn_next[c->base.state] & (1u << to));
	if (log_wanted(c->base.worker, CHIME_LOG_DEBUG))
		tell(c, (struct chime_log_event){ .level = CHIME_LOG_DEBUG,
						  .event = "trace",
						  .op = chime__conn_state_name[c->base.state],
						  .msg = chime__conn_state_name[to] });
	c->base.state = to;
}

/* ---- parts that lie behind the struct ---- */

static struct conn_idle *conn_idle(struct conn *c)
{
	return (struct conn_idle *)(c + 1);
}

static void *conn_state(struct conn *c)
{
	return (char *)(c + 1) + (c->base.timed ? sizeof(struct conn_idle) : 0);
}

void *chime_conn_state(chime_conn *base)
{
	return base->datagram ? NULL : conn_state((struct conn *)base);
}

static struct conn *of_in(struct op *op)
{
	return (struct conn *)((char *)op - offsetof(struct conn, in));
}

static const chime_service *service_of(const struct conn *c)
{
	return c->base.served->service;
}

/* ---- the idle limit ---- */

/*
 * Whether it could be read from or sent to now, and its operations have not told yet: it was not idle if this thread alone was, and
 * what came while that stood still is read in one of the next turns. (chime__loop_turn() catches up before it runs timers, for those of
 * services too, but only so far; who is closed for good is looked at by itself.)
 */
static bool has_moved(const struct conn *c)
{
	struct loop *lp = &c->base.worker->loop;
	if (c->base.state > CONN_FLUSHING)
		return false;
	return (op_running(&c->in) && lp->backend->ready(lp, c->base.fd, false)) ||
	       (c->pending && op_running(&c->pending->out) && lp->backend->ready(lp, c->base.fd, true));
}

/* The timer runs once a limit, however much happens meanwhile. */
static void on_idle(chime_timer *t, void *arg)
{
	struct conn *c = arg;
	struct chime_worker *w = c->base.worker;
	if (c->base.state >= CONN_CLOSING)
		return; /* it has ended for another reason, and waits for its operations */
	int64_t left = c->base.served->idle_timeout_ns - (w->loop.now_ns - conn_idle(c)->active_ns);
	if (left <= 0 && has_moved(c))
		left = TIMER_TICK_NS;
	if (left > 0) {
		chime__worker_timer(w, t, left, on_idle, c);
		return;
	}
	stat_add(&w->stats.idle_closed, 1);
	if (log_wanted(w, CHIME_LOG_INFO))
		tell(c, (struct chime_log_event){
				.level = CHIME_LOG_INFO, .event = "idle", .msg = "closed: nothing came or went" });
	chime__conn_end(c, CHIME_ETIMEOUT, false);
}

/* ---- ending ---- */

static bool ops_running(const struct conn *c)
{
	return op_running(&c->in) || (c->pending && op_running(&c->pending->out));
}

/* In CLOSING: when no operation is left, the descriptor goes. */
static void finish(struct conn *c)
{
	struct chime_worker *w = c->base.worker;
	if ((ops_running(c) && !FAULT(CLOSE_EARLY)) || c->base.in_call)
		return;
	chime__pending_drop(c);
	if (c->base.timed)
		chime__timer_stop(&w->loop.timers, &conn_idle(c)->timer);
	w->loop.backend->close(&w->loop, c->base.fd, c->base.reset);
	conn_go(c, CONN_CLOSED);
	c->base.fd = -1;
	if (c->base.owed) {
		if (log_wanted(w, CHIME_LOG_DEBUG))
			tell(c, (struct chime_log_event){ .level = CHIME_LOG_DEBUG, .event = "close", .err = c->why });
		if (service_of(c)->closed)
			service_of(c)->closed(&c->base, conn_state(c), c->why);
	}
	chime__worker_remove(w, c);
	chime__worker_leave(w);
	c->chain = w->dead;
	w->dead = c;
	if (!w->reaping) {
		w->reaping = true;
		chime__loop_later(&w->loop, &w->reap);
	}
}

/* A connection with all that lies behind it. */
static size_t bytes_of(const struct served *served)
{
	return sizeof(struct conn) + (served->idle_timeout_ns != CHIME_FOREVER ? sizeof(struct conn_idle) : 0) +
	       served->service->state_size;
}

void chime__conn_reap(struct chime_worker *w)
{
	w->reaping = false;
	while (w->dead) {
		struct conn *c = w->dead;
		w->dead = c->chain;
		const struct served *own = c->base.served_own ? c->base.served : NULL;
		chime__slab_put(&w->slabs, c, bytes_of(c->base.served));
		if (own)
			free(own->config);
		free((void *)(uintptr_t)own);
	}
}

/* An error of the connection: counted and told. */
static void count_error(struct conn *c, int why)
{
	struct chime_worker *w = c->base.worker;
	/* TIPC and SCTP have no half-close: who ends his direction while answers are on their way does not get them. */
	bool reset = why == -ECONNRESET || why == -EPIPE || why == -ESHUTDOWN || why == -ENOTCONN;
	uint64_t count;
	stat_add(reset ? &w->stats.peer_resets : &w->stats.errors, 1);
	if (reset || !log_wanted(w, CHIME_LOG_WARN) || !chime__worker_tell(w, TOLD_ERROR, &count))
		return;
	tell(c, (struct chime_log_event){ .level = CHIME_LOG_WARN,
					  .event = "error",
					  .err = why,
					  .count = count,
					  .msg = "connection ended by an error" });
}

static void on_close_task(struct loop *lp, struct loop_task *task)
{
	struct chime_worker *w = (struct chime_worker *)((char *)task - offsetof(struct chime_worker, close_task));
	(void)lp;
	task->run = NULL;
	while (w->closing) {
		struct conn *c = of_in(w->closing);
		w->closing = c->in.next;
		finish(c);
	}
}

void chime__conn_end(struct conn *c, int why, bool reset)
{
	struct chime_worker *w = c->base.worker;
	if (c->base.state >= CONN_CLOSING)
		return;
	if (why < 0 && why != CHIME_ETIMEOUT && why != -ECANCELED)
		count_error(c, why);
	c->why = why;
	c->base.reset = reset;
	conn_go(c, CONN_CLOSING);
	if (op_running(&c->in))
		op_cancel(&w->loop, &c->in);
	if (c->pending)
		chime__pending_abandon(c->pending);
	if (c->pending && op_running(&c->pending->out))
		op_cancel(&w->loop, &c->pending->out);
	if (c->base.in_call || ops_running(c))
		return; /* whoever called the service, or the last operation, finishes */
	/* Not now: .closed must not be called inside the call that ends the connection. */
	c->in.next = w->closing;
	w->closing = &c->in;
	if (!w->close_task.run) {
		w->close_task.run = on_close_task;
		chime__loop_later(&w->loop, &w->close_task);
	}
}

/* ---- reading ---- */

static void on_in(struct loop *lp, struct op *op, const struct op_event *ev);

static void start_reading(struct conn *c)
{
	if (op_running(&c->in) || c->base.peer_ended || (c->base.input_ended && c->base.state <= CONN_DRAINING))
		return;
	c->in.done = on_in;
	c->in.fd = c->base.fd;
	c->in.kind = c->base.message ? OP_RECV_MSG : OP_RECV;
	c->in.flags = c->base.state == CONN_DRAINING ? OP_NOWAIT : 0;
	int err = op_submit(&c->base.worker->loop, &c->in);
	if (err < 0)
		chime__conn_end(c, err, true);
}

/*
 * Sends an answer as nearly all answers go: at once and whole, with nothing kept. What it said; -EAGAIN also if it is not
 * the time or the backend for that.
 *
 * Few and short functions lie between the loop and this system call: what returns over the kernel's long way finds neither its
 * code nor its return predicted.
 */
static inline int send_at_once(struct conn *c, struct chime_reply *r)
{
	struct chime_worker *w = c->base.worker;
	struct op op = { .fd = c->base.fd, .kind = OP_SEND, .flags = OP_NOWAIT, .n = (uint16_t)r->n, .u.iov = r->iov };
	if (c->pending || c->base.pieces || !w->loop.caps.inline_send)
		return -EAGAIN;
	int res = op_submit(&w->loop, &op);
	assert(res != 0);
	return res == 1 ? op.res : res;
}

static inline int reply(struct conn *c, struct buf *b, struct chime_reply *r)
{
	int res = send_at_once(c, r);
	if (res < 0 || (size_t)res != r->bytes)
		return chime__pending_reply(c, b, r, res);
	stat_add(&c->base.worker->stats.sent_bytes, r->bytes);
	conn_active(c);
	return 1;
}

/* A message that the service did not want. */
static void count_refused(struct chime_worker *w, ssize_t why)
{
	stat_add(why == -ELOOP                               ? &w->stats.dropped_loop
		 : why == -EMSGSIZE || why == CHIME_ETOOLONG ? &w->stats.dropped_long
							     : &w->stats.errors,
		 1);
}

/*
 * Hands input to the service and its answers to the peer, until all is consumed or the peer takes no more. b holds the input,
 * and its headroom and pieces are used for the answers.
 */
__attribute__((always_inline)) static inline void feed(struct conn *c, struct buf *b, size_t len, int64_t time_ns)
{
	struct chime_worker *w = c->base.worker;
	const chime_service *service = service_of(c);
	struct chime_input in = { .data = b->data,
				  .len = len,
				  .time_ns = time_ns,
				  .message = c->base.message,
				  .end = c->base.input_ended && !(c->pending && c->pending->rest),
				  .config = c->base.served->config,
				  .state = conn_state(c),
				  .conn = &c->base };
	for (;;) {
		struct chime_reply r;
		reply_init(&r, b->iov, BUF_IOVS, b->scratch, BUF_SCRATCH);
		c->base.in_call = true;
		ssize_t used = service->received(&in, &r);
		c->base.in_call = false;
		if (c->base.state == CONN_CLOSING) { /* it was ended meanwhile */
			finish(c);
			return;
		}
		if (c->base.message) {
			if (used < 0) {
				count_refused(w, used);
				r.answer = false;
			}
			used = (ssize_t)in.len;
		}
		if (used < 0 || (size_t)used > in.len) {
			chime__conn_end(c, used < 0 ? (int)used : -EINVAL, true);
			return;
		}
		in.data += used;
		in.len -= (size_t)used;
		int sent = 1;
		if (r.answer) {
			stat_add(&w->stats.answers, reply_answers(&r));
			sent = reply(c, b, &r);
		} else {
			sent = chime__pending_pump(c);
		}
		if (sent < 0) {
			chime__conn_end(c, sent, true);
			return;
		}
		bool partial = used == 0 && !c->base.message;
		if (in.len == 0 || c->base.state == CONN_FLUSHING || (partial && in.end))
			return; /* consumed, or never will be */
		if (partial && in.len >= CHIME_INPUT_MAX) {
			chime__conn_end(c, -EMSGSIZE, true);
			return;
		}
		if (partial || !sent) {
			int err = chime__pending_keep(c, in.data, in.len, time_ns, partial, false);
			if (err < 0)
				chime__conn_end(c, err, true);
			return;
		}
	}
}

/* Hands over again what was kept, as much of it as one call may see. */
static void feed_rest(struct conn *c)
{
	size_t len;
	int64_t time_ns = c->pending->rest_time_ns;
	struct buf *b = chime__buf_get(&c->base.worker->kept);
	if (!b) {
		chime__conn_end(c, -ENOMEM, true);
		return;
	}
	len = chime__pending_take(c, b->data, CHIME_INPUT_MAX);
	feed(c, b, len, time_ns);
	buf_unref(b);
}

/* A message that was longer than the longest. */
static void tell_too_long(struct conn *c)
{
	struct chime_worker *w = c->base.worker;
	uint64_t count;
	stat_add(&w->stats.dropped_long, 1);
	if (!log_wanted(w, CHIME_LOG_WARN) || !chime__worker_tell(w, TOLD_LONG, &count))
		return;
	tell(c, (struct chime_log_event){ .level = CHIME_LOG_WARN,
					  .event = "drop",
					  .op = "recv",
					  .err = -EMSGSIZE,
					  .count = count,
					  .msg = "message too long, not answered" });
}

static void on_input(struct conn *c, const struct op_event *ev)
{
	struct chime_worker *w = c->base.worker;
	size_t len = (size_t)ev->res;
	/* It is thrown away; but who sends is not idle, and a close would meet what comes next with a reset. */
	if (c->base.state >= CONN_FLUSHING) {
		c->base.busy = true;
		return;
	}
	/* Read after the receive, and for each receive anew: a stamp must not be older than what it stamps. */
	int64_t time_ns = w->loop.backend->real(&w->loop);
	if (FAULT(OLD_STAMP))
		time_ns -= w->loop.backend->mono(&w->loop) - w->loop.now_ns;
	stat_add(&w->stats.received_bytes, len);
	conn_active(c);
	c->base.busy = true;
	if (c->base.message)
		stat_add(&w->stats.messages, 1);
	if (ev->truncated && !FAULT(CUT_ANSWERED)) {
		tell_too_long(c);
		return;
	}
	bool kept = c->pending && c->pending->rest;
	if (!kept && !pending_out(c)) {
		feed(c, ev->buf, len, time_ns);
		return;
	}
	if (FAULT(LATE_INPUT))
		return;
	/* Behind what was kept, or it came while an answer is on its way. */
	int err = chime__pending_keep(c, ev->buf->data, len, time_ns, false, true);
	if (err < 0)
		chime__conn_end(c, err, true);
}

static void on_in(struct loop *lp, struct op *op, const struct op_event *ev)
{
	struct conn *c = of_in(op);
	(void)lp;
	if (c->base.state == CONN_CLOSING) {
		finish(c);
		return;
	}
	bool end = c->base.message && !FAULT(EMPTY_IS_END) ? ev->end : ev->res == 0;
	if (ev->res >= 0 && !end) {
		on_input(c, ev);
		if (c->base.state == CONN_OPEN && !c->pending && op_running(op))
			return; /* as most often: answered, and reading goes on */
	} else if (end)
		c->base.peer_ended = c->base.input_ended = true;
	else if (ev->res == -EAGAIN || (FAULT(DRAIN_UNREAD) && c->base.state == CONN_DRAINING))
		c->base.input_ended = true; /* draining: nothing more is there */
	else if (ev->res != -ECANCELED)
		chime__conn_end(c, ev->res, false);
	chime__conn_settle(c);
}

/* ---- what is next ---- */

/* All is sent and nobody holds: the peer's end, or ours. Closing without waiting for the peer would meet what it is sending
 * with a reset, which can overtake our last answer; who was idle when draining began gets little time for that. */
static void flushed(struct conn *c)
{
	struct chime_worker *w = c->base.worker;
	if (c->base.peer_ended) {
		chime__conn_end(c, 0, false);
		return;
	}
	int err = w->loop.backend->shutdown(&w->loop, c->base.fd, SHUT_WR);
	if (err == -EINVAL && (err = w->loop.backend->shutdown(&w->loop, c->base.fd, SHUT_RDWR)) == 0) {
		chime__conn_end(c, 0,
				false); /* TIPC knows the whole alone, and its peer sees the end behind all answers */
		return;
	}
	if (err == 0)
		err = chime__pending_list(c, &w->lingering);
	if (err < 0) {
		chime__conn_end(c, err == -ENOTCONN ? -ECONNRESET : err, false);
		return;
	}
	conn_go(c, CONN_LINGERING);
	start_reading(c);
}

/* With an answer under way: whether the peer must take it before it is read from again. */
static bool must_pause(const struct conn *c)
{
	const struct pending *p = c->pending;
	assert(p);
	if (c->base.worker->loop.caps.inline_send || p->full || (c->base.message && !FAULT(GLUED)))
		return true; /* a send that goes at once would have gone; and what is kept has no boundaries */
	return p->first || (p->rest && p->rest->len - p->rest->sent >= CHIME_INPUT_MAX);
}

void chime__conn_settle(struct conn *c)
{
	while (!c->base.in_call) {
		bool out = pending_out(c);
		switch (c->base.state) {
		case CONN_OPEN:
		case CONN_DRAINING:
			if (out) {
				if (!must_pause(c))
					start_reading(c);
				else if (op_running(&c->in))
					op_cancel(&c->base.worker->loop, &c->in);
				return;
			}
			if (c->pending && c->pending->rest &&
			    (!c->pending->rest_partial || (c->base.input_ended && !FAULT(LOST_TAIL)))) {
				feed_rest(c);
				continue;
			}
			if (!c->base.input_ended) {
				start_reading(c);
				return;
			}
			conn_go(c, CONN_FLUSHING);
			if (service_of(c)->ended) {
				c->base.in_call = true;
				service_of(c)->ended(&c->base, conn_state(c));
				c->base.in_call = false;
				if (c->base.state == CONN_CLOSING)
					finish(c);
				else if (chime__pending_pump(c) < 0)
					chime__conn_end(c, -ECONNRESET, true);
			}
			continue;
		case CONN_FLUSHING:
			if (op_running(&c->in)) {
				op_cancel(&c->base.worker->loop, &c->in);
				return; /* goes on when it has ended */
			}
			if (!out && (c->holds == 0 || (FAULT(HOLD_IGNORED) && c->base.worker->draining)))
				flushed(c);
			return;
		case CONN_LINGERING:
			if (c->base.peer_ended)
				chime__conn_end(c, 0, false);
			else
				start_reading(c);
			return;
		default:
			return;
		}
	}
}

void chime__conn_sent(struct conn *c, int err)
{
	if (c->base.state == CONN_CLOSING) {
		finish(c);
		return;
	}
	if (c->base.state == CONN_CONNECTING) {
		chime__pending_tidy(c);
		if (err < 0 && !(FAULT(CONNECTED_ANYWAY) && err == -ECONNREFUSED)) {
			chime__conn_end(c, err, false);
		} else {
			conn_go(c, CONN_OPEN);
			chime__conn_open(c, NULL);
		}
		return;
	}
	if (err == 0)
		err = chime__pending_pump(c);
	if (err < 0)
		chime__conn_end(c, err, false);
	if (!FAULT(NO_RESUME))
		chime__conn_settle(c);
}

void chime__conn_flush(struct conn *c)
{
	if (c->base.state != CONN_OPEN && c->base.state != CONN_DRAINING)
		return;
	conn_go(c, CONN_FLUSHING);
	c->base.busy = true;
	if (c->pending && c->pending->rest)
		chime__pending_no_rest(c);
	chime__conn_settle(c);
}

void chime__conn_drain(struct conn *c)
{
	struct chime_worker *w = c->base.worker;
	if (c->base.state == CONN_CONNECTING) {
		if (!FAULT(CONNECTING_KEPT))
			chime__conn_end(c, -ECANCELED, false);
		return;
	}
	if (c->base.state != CONN_OPEN)
		return; /* it is ending already */
	c->base.busy = pending_out(c) || c->holds || (c->pending && c->pending->rest);
	conn_go(c, CONN_DRAINING);
	if (op_running(&c->in))
		op_cancel(&w->loop, &c->in);
	else
		chime__conn_settle(c);
}

/* ---- beginning ---- */

struct conn *chime__conn_new(struct chime_worker *w, const struct served *served, int type, int fd)
{
	bool timed = served->idle_timeout_ns != CHIME_FOREVER;
	struct conn *c = chime__slab_get(&w->slabs, bytes_of(served));
	if (!c)
		return NULL;
	c->base.worker = w;
	c->base.served = served;
	c->base.fd = fd;
	c->base.timed = timed;
	c->base.message = type == SOCK_SEQPACKET;
	c->base.pieces = served->endpoint.scheme == CHIME_SCTP;
	w->last_id += w->config->workers;
	c->id = w->last_id;
	if (chime__worker_insert(w, c) < 0) {
		chime__slab_put(&w->slabs, c, bytes_of(served));
		return NULL;
	}
	return c;
}

void chime__conn_open(struct conn *c, const chime_addr *peer)
{
	struct chime_worker *w = c->base.worker;
	if (c->base.timed) {
		conn_active(c);
		chime__worker_timer(w, &conn_idle(c)->timer, c->base.served->idle_timeout_ns, on_idle, c);
	}
	if (log_wanted(w, CHIME_LOG_INFO))
		tell(c, (struct chime_log_event){ .level = CHIME_LOG_INFO, .event = "open", .peer = peer });
	if (service_of(c)->opened) {
		c->base.in_call = true;
		int no = service_of(c)->opened(&c->base, conn_state(c));
		c->base.in_call = false;
		if (c->base.state == CONN_CLOSING) { /* it was ended meanwhile */
			c->base.owed &= !no;
			finish(c);
			return;
		}
		if (no) {
			c->base.owed = false;
			stat_add(&w->stats.refused, 1);
			chime__conn_end(c, -ECANCELED, false);
			return;
		}
	}
	stat_add(c->base.served_own ? &w->stats.connected : &w->stats.accepted, 1);
	int err = chime__pending_pump(c);
	if (err < 0) {
		chime__conn_end(c, err, true);
		return;
	}
	chime__conn_settle(c);
	if (w->draining)
		chime__conn_drain(c);
}

void chime__conn_accepted(struct chime_worker *w, const struct served *served, int type, int fd, const chime_addr *peer)
{
	struct conn *c = chime__conn_new(w, served, type, fd);
	if (!c) {
		stat_add(&w->stats.refused, 1);
		w->loop.backend->close(&w->loop, fd, true);
		chime__worker_leave(w);
		return;
	}
	c->base.state = CONN_OPEN;
	c->base.owed = true;
	chime__conn_open(c, peer);
}
