/* A network in memory with a time of its own: the server's side, which is the table. */
#include "loop/backend/sim_sock.h"

#include <chime/service.h>

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define FIRST 3
#define BURST 4 /* results of one operation in a row, at most */

void sim_trace(struct sim *sim, const char *fmt, ...)
{
	char line[256];
	va_list ap;
	if (!sim->trace)
		return;
	int n = snprintf(line, sizeof line, "%12.6f  ", (double)(sim->mono_ns - CHIME_HOUR) / 1e9);
	va_start(ap, fmt);
	vsnprintf(line + n, sizeof line - (size_t)n, fmt, ap);
	va_end(ap);
	sim->trace(sim->arg, line);
}

void sim_breach(struct sim *sim, const char *fmt, ...)
{
	char what[256];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(what, sizeof what, fmt, ap);
	va_end(ap);
	sim_trace(sim, "BREACH: %s", what);
	if (sim->breach)
		sim->breach(sim->arg, what);
	fprintf(stderr, "%s\n", what);
	abort();
}

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

static bool under_way(const struct sim_place *place, const struct loop *lp)
{
	return place->op && place->loop == lp;
}

static void sim_shut(struct loop *lp)
{
	struct sim *sim = lp->impl;
	for (int fd = FIRST; fd < SIM_SOCKS; fd++)
		if (sim->fds[fd] && (under_way(&sim->fds[fd]->read, lp) || under_way(&sim->fds[fd]->write, lp)))
			sim_breach(sim, "the loop is shut with an operation under way on fd %d", fd);
	lp->impl = NULL;
}

/* ---- time ---- */

/* The way from one result to the next takes a little, and somebody may set the clock. */
static void spend(struct sim *sim)
{
	const struct sim_weather *weather = &sim->weather;
	if (weather->pace_ns)
		sim_pass(sim, 1 + (int64_t)sim_random(sim, (uint64_t)weather->pace_ns));
	if (sim_chance(sim, weather->clock_step)) {
		int64_t step = (int64_t)sim_random(sim, 2 * (uint64_t)weather->clock_step_ns + 1);
		sim->real_ns += step - weather->clock_step_ns;
		sim_trace(sim, "the clock is set by %+.6f s", (double)(step - weather->clock_step_ns) / 1e9);
	}
}

static int64_t sim_mono(struct loop *lp)
{
	return ((struct sim *)lp->impl)->mono_ns;
}

static int64_t sim_real(struct loop *lp)
{
	struct sim *sim = lp->impl;
	if (sim->weather.pace_ns)
		sim_pass(sim, 1);
	return sim->real_ns;
}

/* ---- operations ---- */

static int sim_submit(struct loop *lp, struct op *op)
{
	struct sim *sim = lp->impl;
	struct sim_sock *s = sim_check_submit(sim, op);
	struct sim_place *place = sim_place_of(s, op);
	sim->events++;
	if (sim_chance(sim, sim->weather.no_memory)) {
		sim_trace(sim, "fd %d: %s refused", op->fd, sim_name_of(op));
		sim->no_memories++;
		s->view.refused_op = true;
		return -ENOMEM;
	}
	bool at_once = op->kind == OP_SEND && op->flags & OP_NOWAIT; /* asked for only where caps.inline_send */
	if (!sim_reads(op) && op->kind != OP_CONNECT && sim->inline_send && !(op->flags & OP_WAIT_FIRST) &&
	    (at_once || !sim_chance(sim, sim->weather.late_send))) {
		op->res = sim_send(sim, s, op);
		if (op->res != -EAGAIN || op->flags & OP_NOWAIT) {
			sim_trace(sim, "fd %d: send, %d at once", op->fd, op->res);
			return 1;
		}
	}
	sim_trace(sim, "fd %d: %s%s%s", op->fd, sim_name_of(op), op->flags & OP_WAIT_FIRST ? ", waits" : "",
		  op->flags & OP_NOWAIT ? ", now" : "");
	op->state = SIM_WAITING;
	*place = (struct sim_place){ .op = op, .loop = lp, .seen = *op };
	if (!sim_reads(op))
		place->sum = sim_sum_of(op);
	if (!sim_reads(op) && op->kind != OP_CONNECT) {
		s->view.send_ns = sim->mono_ns;
	}
	sim_delay(sim, place);
	if (op->kind == OP_CONNECT && sim_chance(sim, sim->weather.slow_connect))
		place->at_ns = sim->mono_ns + (int64_t)sim_random(sim, (uint64_t)CHIME_MIN);
	return 0;
}

