/*
 * server/dgram_rig.h - a worker with one datagram socket, on a backend that the test plays: what is sent, when it blocks, what it says.
 * For one program each: it has chime__dgram_gone().
 */
#ifndef SERVER_DGRAM_RIG_H
#define SERVER_DGRAM_RIG_H

#include "runner/test.h"

#include "server/dgram.h"
#include "server/outbox.h"

#include <chime/server.h>

#include <errno.h>
#include <stdlib.h>

/* ---- a backend that remembers what is sent ---- */

#define SENT_MAX 20000
#define PEERS 8

struct sent {
	chime_addr peer, local;
	size_t len;
	unsigned char bytes[200]; /* the first of them */
};

struct fake {
	int64_t mono, real;
	struct op *recv, *send; /* under way */
	bool recv_cancelled, send_cancelled;
	bool late;                 /* sending ends in wait() only, as on a ring */
	unsigned room;             /* messages that can be taken; then it blocks */
	unsigned most;             /* in one call */
	bool full[PEERS];          /* peers (by port - 50000, or the digit of the path) whose own queue is full */
	int fails[PEERS];          /* peers that sending to gives that error */
	struct op_msg in[OP_MSGS]; /* to be received in the next wait() */
	unsigned in_n;
	int in_err;        /* receiving ends so */
	unsigned refusals; /* of receiving, before it can be begun again */
	struct buf_pool pool;
	struct sent *sent;
	unsigned sent_n, sends, closes;
	int closed_fd;
};

static inline struct fake *fake_of(struct loop *lp)
{
	return lp->impl;
}

static inline int fake_probe(struct backend_caps *caps)
{
	*caps = (struct backend_caps){ .inline_send = true };
	return 0;
}

static inline int fake_open(struct loop *lp, void *arg)
{
	lp->impl = arg;
	return 0;
}

static inline void fake_shut(struct loop *lp)
{
	CHECK(!fake_of(lp)->recv);
	CHECK(!fake_of(lp)->send);
}

static inline unsigned peer_number(const chime_addr *a)
{
	unsigned n = a->u.sa.sa_family == AF_UNIX  ? (unsigned)(a->u.un.sun_path[1] - '0')
		     : chime_addr_port(a) >= 50000 ? (unsigned)(chime_addr_port(a) - 50000)
						   : PEERS;
	return n < PEERS ? n : 0;
}

static inline int take(struct fake *f, const struct op *op)
{
	int n = 0;
	f->sends++;
	for (; n < op->n && n < (int)f->most; n++) {
		const struct op_msg *m = &op->u.msgs[n];
		unsigned p = peer_number(&m->peer);
		int err = f->fails[p] ? f->fails[p] : f->room == 0 || f->full[p] ? -EAGAIN : 0;
		if (err)
			return n ? n : err;
		f->room--;
		CHECK(f->sent_n < SENT_MAX);
		struct sent *s = &f->sent[f->sent_n++];
		*s = (struct sent){ .peer = m->peer, .local = m->local };
		for (int i = 0; i < m->n; i++) {
			size_t fits =
				sizeof s->bytes - 1 - (s->len < sizeof s->bytes - 1 ? s->len : sizeof s->bytes - 1);
			memcpy(s->bytes + s->len, m->iov[i].iov_base,
			       m->iov[i].iov_len < fits ? m->iov[i].iov_len : fits);
			s->len += m->iov[i].iov_len;
		}
	}
	return n;
}

static inline int fake_submit(struct loop *lp, struct op *op)
{
	struct fake *f = fake_of(lp);
	CHECK_EQ(op->state, 0);
	if (op->kind == OP_RECV_MSGS) {
		CHECK(!f->recv);
		if (f->refusals) {
			f->refusals--;
			return -ENOMEM;
		}
		f->recv = op;
		op->state = 1;
		return 0;
	}
	CHECK_EQ(op->kind, OP_SEND_MSGS);
	CHECK(!f->send);
	CHECK_IN(op->n, 1, OP_MSGS);
	if (!f->late && !(op->flags & OP_WAIT_FIRST)) {
		op->res = take(f, op);
		if (op->res != -EAGAIN || op->flags & OP_NOWAIT)
			return 1;
	}
	f->send = op;
	op->state = 1;
	return 0;
}

