/* What a connection could not finish at once. */
#include "server/pending.h"

#include "fault.h"
#include "server/conn.h"
#include "server/reply.h"
#include "server/worker.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define IDLE_MAX 64     /* pendings that a worker keeps for the next use */
#define BLOCK_ROOM 4096 /* a new block on a stream has at least this room: small sends share it */

static struct pending *of_op(struct op *op)
{
	return (struct pending *)((char *)op - offsetof(struct pending, out));
}

/* ---- the struct itself ---- */

static void on_out(struct loop *lp, struct op *op, const struct op_event *ev);

struct pending *chime__pending_get(struct conn *c)
{
	struct chime_worker *w = c->base.worker;
	struct pending *p = c->pending;
	if (p)
		return p;
	p = w->idle_pendings;
	if (p) {
		w->idle_pendings = p->next;
		w->idle_pending_count--;
	} else {
		p = malloc(sizeof *p);
		if (!p)
			return NULL;
	}
	p->prev = p->next = NULL;
	p->listed = NULL;
	p->buf = NULL;
	p->first = p->last = p->rest = NULL;
	p->blocks_bytes = p->charged = 0;
	p->blocks = 0;
	p->rest_partial = p->full = p->spared = false;
	p->out.state = 0;
	p->out.prepared = p->out.bulk = 0;
	p->out.done = on_out;
	p->out.fd = c->base.fd;
	p->out.kind = OP_SEND;
	p->out.flags = 0;
	p->conn = c;
	c->pending = p;
	return p;
}

/* What a block counts for beside its bytes: where each message is one, a flood of short ones is more of these than of bytes. */
static size_t overhead(const struct conn *c)
{
	return c->base.message ? sizeof(struct block) : 0;
}

/* Keeps the worker's sum of queued bytes. */
static void recharge(struct pending *p)
{
	struct chime_worker *w = p->conn->base.worker;
	if (p->conn->base.state >= CONN_CLOSING)
		return; /* abandoned */
	size_t now = p->blocks_bytes + p->blocks * overhead(p->conn) + (p->rest ? p->rest->room : 0) +
		     (p->buf ? p->buf->room : 0);
	if (now > p->charged)
		stat_add(&w->stats.queued_bytes, now - p->charged);
	else if (now < p->charged)
		stat_sub(&w->stats.queued_bytes, p->charged - now);
	p->charged = now;
}

void chime__pending_tidy(struct conn *c)
{
	struct chime_worker *w = c->base.worker;
	struct pending *p = c->pending;
	if (!p || p->buf || p->first || p->rest || p->listed || op_running(&p->out))
		return;
	if (p->charged)
		recharge(p);
	c->pending = NULL;
	if (w->idle_pending_count < IDLE_MAX) {
		p->next = w->idle_pendings;
		w->idle_pendings = p;
		w->idle_pending_count++;
	} else {
		free(p);
	}
}

void chime__pending_drop(struct conn *c)
{
	struct pending *p = c->pending;
	if (!p)
		return;
	assert(!op_running(&p->out));
	if (p->buf)
		buf_unref(p->buf);
	p->buf = NULL;
	while (p->first) {
		struct block *b = p->first;
		p->first = b->next;
		free(b);
	}
	p->last = NULL;
	p->blocks_bytes = 0;
	p->blocks = 0;
	free(p->rest);
	p->rest = NULL;
	chime__pending_unlist(p);
	recharge(p);
	chime__pending_tidy(c);
}

void chime__pending_abandon(struct pending *p)
{
	chime__pending_unlist(p);
	if (!FAULT(QUEUED_KEPT))
		stat_sub(&p->conn->base.worker->stats.queued_bytes, p->charged);
	p->charged = 0;
}

void chime__pending_fini(struct chime_worker *w)
{
	while (w->idle_pendings) {
		struct pending *p = w->idle_pendings;
		w->idle_pendings = p->next;
		free(p);
	}
	w->idle_pending_count = 0;
}

void chime__pending_unlist(struct pending *p)
{
	struct pending_list *list = p->listed;
	if (!list)
		return;
	*(p->prev ? &p->prev->next : &list->first) = p->next;
	*(p->next ? &p->next->prev : &list->last) = p->prev;
	p->prev = p->next = NULL;
	p->listed = NULL;
}

int chime__pending_list(struct conn *c, struct pending_list *list)
{
	struct pending *p = chime__pending_get(c);
	if (!p)
		return -ENOMEM;
	chime__pending_unlist(p);
	p->since_ns = c->base.worker->loop.now_ns;
	p->prev = list->last;
	*(list->last ? &list->last->next : &list->first) = p;
	list->last = p;
	p->listed = list;
	chime__worker_sweep(c->base.worker);
	return 0;
}

/* ---- blocks ---- */