static void sim_cancel(struct loop *lp, struct op *op)
{
	struct sim *sim = lp->impl;
	struct sim_sock *s = op->fd >= 0 && op->fd < SIM_SOCKS ? sim->fds[op->fd] : NULL;
	if (op->state != SIM_WAITING || !s || sim_place_of(s, op)->op != op)
		return;
	sim_trace(sim, "fd %d: cancel %s", op->fd, sim_name_of(op));
	sim_place_of(s, op)->ending = true;
	sim_place_of(s, op)->at_ns = 0;
	sim_delay(sim, sim_place_of(s, op));
}

static void report(struct loop *lp, struct sim_sock *s, struct op *op, struct op_event *ev, bool more)
{
	struct sim *sim = lp->impl;
	struct sim_place *place = sim_place_of(s, op);
	sim_check_untouched(sim, place);
	ev->more = more;
	sim->events++;
	if (more) {
		sim_delay(sim, place);
	} else {
		if (!sim_reads(op))
			s->view.send_ns = 0;
		*place = (struct sim_place){ 0 };
		op->state = SIM_OWNED;
	}
	op->done(lp, op, ev);
}

static void report_end(struct loop *lp, struct sim_sock *s, struct op *op, int res)
{
	spend(lp->impl);
	sim_trace(lp->impl, "fd %d: %s ends, %d", op->fd, sim_name_of(op), res);
	report(lp, s, op, &(struct op_event){ .res = res, .end = op->kind == OP_RECV_MSG && res == 0 }, false);
}

static void do_accept(struct loop *lp, struct sim_sock *l, struct op *op)
{
	static const int shortages[] = { -EMFILE, -ENFILE, -ENOBUFS, -ENOMEM };
	static const chime_addr peer;
	struct sim *sim = lp->impl;
	struct sim_sock *queue = sim_backlog(l), *s = sim->socks[queue->backlog[0]];
	int err = sim->accept_err;
	if (!err && sim_chance(sim, sim->weather.emfile))
		err = shortages[sim_random(sim, 4)];
	if (!err)
		err = sim_new_fd(sim, s);
	if (err < 0) {
		report_end(lp, l, op, err);
		return;
	}
	memmove(queue->backlog, queue->backlog + 1, --queue->queued * sizeof *queue->backlog);
	spend(sim);
	sim_trace(sim, "fd %d: accepts peer %d as fd %d%s", l->fd, s->number, s->fd,
		  l->read.ending ? ", after cancel" : "");
	report(lp, l, op, &(struct op_event){ .res = s->fd, .peer = &peer }, true);
}

/* One that nobody references any more must not be looked at. */
static void put_buf(struct buf *b, size_t len)
{
	if (b->refs == 1) {
		memset(b->headroom, '!', sizeof b->headroom);
		memset(b->data, '!', len);
	}
	buf_unref(b);
}

static struct buf *get_buf(struct sim *sim, size_t len)
{
	struct buf *b = chime__buf_get(len > sim->large.room   ? &sim->huge
				       : len > sim->small.room ? &sim->large
							       : &sim->small);
	assert(b);
	memset(b->headroom, '?', sizeof b->headroom);
	return b;
}

static void note_receipt(struct sim *sim, struct sim_sock *s, int64_t from_ns, bool over)
{
	if (s->view.receipt_count == s->receipt_room) {
		s->receipt_room = s->receipt_room ? 2 * s->receipt_room : 16;
		s->receipts = realloc(s->receipts, s->receipt_room * sizeof *s->receipts);
		assert(s->receipts);
	}
	s->receipts[s->view.receipt_count++] = (struct sim_receipt){ s->view.received, from_ns, from_ns, over };
	s->view.received_ns = sim->moved_ns = sim->mono_ns;
}