static inline void fake_cancel(struct loop *lp, struct op *op)
{
	struct fake *f = fake_of(lp);
	if (op == f->recv)
		f->recv_cancelled = true;
	if (op == f->send)
		f->send_cancelled = true;
}

static inline void end_recv(struct loop *lp, int res)
{
	struct fake *f = fake_of(lp);
	struct op *op = f->recv;
	f->recv = NULL;
	f->recv_cancelled = false;
	op->state = 0;
	op->done(lp, op, &(struct op_event){ .res = res });
}

static inline void fake_receive(struct loop *lp)
{
	struct fake *f = fake_of(lp);
	struct op_msg in[OP_MSGS];
	unsigned n = f->in_n;
	memcpy(in, f->in, sizeof in);
	f->in_n = 0;
	if (n)
		f->recv->done(lp, f->recv, &(struct op_event){ .res = (int)n, .more = true, .msgs = in });
	for (unsigned i = 0; i < n; i++) {
		if (in[i].buf->refs == 1)
			memset(in[i].data, '!', in[i].len); /* whoever did not reference it must not look any more */
		buf_unref(in[i].buf);
	}
	if (f->recv && f->in_err) {
		int err = f->in_err;
		f->in_err = 0;
		end_recv(lp, err);
	} else if (f->recv && f->recv->flags & OP_NOWAIT && !f->recv_cancelled) {
		end_recv(lp, -EAGAIN);
	}
}

static inline int fake_wait(struct loop *lp, int64_t timeout_ns)
{
	struct fake *f = fake_of(lp);
	(void)timeout_ns;
	lp->now_ns = f->mono;
	if (f->recv_cancelled)
		end_recv(lp, -ECANCELED);
	if (f->send) {
		struct op *op = f->send;
		int res = f->send_cancelled ? -ECANCELED : take(f, op);
		if (res != -EAGAIN || op->flags & OP_NOWAIT) {
			f->send = NULL;
			f->send_cancelled = false;
			op->state = 0;
			op->done(lp, op, &(struct op_event){ .res = res });
		}
	}
	if (f->recv)
		fake_receive(lp);
	return 1;
}

static inline void fake_wake(struct loop *lp)
{
	(void)lp;
}

static inline int fake_close(struct loop *lp, int fd, bool reset)
{
	(void)reset;
	CHECK(!fake_of(lp)->recv);
	CHECK(!fake_of(lp)->send);
	fake_of(lp)->closes++;
	fake_of(lp)->closed_fd = fd;
	return 0;
}

static inline int64_t fake_mono(struct loop *lp)
{
	return fake_of(lp)->mono;
}

static inline int64_t fake_real(struct loop *lp)
{
	return fake_of(lp)->real++;
}

static const struct backend fake_backend = { .name = "fake",
					     .probe = fake_probe,
					     .open = fake_open,
					     .shut = fake_shut,
					     .submit = fake_submit,
					     .cancel = fake_cancel,
					     .wait = fake_wait,
					     .wake = fake_wake,
					     .close = fake_close,
					     .mono = fake_mono,
					     .real = fake_real };

/* ---- a worker with one datagram socket ---- */

struct rig {
	struct fake fake;
	struct chime_worker w;
	struct chime_server_config config;
	struct served served;
	struct listen_sock sock;
	int fd;
	unsigned gone;
	unsigned lines; /* logged */
	uint64_t told;  /* the sum of their counts */
};

static struct rig *rigs[2]; /* for chime__dgram_gone() */

void chime__dgram_gone(struct dgram *d)
{
	for (unsigned i = 0; i < 2; i++)
		if (rigs[i] && ((struct chime_conn *)d)->worker == &rigs[i]->w)
			rigs[i]->gone++;
}

static inline ssize_t echo(const struct chime_input *in, chime_reply *out)
{
	chime_reply_add(out, in->data, in->len);
	return (ssize_t)in->len;
}

static const chime_service echo_service = { .size = sizeof(chime_service), .name = "echo", .received = echo };

static inline void on_log(void *arg, const struct chime_log_event *e)
{
	struct rig *r = arg;
	r->lines++;
	r->told += e->count;
}