static struct block *new_block(size_t len, size_t room)
{
	struct block *b = malloc(sizeof *b + room);
	if (!b)
		return NULL;
	*b = (struct block){ .len = len, .room = room };
	return b;
}

int chime__pending_add(struct conn *c, const void *bytes, size_t len)
{
	struct chime_worker *w = c->base.worker;
	struct pending *p = chime__pending_get(c);
	if (!p)
		return -ENOMEM;
	uint64_t queued = p->blocks_bytes + p->blocks * overhead(c), max = w->config->queue_conn_max;
	if (len > max || queued > max - len) {
		chime__pending_tidy(c);
		return -ENOBUFS;
	}
	struct block *last = p->last;
	if (c->base.message || !last || last->room - last->len < len) {
		struct block *b = new_block(0, c->base.message || len > BLOCK_ROOM ? len : BLOCK_ROOM);
		if (!b) {
			chime__pending_tidy(c);
			return -ENOMEM;
		}
		*(last ? &last->next : &p->first) = b;
		p->last = last = b;
		p->blocks++;
	}
	memcpy(last->data + last->len, bytes, len);
	last->len += len;
	p->blocks_bytes += len;
	recharge(p);
	return 0;
}

/* Room for len bytes in front of what is kept, or behind it: in place if there is any. NULL: no memory. */
static unsigned char *make_room(struct pending *p, size_t len, bool behind)
{
	struct block *old = p->rest;
	size_t kept = old ? old->len - old->sent : 0;
	if (old && behind && old->room - old->len >= len) {
		old->len += len;
		return old->data + old->len - len;
	}
	if (old && !behind && old->sent >= len) {
		old->sent -= len;
		return old->data + old->sent;
	}
	/* Behind what is there already more may come: twice as much room each time, so that all of it is copied once or twice. */
	struct block *b = new_block(kept + len, behind && kept ? 2 * (kept + len) : kept + len);
	if (!b)
		return NULL;
	if (kept)
		memcpy(b->data + (behind ? 0 : len), old->data + old->sent, kept);
	free(old);
	p->rest = b;
	return b->data + (behind ? kept : 0);
}

int chime__pending_keep(struct conn *c, const unsigned char *data, size_t len, int64_t time_ns, bool partial,
			bool behind)
{
	struct pending *p = chime__pending_get(c);
	bool had = p && p->rest;
	unsigned char *to = p ? make_room(p, len, behind) : NULL;
	if (!to) {
		chime__pending_tidy(c);
		return -ENOMEM;
	}
	memcpy(to, data, len);
	if (behind || !had)
		p->rest_time_ns = time_ns; /* that of the last bytes */
	p->rest_partial = partial && !had;
	if (p->rest_partial && !p->listed)
		chime__pending_list(c, &c->base.worker->partial);
	recharge(p);
	chime__worker_relieve(c->base.worker);
	return 0;
}

size_t chime__pending_take(struct conn *c, unsigned char *to, size_t max)
{
	struct pending *p = c->pending;
	size_t n = p->rest->len - p->rest->sent;
	if (n > max)
		n = max;
	memcpy(to, p->rest->data + p->rest->sent, n);
	p->rest->sent += n;
	p->rest_partial = false;
	if (p->listed == &c->base.worker->partial)
		chime__pending_unlist(p);
	if (p->rest->sent == p->rest->len)
		chime__pending_no_rest(c);
	return n;
}

void chime__pending_no_rest(struct conn *c)
{
	struct pending *p = c->pending;
	free(p->rest);
	p->rest = NULL;
	if (p->listed == &c->base.worker->partial)
		chime__pending_unlist(p);
	recharge(p);
}

/* ---- sending ---- */

/* Takes n sent bytes off the pieces of op. Whether all are gone. */
static bool advance(struct op *op, size_t n)
{
	while (op->n && n >= op->u.iov->iov_len) {
		n -= op->u.iov->iov_len;
		op->u.iov++;
		op->n--;
	}
	if (op->n) {
		op->u.iov->iov_base = (char *)op->u.iov->iov_base + n;
		op->u.iov->iov_len -= n;
	}
	return op->n == 0;
}

/* What is left of the answer in p->buf becomes a block in front of all others: a peer that is slow holds no buffer. */
static int set_aside(struct pending *p)
{
	size_t left = 0;
	for (unsigned i = 0; i < p->out.n; i++)
		left += p->out.u.iov[i].iov_len;
	struct block *b = new_block(left, left);
	if (!b)
		return -ENOMEM;
	unsigned char *to = b->data;
	for (unsigned i = 0; i < p->out.n; i++) {
		memcpy(to, p->out.u.iov[i].iov_base, p->out.u.iov[i].iov_len);
		to += p->out.u.iov[i].iov_len;
	}
	b->next = p->first;
	p->first = b;
	if (!p->last)
		p->last = b;
	p->blocks_bytes += left;
	p->blocks++;
	buf_unref(p->buf);
	p->buf = NULL;
	return 0;
}