static void do_recv(struct loop *lp, struct sim_sock *s, struct op *op)
{
	struct sim *sim = lp->impl;
	bool message = s->type == SOCK_SEQPACKET, after = s->read.ending;
	if (s->in.len == 0 && s->in.message_count == 0) {
		report_end(lp, s, op, s->reset ? -ECONNRESET : 0);
		return;
	}
	size_t whole = message ? sim_first(&s->in)->len : s->in.len;
	size_t most = message ? CHIME_MESSAGE_MAX : CHIME_INPUT_MAX, n = whole < most ? whole : most;
	if (!message && sim->recv_max && n > sim->recv_max)
		n = sim->recv_max;
	if (!message && n > 1 && sim_chance(sim, sim->weather.short_read))
		n = 1 + (size_t)sim_random(sim, n);
	spend(sim);
	struct buf *b = get_buf(sim, n);
	sim_get(&s->in, b->data, n);
	if (message) {
		sim_get(&s->in, NULL, whole - n);
		sim_message_gone(&s->in);
	}
	s->view.received += message ? 1 : n;
	s->view.truncated += message && n < whole;
	unsigned i = s->view.receipt_count;
	note_receipt(sim, s, sim->real_ns, after || s->write.op);
	sim_trace(sim, "fd %d: receives %zu%s", op->fd, n, after ? " after cancel" : "");
	report(lp, s, op, &(struct op_event){ .res = (int)n, .buf = b, .truncated = message && n < whole }, true);
	s->receipts[i].to_ns = sim->real_ns;
	put_buf(b, n);
}

/* The address that messages come to on a socket that is bound to any. */
static chime_addr here(void)
{
	chime_addr a;
	(void)chime_addr_ip(&a, AF_INET, "192.0.2.9", 0);
	return a;
}

static void do_recv_msgs(struct loop *lp, struct sim_sock *s, struct op *op)
{
	struct sim *sim = lp->impl;
	struct op_msg msgs[OP_MSGS];
	struct sim_sock *from[OP_MSGS];
	unsigned most = OP_MSGS, n = 0;
	if (sim_chance(sim, sim->weather.short_read))
		most = 1 + (unsigned)sim_random(sim, OP_MSGS);
	spend(sim);
	for (; n < most && s->in.message_count; n++) {
		const struct sim_message m = *sim_first(&s->in);
		size_t len = m.len < CHIME_MESSAGE_MAX ? m.len : CHIME_MESSAGE_MAX;
		struct buf *b = get_buf(sim, len);
		from[n] = sim->socks[m.peer];
		msgs[n] = (struct op_msg){ .buf = b,
					   .data = b->data,
					   .len = len,
					   .truncated = len < m.len,
					   .to_many = m.to_many && op->flags & OP_PKTINFO,
					   .peer = from[n]->addr };
		if (op->flags & OP_PKTINFO && !m.to_many)
			msgs[n].local = here();
		sim_get(&s->in, b->data, len);
		sim_get(&s->in, NULL, m.len - len);
		sim_message_gone(&s->in);
		from[n]->view.received++;
		from[n]->view.truncated += len < m.len;
		from[n]->view.to_many += msgs[n].to_many && len == m.len;
		note_receipt(sim, from[n], sim->real_ns, s->read.ending);
	}
	sim_trace(sim, "fd %d: receives %u messages", op->fd, n);
	report(lp, s, op, &(struct op_event){ .res = (int)n, .msgs = msgs }, true);
	for (unsigned i = 0; i < n; i++) {
		for (unsigned k = from[i]->view.receipt_count;
		     k-- > 0 && from[i]->receipts[k].to_ns == from[i]->receipts[k].from_ns;)
			from[i]->receipts[k].to_ns = sim->real_ns;
		put_buf(msgs[i].buf, msgs[i].len);
	}
}

