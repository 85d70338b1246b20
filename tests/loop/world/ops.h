/*
 * loop/world/ops.h - operations as the cases of the conformance suite hand them over, and what they have reported.
 */
#ifndef LOOP_WORLD_OPS_H
#define LOOP_WORLD_OPS_H

#include "loop/world/world.h"

#include <errno.h>
#include <poll.h>

#define ANY (STREAM | MESSAGES | DATAGRAMS)
#define CONNECTED (STREAM | MESSAGES)

/* What an operation has reported. */
struct seen {
	struct op op;
	int reports, last, fds[8], fd_count;
	bool ended, end_mark;
	unsigned messages, empty, truncated, to_many;
	size_t total, longest;
	char bytes[4096];
	chime_addr peer, local; /* of the last message */
	void (*then)(struct seen *s);
};

static inline void saw_bytes(struct seen *s, const unsigned char *data, size_t len)
{
	size_t header = kind && len >= kind->header ? kind->header : 0;
	data += header;
	len -= header;
	if (s->total + len <= sizeof s->bytes)
		memcpy(s->bytes + s->total, data, len);
	s->total += len;
	s->messages++;
	s->empty += len == 0;
	if (len > s->longest)
		s->longest = len;
}

static inline void on_done(struct loop *l, struct op *op, const struct op_event *ev)
{
	struct seen *s = (struct seen *)op;
	CHECK_PTR(l, &lp);
	CHECK(waiting); /* never inside submit or cancel */
	CHECK(!s->ended);
	s->reports++;
	s->last = ev->res;
	s->ended = !ev->more;
	s->end_mark = ev->end;
	if (op->kind == OP_ACCEPT && ev->res >= 0)
		s->fds[s->fd_count++] = ev->res;
	else if (ev->buf && (ev->res > 0 || !ev->end))
		saw_bytes(s, ev->buf->data, (size_t)ev->res);
	s->truncated += ev->truncated;
	for (int i = 0; ev->msgs && i < ev->res; i++) {
		saw_bytes(s, ev->msgs[i].data, ev->msgs[i].len);
		s->truncated += ev->msgs[i].truncated;
		s->to_many += ev->msgs[i].to_many;
		s->peer = ev->msgs[i].peer;
		s->local = ev->msgs[i].local;
	}
	if (s->then)
		s->then(s);
}

static inline void op_make(struct seen *s, int fd, enum op_kind what, int flags)
{
	*s = (struct seen){ 0 };
	s->op = (struct op){ .done = on_done, .fd = fd, .kind = (uint8_t)what, .flags = (uint8_t)flags };
}

static inline void start(struct seen *s, int fd, enum op_kind what, int flags)
{
	op_make(s, fd, what, flags);
	CHECK_EQ(op_submit(&lp, &s->op), 0);
}

static inline enum op_kind receiving(void)
{
	return kind->form == STREAM ? OP_RECV : kind->form == MESSAGES ? OP_RECV_MSG : OP_RECV_MSGS;
}

static inline void end_op(struct seen *s)
{
	op_cancel(&lp, &s->op);
	TURN_UNTIL(s->ended);
	CHECK_EQ(s->last, -ECANCELED);
}

/* What a submitted send has said, at once or later. */
static inline int sent(struct seen *s)
{
	int res = op_submit(&lp, &s->op);
	if (res == 1)
		return s->op.res;
	CHECK_EQ(res, 0);
	TURN_UNTIL(s->ended);
	CHECK_EQ(s->reports, 1);
	return s->last;
}

static inline int send_pieces(struct seen *s, int fd, int flags, struct iovec *iov, int n)
{
	op_make(s, fd, OP_SEND, flags);
	s->op.u.iov = iov;
	s->op.n = (uint16_t)n;
	return sent(s);
}

static inline int send_bytes(int fd, const void *bytes, size_t len)
{
	struct seen s;
	struct iovec iov = { (void *)(uintptr_t)bytes, len };
	return send_pieces(&s, fd, 0, &iov, 1);
}

/* The two ends of whatever it is: a connection, or a socket and a peer with an address. */
struct ends {
	int fd, peer;
	chime_addr at, from;
};

static inline void open_ends(struct ends *e)
{
	world_open();
	if (kind->form != DATAGRAMS) {
		world_pair(&e->fd, &e->peer);
		return;
	}
	e->fd = world_bound(&e->at, false);
	e->peer = world_peer(&e->from);
}

static inline void close_ends(struct ends *e)
{
	if (e->peer >= 0)
		world_gone(e->peer);
	world_shut(e->fd);
	world_close();
}

static inline void put(const struct ends *e, const void *bytes, size_t len)
{
	if (kind->form == DATAGRAMS)
		world_put_to(e->peer, e->fd, &e->at, bytes, len);
	else
		world_put(e->peer, bytes, len);
}

/* And it has come. */
static inline void put_there(const struct ends *e, const void *bytes, size_t len)
{
	int64_t before = world_unread(e->fd);
	put(e, bytes, len);
	for (int64_t end = test_now() + 50 * CHIME_SEC; before >= 0 && world_unread(e->fd) == before; poll(NULL, 0, 1))
		CHECK(test_now() < end);
}

static inline int answer(const struct ends *e, const void *bytes, size_t len)
{
	struct seen s;
	struct iovec iov = { (void *)(uintptr_t)bytes, len };
	struct op_msg m = { .peer = e->from, .iov = &iov, .n = 1 };
	if (kind->form != DATAGRAMS)
		return send_bytes(e->fd, bytes, len);
	op_make(&s, e->fd, OP_SEND_MSGS, 0);
	s.op.u.msgs = &m;
	s.op.n = 1;
	return sent(&s);
}

#endif