/* conn_max, total_max: the configuration's ceilings on what is queued; 0: as they are. */
static inline struct rig *rig_with(const char *local, const chime_service *service, const uint16_t *ports,
				   unsigned port_count, uint64_t conn_max, uint64_t total_max)
{
	struct rig *r = calloc(1, sizeof *r);
	CHECK(r != NULL);
	rigs[rigs[0] != NULL] = r;
	r->config = (struct chime_server_config)CHIME_SERVER_CONFIG_INIT;
	r->config.log = on_log;
	r->config.log_arg = r;
	r->w.config = &r->config;
	if (conn_max)
		r->config.queue_conn_max = conn_max;
	r->w.queue_max = total_max;
	r->fake.mono = 10 * CHIME_SEC;
	r->fake.real = 1473765080 * CHIME_SEC;
	r->fake.room = r->fake.most = SENT_MAX;
	r->fake.sent = calloc(SENT_MAX, sizeof *r->fake.sent);
	chime__buf_pool_init(&r->fake.pool, CHIME_MESSAGE_MAX, 64);
	CHECK_EQ(chime__loop_init(&r->w.loop, &fake_backend, &r->fake), 0);
	r->served.service = service;
	r->served.config = (void *)(uintptr_t)service->config_default;
	r->served.rate = 10000;
	r->served.set.workers = 1;
	r->fd = 7;
	CHECK_EQ(chime_addr_parse(&r->sock.addr, local), 0);
	r->sock.family = r->sock.addr.u.sa.sa_family;
	r->sock.type = SOCK_DGRAM;
	r->sock.fds = &r->fd;
	CHECK_EQ(chime__dgram_open(&r->w, &r->served, &r->sock, ports, port_count), 0);
	CHECK_EQ(r->fd, -1);
	CHECK(r->w.dgrams != NULL);
	return r;
}

static inline struct rig *rig_new(const char *local, const chime_service *service, const uint16_t *ports,
				  unsigned port_count)
{
	return rig_with(local, service, ports, port_count, 0, 0);
}

static inline void turn(struct rig *r)
{
	CHECK_EQ(chime__loop_turn(&r->w.loop, 0), 0);
}

/* Ends it as a worker does, and checks that nothing is left. */
static inline void rig_free(struct rig *r)
{
	if (!r->gone) {
		chime__dgram_cut(r->w.dgrams);
		for (unsigned i = 0; i < 5 && !r->gone; i++)
			turn(r);
	}
	CHECK_EQ(r->gone, 1);
	CHECK_EQ(r->fake.closes, 1);
	CHECK_EQ(r->fake.closed_fd, 7);
	CHECK_EQ(r->w.stats.queued_bytes, 0);
	chime__dgram_free(r->w.dgrams);
	CHECK(r->w.dgrams == NULL);
	CHECK_EQ(r->w.loop.timers.count, 0);
	chime__loop_fini(&r->w.loop);
	CHECK_EQ(r->fake.pool.out, 0);
	chime__buf_pool_fini(&r->fake.pool);
	free(r->fake.sent);
	if (rigs[0] == r)
		rigs[0] = rigs[1];
	rigs[1] = NULL;
	free(r);
}

/* Something to be received in the next turn. from: an address as text, "" none. */
static inline struct op_msg *arrive(struct rig *r, const char *from, const void *bytes, size_t len)
{
	struct op_msg *m = &r->fake.in[r->fake.in_n++];
	CHECK(r->fake.in_n <= OP_MSGS);
	*m = (struct op_msg){ .buf = chime__buf_get(&r->fake.pool), .len = len };
	CHECK(m->buf != NULL);
	m->data = m->buf->data;
	if (bytes)
		memcpy(m->data, bytes, len);
	if (from[0])
		CHECK_EQ(chime_addr_parse(&m->peer, from), 0);
	return m;
}

static inline void arrive_text(struct rig *r, const char *from, const char *text)
{
	arrive(r, from, text, strlen(text));
}

static inline void check_sent(struct rig *r, unsigned n, const char *to, const char *text)
{
	char peer[CHIME_ADDR_TEXT];
	CHECK(n < r->fake.sent_n);
	chime_addr_print(&r->fake.sent[n].peer, peer, sizeof peer);
	CHECK_STR(peer, to);
	CHECK_STR((char *)r->fake.sent[n].bytes, text);
}

/* Here in place of src/server/handle.c, which brings the whole server with it. */
int chime_conn_sendto(chime_conn *base, const void *buf, size_t len, const chime_addr *to)
{
	return chime__dgram_sendto((struct dgram *)base, buf, len, to);
}

#endif