/* One result of a reading operation. */
static void do_read(struct loop *lp, struct sim_sock *s, struct op *op)
{
	struct sim *sim = lp->impl;
	bool can = sim_can_read(sim, s);
	if (s->read.ending) {
		const struct sim_weather *weather = &sim->weather;
		bool last = s->kind == SIM_CONN && s->in.len == 0 && s->in.message_count == 0;
		bool messages = s->type != SOCK_STREAM && s->kind != SIM_LISTENER;
		if (!can || (messages && !last) ||
		    !sim_chance(sim, last ? weather->late_cancel : weather->over_delivery)) {
			report_end(lp, s, op, -ECANCELED);
			return;
		}
	}
	if (!can) {
		report_end(lp, s, op, -EAGAIN); /* OP_NOWAIT: or it would not be here */
	} else if (op->kind == OP_POLL) {
		spend(sim);
		report(lp, s, op, &(struct op_event){ .res = 1 }, true);
	} else if (s->kind == SIM_LISTENER) {
		do_accept(lp, s, op);
	} else if (s->kind == SIM_DGRAM) {
		do_recv_msgs(lp, s, op);
	} else {
		do_recv(lp, s, op);
	}
}

static void do_write(struct loop *lp, struct sim_sock *s, struct op *op)
{
	struct sim *sim = lp->impl;
	sim_check_untouched(sim, &s->write);
	bool may = op->kind == OP_SEND && !(op->flags & OP_WAIT_FIRST);
	int res = -ECANCELED;
	if (op->kind == OP_CONNECT) {
		report_end(lp, s, op, s->write.ending ? res : sim_reach(sim, s, op));
		return;
	}
	if (!s->write.ending || sim_chance(sim, sim->weather.late_cancel)) {
		res = may && sim_chance(sim, sim->weather.first_again) ? -EAGAIN : sim_send(sim, s, op);
		if (res == -EAGAIN && s->write.ending)
			res = -ECANCELED;
		else if (res == -EAGAIN && !(op->flags & OP_NOWAIT) && !(may && sim->weather.first_again))
			return; /* a message that has no room yet */
	}
	report_end(lp, s, op, res);
}

/* ---- a wait ---- */

static bool runnable(const struct sim *sim, const struct sim_sock *s, bool write)
{
	const struct sim_place *place = write ? &s->write : &s->read;
	if (!place->op)
		return false;
	if (place->ending || place->op->flags & OP_NOWAIT)
		return true;
	return write ? sim_can_write(sim, s) || (sim->weather.first_again && !(place->op->flags & OP_WAIT_FIRST))
		     : sim_can_read(sim, s);
}

struct turn {
	uint16_t item[2 * SIM_SOCKS]; /* 2 * descriptor + write */
	unsigned n;
	int64_t next_ns; /* when another comes */
};

static void collect(const struct sim *sim, const struct loop *lp, struct turn *turn)
{
	turn->n = 0;
	turn->next_ns = INT64_MAX;
	for (int fd = FIRST; fd < sim->fd_top; fd++)
		for (int write = 0; sim->fds[fd] && write < 2; write++) {
			const struct sim_sock *s = sim->fds[fd];
			const struct sim_place *place = write ? &s->write : &s->read;
			int64_t at_ns = place->at_ns;
			if (!under_way(place, lp))
				continue;
			if (write && s->kind == SIM_DGRAM && s->full_until_ns > at_ns)
				at_ns = s->full_until_ns;
			if (at_ns > sim->mono_ns) {
				if (at_ns < turn->next_ns)
					turn->next_ns = at_ns;
			} else if (runnable(sim, s, write)) {
				turn->item[turn->n++] = (uint16_t)(2 * fd + write);
			}
		}
}

static void shuffle(struct sim *sim, struct turn *turn)
{
	for (unsigned i = turn->n; i > 1; i--) {
		unsigned k = (unsigned)sim_random(sim, i);
		uint16_t item = turn->item[i - 1];
		turn->item[i - 1] = turn->item[k];
		turn->item[k] = item;
	}
}

int64_t sim_next(const struct sim *sim, const struct loop *lp)
{
	struct turn turn;
	collect(sim, lp, &turn);
	return turn.n ? sim->mono_ns : turn.next_ns;
}

static int run_item(struct loop *lp, int fd, bool write)
{
	struct sim *sim = lp->impl;
	struct sim_sock *s = sim->fds[fd];
	unsigned most = sim->weather.shuffle ? 1 + (unsigned)sim_random(sim, BURST) : 1;
	int n = 0;
	/* It may have been closed meanwhile, and the number be another's. */
	while (s && sim->fds[fd] == s && most-- && under_way(write ? &s->write : &s->read, lp) &&
	       runnable(sim, s, write) && (write ? s->write.at_ns : s->read.at_ns) <= sim->mono_ns) {
		n++;
		if (write)
			do_write(lp, s, s->write.op);
		else
			do_read(lp, s, s->read.op);
	}
	return n;
}