/* Accounts for n bytes that went: whether something is left of what is under way. */
static bool account(struct conn *c, size_t n)
{
	struct pending *p = c->pending;
	stat_add(&c->base.worker->stats.sent_bytes, n);
	conn_active(c);
	if (p->buf) {
		if (!advance(&p->out, n) && !FAULT(LOST_PART))
			return true;
		buf_unref(p->buf);
		p->buf = NULL;
		return false;
	}
	p->blocks_bytes -= n;
	while (p->first && (n >= p->first->len - p->first->sent)) {
		struct block *b = p->first;
		n -= b->len - b->sent;
		p->first = b->next;
		p->blocks--;
		free(b);
		if (c->base.message)
			break;
	}
	if (!p->first)
		p->last = NULL;
	else
		p->first->sent += n;
	return p->first != NULL;
}

/* A message that can't be sent for its size harms none but itself. Whether err was that. */
static bool too_long(struct conn *c, int err)
{
	struct pending *p = c->pending;
	if (!c->base.message || (err != -EMSGSIZE && err != -ENOBUFS))
		return false;
	stat_add(&c->base.worker->stats.dropped_long, 1);
	if (p->buf) {
		buf_unref(p->buf);
		p->buf = NULL;
	} else if (p->first) {
		struct block *b = p->first;
		p->blocks_bytes -= b->len - b->sent;
		p->blocks--;
		p->first = b->next;
		if (!p->first)
			p->last = NULL;
		free(b);
	}
	return true;
}

/* What a send said: res bytes went, or an error. Negative: the connection is broken, or no memory. */
static int took(struct conn *c, int res)
{
	struct pending *p = c->pending;
	if (res < 0 && res != -EAGAIN)
		return too_long(c, res) ? 0 : res;
	size_t wanted = 0;
	for (unsigned i = 0; i < p->out.n && !p->buf; i++)
		wanted += p->out.u.iov[i].iov_len;
	bool reply = p->buf, left = res == -EAGAIN || account(c, (size_t)res);
	p->full = res == -EAGAIN || (reply ? left : (size_t)res < wanted);
	return left && p->buf ? set_aside(p) : 0;
}

int chime__pending_pump(struct conn *c)
{
	struct chime_worker *w = c->base.worker;
	struct pending *p = c->pending;
	if (!p)
		return 1;
	while (!op_running(&p->out) && (p->buf || p->first)) {
		if (!p->buf) {
			p->out.u.iov = p->iov;
			p->out.n = 0;
			for (struct block *b = p->first; b && p->out.n < (c->base.message ? 1 : PENDING_IOVS);
			     b = b->next)
				p->iov[p->out.n++] = (struct iovec){ b->data + b->sent, b->len - b->sent };
		}
		p->out.flags = (p->full ? OP_WAIT_FIRST : 0) | (c->base.pieces ? OP_PIECES : 0);
		int res = op_submit(&w->loop, &p->out);
		if (res == 0)
			break;
		res = took(c, res > 0 ? p->out.res : res);
		if (res < 0)
			return res;
	}
	if (!pending_out(c)) {
		if (p->listed == &w->stalled)
			chime__pending_unlist(p);
		if (p->rest && p->rest_partial && !p->listed)
			chime__pending_list(c, &w->partial);
		recharge(p);
		chime__pending_tidy(c);
		return 1;
	}
	recharge(p);
	chime__worker_relieve(w);
	if (p->listed != &w->stalled)
		return chime__pending_list(c, &w->stalled);
	return 0;
}

int chime__pending_reply(struct conn *c, struct buf *b, struct chime_reply *r, int res)
{
	struct pending *p = chime__pending_get(c);
	if (!p)
		return -ENOMEM;
	assert(!p->buf && !op_running(&p->out));
	p->buf = buf_ref(b);
	p->out.u.iov = r->iov;
	p->out.n = (uint16_t)r->n;
	if (res != -EAGAIN)
		res = took(c, res);
	return res < 0 && res != -EAGAIN ? res : chime__pending_pump(c);
}

/* What was under way has gone, or a part of it, or it failed. */
static void on_out(struct loop *lp, struct op *op, const struct op_event *ev)
{
	struct pending *p = of_op(op);
	struct conn *c = p->conn;
	(void)lp;
	int err = 0;
	p->spared = false;
	if (c->base.state >= CONN_CLOSING || op->kind == OP_CONNECT) {
		chime__conn_sent(c, ev->res);
		return;
	}
	err = took(c, ev->res);
	if (FAULT(TWICE) && err == 0 && (p->buf || p->first))
		err = took(c, ev->res);
	if (ev->res > 0 && p->listed && !FAULT(NO_PROGRESS)) { /* progress: behind all others */
		struct pending_list *list = p->listed;
		chime__pending_list(c, list);
	}
	chime__conn_sent(c, err);
}
