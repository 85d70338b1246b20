/* A network in memory with a time of its own. */
#include "loop/backend/sim.h"

#include <assert.h>
#include <chime/service.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define FIRST 3

enum {
	OWNED,
	WAITING,
	ENDING
};

struct bytes {
	unsigned char *data;
	size_t len;
};

struct sim_sock {
	bool listener, accepted, closed, peer_ended, reset, shut, was_reset;
	int backlog[SIM_SOCKS];
	unsigned queued;
	struct bytes in, out; /* from the peer; to it */
	struct op *read, *write;
};

static void append(struct bytes *b, const void *from, size_t len)
{
	b->data = realloc(b->data, b->len + len + 1);
	assert(b->data);
	memcpy(b->data + b->len, from, len);
	b->len += len;
}

static void take(struct bytes *b, void *to, size_t len)
{
	if (to)
		memcpy(to, b->data, len);
	memmove(b->data, b->data + len, b->len - len);
	b->len -= len;
}

/* ---- the peers' side ---- */

void sim_init(struct sim *sim)
{
	*sim = (struct sim){
		.window = 65536, .inline_send = true, .mono_ns = CHIME_HOUR, .real_ns = 1473765080 * CHIME_SEC
	};
	sim->ending_end = &sim->ending;
	chime__buf_pool_init(&sim->pool, 2 * CHIME_INPUT_MAX, 8);
}

void sim_fini(struct sim *sim)
{
	for (int i = 0; i < SIM_SOCKS; i++)
		if (sim->sock[i]) {
			free(sim->sock[i]->in.data);
			free(sim->sock[i]->out.data);
			free(sim->sock[i]);
		}
	chime__buf_pool_fini(&sim->pool);
}

void sim_pass(struct sim *sim, int64_t ns)
{
	sim->mono_ns += ns;
	sim->real_ns += ns;
}

static int new_sock(struct sim *sim)
{
	for (int fd = FIRST; fd < SIM_SOCKS; fd++)
		if (!sim->sock[fd]) {
			sim->sock[fd] = calloc(1, sizeof(struct sim_sock));
			assert(sim->sock[fd]);
			return fd;
		}
	assert(!"more sockets than SIM_SOCKS");
	return -1;
}

int sim_listen(struct sim *sim)
{
	int fd = new_sock(sim);
	sim->sock[fd]->listener = true;
	sim->opened++;
	return fd;
}

int sim_connect(struct sim *sim, int listener)
{
	struct sim_sock *l = sim->sock[listener];
	assert(l->listener && !l->closed);
	int fd = new_sock(sim);
	l->backlog[l->queued++] = fd;
	return fd;
}

void sim_write(struct sim *sim, int peer, const void *bytes, size_t len)
{
	struct sim_sock *s = sim->sock[peer];
	assert(!s->peer_ended);
	if (s->closed)
		s->was_reset = true; /* what a kernel says to data for nobody */
	else
		append(&s->in, bytes, len);
}

void sim_end(struct sim *sim, int peer)
{
	sim->sock[peer]->peer_ended = true;
}

void sim_reset(struct sim *sim, int peer)
{
	sim->sock[peer]->reset = true;
	sim->sock[peer]->in.len = 0;
}

size_t sim_read(struct sim *sim, int peer, void *buf, size_t max)
{
	struct sim_sock *s = sim->sock[peer];
	size_t n = s->out.len < max ? s->out.len : max;
	take(&s->out, buf, n);
	return n;
}

size_t sim_readable(const struct sim *sim, int peer)
{
	return sim->sock[peer]->out.len;
}

bool sim_ended(const struct sim *sim, int peer)
{
	return sim->sock[peer]->shut || sim->sock[peer]->closed;
}

bool sim_closed(const struct sim *sim, int peer)
{
	return sim->sock[peer]->closed;
}

bool sim_was_reset(const struct sim *sim, int peer)
{
	return sim->sock[peer]->was_reset;
}

size_t sim_unread(const struct sim *sim, int peer)
{
	return sim->sock[peer]->in.len;
}

/* ---- the server's side: the table ---- */

static int sim_probe(struct backend_caps *caps)
{
	*caps = (struct backend_caps){ .inline_send = true };
	return 0;
}

static int sim_open(struct loop *lp, void *arg)
{
	lp->impl = arg;
	return 0;
}

static void sim_shut(struct loop *lp)
{
	lp->impl = NULL;
}

static int64_t sim_mono(struct loop *lp)
{
	return ((struct sim *)lp->impl)->mono_ns;
}

static int64_t sim_real(struct loop *lp)
{
	return ((struct sim *)lp->impl)->real_ns;
}

static bool reads(const struct op *op)
{
	return op->kind <= OP_RECV_MSGS;
}

static int send_now(struct sim *sim, const struct op *op)
{
	struct sim_sock *s = sim->sock[op->fd];
	size_t room = s->out.len < sim->window ? sim->window - s->out.len : 0, sent = 0;
	if (s->reset)
		return -ECONNRESET;
	if (s->shut)
		return -EPIPE;
	if (sim->send_max && room > sim->send_max)
		room = sim->send_max;
	if (room == 0)
		return -EAGAIN;
	for (unsigned i = 0; i < op->n && sent < room; i++) {
		size_t len = op->u.iov[i].iov_len < room - sent ? op->u.iov[i].iov_len : room - sent;
		append(&s->out, op->u.iov[i].iov_base, len);
		sent += len;
	}
	return (int)sent;
}