static int sim_wait(struct loop *lp, int64_t timeout_ns)
{
	struct sim *sim = lp->impl;
	struct turn turn;
	int n = 0;
	collect(sim, lp, &turn);
	if (turn.n == 0 && !sim->woken && timeout_ns != 0) {
		int64_t until_ns = timeout_ns > 0 ? sim->mono_ns + timeout_ns : INT64_MAX;
		if (turn.next_ns < until_ns)
			until_ns = turn.next_ns;
		if (until_ns == INT64_MAX)
			sim_breach(sim, "the loop waits, and nothing will ever come");
		if (until_ns > sim->mono_ns)
			sim_pass(sim, until_ns - sim->mono_ns);
		collect(sim, lp, &turn);
	}
	sim->woken = false;
	lp->now_ns = sim->mono_ns;
	if (sim->weather.shuffle)
		shuffle(sim, &turn);
	for (unsigned i = 0; i < turn.n; i++)
		n += run_item(lp, turn.item[i] / 2, turn.item[i] & 1);
	return n;
}

static void sim_wake(struct loop *lp)
{
	((struct sim *)lp->impl)->woken = true;
}

/* ---- ending ---- */

static int sim_close(struct loop *lp, int fd, bool reset)
{
	struct sim *sim = lp->impl;
	struct sim_sock *s = fd >= 0 && fd < SIM_SOCKS ? sim->fds[fd] : NULL;
	sim->events++;
	if (!s)
		sim_breach(sim, "fd %d is closed twice", fd);
	if (s->read.op || s->write.op)
		sim_breach(sim, "fd %d is closed with a %s under way", fd, s->read.op ? "read" : "send");
	s->closed = true;
	s->view.closed_ns = sim->mono_ns;
	if (s->kind == SIM_CONN && (reset || s->in.len || s->in.message_count))
		s->was_reset = true;
	struct sim_sock *queue = sim_backlog(s);
	if (queue->sharers) {
		queue->sharers--;
	} else {
		for (unsigned i = 0; i < queue->queued; i++) { /* nobody will accept them */
			struct sim_sock *left = sim->socks[queue->backlog[i]];
			left->closed = left->was_reset = true;
		}
		queue->queued = 0;
	}
	sim_trace(sim, "fd %d: closed%s", fd, s->was_reset ? " with a reset" : "");
	s->fd = -1;
	sim->fds[fd] = NULL;
	sim->closed++;
	return 0;
}

static int sim_socket(struct loop *lp, int family, int type)
{
	struct sim *sim = lp->impl;
	struct sim_sock *s;
	(void)family;
	if (sim->accept_err || sim_chance(sim, sim->weather.emfile))
		return -EMFILE;
	s = sim_new_sock(sim, SIM_NEW, type);
	return sim_new_fd(sim, s);
}

static int sim_shutdown(struct loop *lp, int fd, int how)
{
	struct sim *sim = lp->impl;
	struct sim_sock *s = fd >= 0 && fd < SIM_SOCKS ? sim->fds[fd] : NULL;
	if (!s || s->write.op)
		sim_breach(sim, "fd %d is shut down %s", fd, s ? "with a send under way" : "after its close");
	if (how != SHUT_WR)
		return -EINVAL;
	if (s->reset)
		return -ENOTCONN;
	sim_trace(sim, "fd %d: shut down", fd);
	s->shut = true;
	s->view.shut_ns = sim->mono_ns;
	return 0;
}

static bool sim_ready(struct loop *lp, int fd, bool out)
{
	struct sim *sim = lp->impl;
	struct sim_sock *s = fd >= 0 && fd < SIM_SOCKS ? sim->fds[fd] : NULL;
	if (!s)
		sim_breach(sim, "fd %d is looked at after its close", fd);
	return out ? sim_can_write(sim, s) : sim_can_read(sim, s);
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
	.socket = sim_socket,
	.close = sim_close,
	.shutdown = sim_shutdown,
	.ready = sim_ready,
	.mono = sim_mono,
	.real = sim_real,
};