static int sim_submit(struct loop *lp, struct op *op)
{
	struct sim *sim = lp->impl;
	struct sim_sock *s = sim->sock[op->fd];
	assert(op->state == OWNED && s && !s->closed);
	if (reads(op)) {
		assert(!s->read && (op->kind == OP_ACCEPT) == s->listener);
		s->read = op;
	} else {
		assert(!s->write && op->kind == OP_SEND && op->n > 0);
		if (sim->inline_send && !(op->flags & OP_WAIT_FIRST)) {
			op->res = send_now(sim, op);
			if (op->res != -EAGAIN)
				return 1;
		}
		s->write = op;
	}
	op->state = WAITING;
	return 0;
}

static void sim_cancel(struct loop *lp, struct op *op)
{
	struct sim *sim = lp->impl;
	if (op->state != WAITING)
		return;
	*(reads(op) ? &sim->sock[op->fd]->read : &sim->sock[op->fd]->write) = NULL;
	op->state = ENDING;
	op->res = -ECANCELED;
	op->next = NULL;
	*sim->ending_end = op;
	sim->ending_end = &op->next;
}

static void report(struct loop *lp, struct op *op, struct op_event *ev, bool more)
{
	struct sim *sim = lp->impl;
	ev->more = more;
	if (!more) {
		*(reads(op) ? &sim->sock[op->fd]->read : &sim->sock[op->fd]->write) = NULL;
		op->state = OWNED;
	}
	op->done(lp, op, ev);
}

static int accept_one(struct loop *lp, struct op *op, struct sim_sock *s)
{
	struct sim *sim = lp->impl;
	static const chime_addr peer;
	if (s->queued == 0)
		return -EAGAIN;
	if (sim->accept_err) {
		report(lp, op, &(struct op_event){ .res = sim->accept_err }, false);
		return 0;
	}
	int fd = s->backlog[0];
	memmove(s->backlog, s->backlog + 1, --s->queued * sizeof *s->backlog);
	sim->sock[fd]->accepted = true;
	sim->opened++;
	report(lp, op, &(struct op_event){ .res = fd, .peer = &peer }, true);
	return 0;
}

static int recv_one(struct loop *lp, struct op *op, struct sim_sock *s)
{
	struct sim *sim = lp->impl;
	if (s->reset) {
		report(lp, op, &(struct op_event){ .res = -ECONNRESET }, false);
		return 0;
	}
	if (s->in.len == 0) {
		if (!s->peer_ended)
			return -EAGAIN;
		report(lp, op, &(struct op_event){ .res = 0 }, false);
		return 0;
	}
	struct buf *b = chime__buf_get(&sim->pool);
	assert(b);
	size_t n = s->in.len < CHIME_INPUT_MAX ? s->in.len : CHIME_INPUT_MAX;
	if (sim->recv_max && n > sim->recv_max)
		n = sim->recv_max;
	take(&s->in, b->data, n);
	report(lp, op, &(struct op_event){ .res = (int)n, .buf = b }, true);
	buf_unref(b);
	return 0;
}

/* Does what can be done on one socket. How much that was. */
static int serve(struct loop *lp, int fd)
{
	struct sim *sim = lp->impl;
	struct sim_sock *s = sim->sock[fd];
	struct op *op = s->read;
	int n = 0;
	if (op) {
		int err = s->listener ? accept_one(lp, op, s) : recv_one(lp, op, s);
		if (err == 0)
			n++;
		else if (op->flags & OP_NOWAIT) {
			report(lp, op, &(struct op_event){ .res = -EAGAIN }, false);
			n++;
		}
	}
	op = s->write;
	if (op) {
		int res = send_now(sim, op);
		if (res != -EAGAIN) {
			report(lp, op, &(struct op_event){ .res = res }, false);
			n++;
		}
	}
	return n;
}

static int run_ending(struct loop *lp)
{
	struct sim *sim = lp->impl;
	int n = 0;
	while (sim->ending) {
		struct op *op = sim->ending;
		sim->ending = op->next;
		if (!sim->ending)
			sim->ending_end = &sim->ending;
		op->state = OWNED;
		op->done(lp, op, &(struct op_event){ .res = op->res });
		n++;
	}
	return n;
}

static int sim_wait(struct loop *lp, int64_t timeout_ns)
{
	struct sim *sim = lp->impl;
	int n = 0;
	lp->now_ns = sim->mono_ns;
	for (int fd = FIRST; fd < SIM_SOCKS; fd++)
		if (sim->sock[fd] && !sim->sock[fd]->closed)
			n += serve(lp, fd);
	n += run_ending(lp);
	if (n == 0 && !sim->woken && timeout_ns > 0) {
		sim_pass(sim, timeout_ns);
		lp->now_ns = sim->mono_ns;
	}
	sim->woken = false;
	return n;
}

static void sim_wake(struct loop *lp)
{
	((struct sim *)lp->impl)->woken = true;
}

static int sim_close(struct loop *lp, int fd, bool reset)
{
	struct sim *sim = lp->impl;
	struct sim_sock *s = sim->sock[fd];
	assert(s && !s->closed && !s->read && !s->write);
	s->closed = true;
	if (reset || s->in.len)
		s->was_reset = true;
	sim->closed++;
	return 0;
}

static int sim_shutdown(struct loop *lp, int fd, int how)
{
	struct sim *sim = lp->impl;
	if (how != SHUT_WR)
		return -EINVAL;
	if (sim->sock[fd]->reset)
		return -ENOTCONN;
	sim->sock[fd]->shut = true;
	return 0;
}

const struct backend chime__backend_sim = {
	.name = "sim",
	.probe = sim_probe,
	.open = sim_open,
	.shut = sim_shut,
	.submit = sim_submit,
	.cancel = sim_cancel,
	.wait = sim_wait,
	.wake = sim_wake,
	.close = sim_close,
	.shutdown = sim_shutdown,
	.mono = sim_mono,
	.real = sim_real,
};
